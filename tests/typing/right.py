"""A user's script that calls the public functions rightly; `mypy --strict` finds nothing in it."""

import tfscale
import tfscale.compress
import tfscale.device


def make() -> None:
    manifest = tfscale.prepare(text=["a.txt"], vocabulary_size=4096, output="data", progress=False)
    manifest = tfscale.prepare(tfscale.PrepareConfig(text=["a.txt"], output="data"))
    size: int = manifest.vocabulary_size
    tfscale.vectors("data", "vectors.txt", dim=100)
    network = tfscale.LSTMConfig(vocabulary_size=size, hidden_dim=64)
    options = tfscale.TrainConfig(steps=100, learning_rate=1e-3)
    summary = tfscale.train(network, options, data="data", output="run")
    tfscale.train(tfscale.NGramConfig(order=3), data="data", output="ngrams", progress=False)
    tfscale.train(network, options, data="data", output="run", vectors="vectors.txt")
    tfscale.train(train_config=options, data="data", output="longer", start="run")
    teacher = tfscale.DistillConfig(teacher="run", weight=0.5)
    tfscale.train(network, options, data="data", output="small", distill=teacher)
    tfscale.compress_(
        "run",
        tfscale.CompressConfig(output="sparse"),
        prune=tfscale.PruneConfig(sparsity=0.5),
        shrink=tfscale.ShrinkConfig(num_heads=2),
        search=tfscale.SearchConfig(target_size="4MB"),
    )
    tfscale.trim("run", ["a.txt"], "trimmed")
    tfscale.import_("preset", "gpt2", sequence_length=128, precision="mixed_bfloat16")
    tfscale.finetune("run", tfscale.TaskConfig(task="classify", train=["a.csv"], output="task"))
    tfscale.compare(
        {"lstm": (network, options)},
        tfscale.CompareConfig(data="data", output="compared", budget_minutes=5),
    )
    tfscale.quickstart("quickstart", minutes=3)
    tfscale.plan(network, options, devices=8, chip="v5e")
    tfscale.tpu_check(network, options, ["v5e:2x2"])
    tfscale.launch(["train", "--data", "data"], tfscale.LaunchConfig(workers=2))
    print(summary["loss"])


def use() -> None:
    run: tfscale.Artifact = tfscale.open("run", threads=2)
    print(run.kind, run.path, tfscale.evaluate(run, split="test")["perplexity"])
    done = tfscale.generate("export", prompt="a", stop=["\n"], temperature=0.8, on_text=print)
    done = run.generate("a", sampling=tfscale.SamplingConfig(temperature=0.8))
    text: str = done.text
    print(text, tfscale.fill(run, text="a ___")[0].probability)
    print(tfscale.correct("run", text=text)[0].replacement, tfscale.predict("task", text=text))
    tfscale.explain("task", tfscale.ExplainConfig(text=text))
    tfscale.swap("run", text=["a.txt"], pairs="pairs.tsv")
    tfscale.export(run, output="export", quantize="int8", progress=print)
    tfscale.export("run", tfscale.ExportConfig(output="export"))
    tfscale.benchmark("export", threads=[1, 2])["decode_tokens_per_second"]
    tfscale.device.load("export").generate("a")


def fit() -> None:
    tokenizer = tfscale.load_tokenizer("data")
    network = tfscale.build_network(tfscale.preset("llama-nano"), seed=1)
    with tfscale.strategy("auto").scope():
        model = tfscale.LanguageModel(network)
    windows = tfscale.training_dataset("data", sequence_length=8, global_batch_size=2, seed=0)
    model.compile("adamw", metrics=["accuracy"], clip_norm=1.0, micro_batches=2)
    model.fit(windows, class_weight={0: 0.5}, validation_split=0.1, validation_freq=[1, 2])
    print(model.evaluate(windows, verbose=0)["loss"], model.train_on_batch([[1]], [[2]]))
    tfscale.save_run(model, tokenizer, "run", data="data")
    tfscale.compress.distill(model, network, weight=0.5)
    try:
        tfscale.export_keras(
            network, output="export", sequence_length=8, held_out=[1, 2], tokenizer=tokenizer
        )
    except tfscale.TfscaleError as error:
        print(error)
