"""A user's script with a mistake in each line that ends with the code of mypy's error."""

import tfscale

tfscale.train(1, data="data", output="run")  # arg-type
tfscale.train(tfscale.LSTMConfig(), tfscale.TrainConfig(), data="data")  # call-arg
tfscale.train(tfscale.LSTMConfig(), data="data", output="run", nonsense=4)  # call-arg
tfscale.LSTMConfig(hidden_dim="wide")  # arg-type
tfscale.TrainConfig(stpes=3)  # call-arg
tfscale.prepare(progress="yes")  # arg-type
tfscale.evaluate(5)  # arg-type
tfscale.evaluate("run", text=3)  # arg-type
tfscale.generate("run", prompt=["a", "b"])  # arg-type
tfscale.generate("run", max_tokens="9")  # arg-type
tfscale.fill("run")  # call-arg
tfscale.correct("run", text="a", edit_cost="low")  # arg-type
tfscale.predict("task", beams=1.5)  # arg-type
tfscale.explain("task", tfscale.SwapConfig(text=["a"], pairs="b"))  # arg-type
tfscale.export("run", output=3)  # arg-type
tfscale.benchmark("export", threads=2)  # arg-type
tfscale.compress_("run", tfscale.PruneConfig())  # arg-type
tfscale.trim("run", ["a"])  # call-arg
tfscale.vectors("data")  # call-arg
tfscale.open(3)  # arg-type
tfscale.save_run("model", tfscale.load_tokenizer("data"), "run")  # arg-type
tfscale.open("run").score("a", "b", "c", "d", "e")  # call-arg
tfscale.load_run("run")  # attr-defined
tfscale.LanguageModel("network").fit([[1]], [[2]], epochs="3")  # arg-type
text: int = tfscale.generate("run").text  # assignment
