"""`save_run` and `train` from Python: what was trained by `fit` is a run like any other."""

import keras
import numpy as np
import pytest

import tfscale
from tfscale.errors import ConfigError, TokenizerError

SIZE = {"sequence_length": 8, "embedding_dim": 8, "hidden_dim": 8}
TRAIN = tfscale.TrainConfig(steps=2, global_batch_size=4, tensorboard=False, xla="off")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    lines = [f"the cat sat on mat {number}\n" for number in range(90)]
    (folder / "text.txt").write_text("".join(lines))
    output = str(folder / "data")
    options = {"tokenizer": "byte", "documents": "line", "progress": False}
    tfscale.prepare(text=[str(folder / "text.txt")], output=output, **options)
    return output


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    model = tfscale.LanguageModel(
        tfscale.build_network(tfscale.GRUConfig(vocabulary_size=257, **SIZE), seed=3)
    )
    model.compile(keras.optimizers.AdamW(1e-2), ema_decay=0.5, xla=False)
    windows = tfscale.training_dataset(data, sequence_length=8, global_batch_size=4, seed=0)
    model.fit(windows, steps_per_epoch=5, verbose=0)
    run = str(tmp_path_factory.mktemp("saved") / "run")
    tfscale.save_run(model, tfscale.load_tokenizer(data), run, data=data)
    return model, run


@pytest.mark.slow
def test_a_saved_run_has_the_averaged_weights_and_is_used_like_any(fitted, data, tmp_path):
    model, folder = fitted
    run = tfscale.open(folder)
    with model.averaged_weights():
        expected = model.network.get_weights()
    for saved, weight in zip(run.network.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(saved, weight)
    assert any((a != b).any() for a, b in zip(expected, model.network.get_weights(), strict=True))
    assert run.data == data and run.train_config.seed == 3
    score = tfscale.evaluate(folder)
    assert score["split"] == "validation" and score["perplexity"] > 1
    assert tfscale.generate(folder, prompt="the", max_tokens=3).token_count >= 1
    # It is a run to start from, as the command line does by --start.
    output = str(tmp_path / "longer")
    found = tfscale.train(
        train_config=TRAIN, data=data, output=output, start=folder, progress=False
    )
    assert found["started_from"]["run"] == folder and found["steps"] == 2
    report = tfscale.export(run, output=str(tmp_path / "export"), parity_tokens=64)
    assert report["passed"]


def test_the_network_alone_is_saved_too(fitted, tmp_path):
    network = tfscale.open(fitted[1]).network
    tfscale.save_run(network, tfscale.open(fitted[1]).tokenizer, tmp_path / "again")
    again = tfscale.open(tmp_path / "again")
    assert (
        again.data is None
        and again.run.weights_digest == tfscale.open(fitted[1]).run.weights_digest
    )


def test_what_does_not_belong_together_is_refused(fitted, data, tmp_path):
    model, output = fitted[0], str(tmp_path / "run")
    tokenizer = tfscale.load_tokenizer(data)
    keras_model = keras.Sequential([keras.layers.Embedding(257, 4)])
    with pytest.raises(ConfigError, match="takes a network of tfscale.build_network; received a S"):
        tfscale.save_run(keras_model, tokenizer, output)
    other = tfscale.build_network(tfscale.GRUConfig(vocabulary_size=99, **SIZE))
    with pytest.raises(ConfigError, match="the network knows 99 tokens and the tokenizer 257"):
        tfscale.save_run(other, tokenizer, output)
    cleaned = str(tmp_path / "cleaned")
    (tmp_path / "text.txt").write_text("".join(f"The cat {number}\n" for number in range(90)))
    options = {"tokenizer": "byte", "documents": "line", "lowercase": True, "progress": False}
    tfscale.prepare(text=[str(tmp_path / "text.txt")], output=cleaned, **options)
    with pytest.raises(TokenizerError, match="tokenized by another tokenizer than the one given"):
        tfscale.save_run(model, tokenizer, output, data=cleaned)


NETWORK = tfscale.GRUConfig(**SIZE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "train needs the options of a model, such as tfscale.TransformerConfig"),
        (
            {"model": NETWORK, "start": "run"},
            "start takes the model of that run; leave the options",
        ),
        ({"model": NETWORK, "vectors": "v", "start": "r"}, "give either vectors or start"),
        (
            {
                "model": NETWORK,
                "vectors": "v",
                "distill": tfscale.DistillConfig(teacher="t", weight=0.5),
            },
            "give either vectors or distill.teacher",
        ),
        (
            {"model": NETWORK, "distill": tfscale.DistillConfig(weight=0.5)},
            "distill.weight=0.5 needs distill.teacher, the folder of a run",
        ),
        (
            {"model": tfscale.NGramConfig(), "vectors": "v"},
            "n-grams are counted, not trained: vectors has no effect on them",
        ),
    ],
)
def test_contradictions_of_train_are_one_line(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        tfscale.train(data="data", output=str(tmp_path / "run"), **arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "bounds", "message"),
    [
        ({"prune": tfscale.PruneConfig(sparsity=0.5)}, {}, "prune says what to do, and a bound"),
        ({}, {"quantize": "int8"}, "quantize is one recipe, and with a bound compress tries all"),
    ],
)
def test_a_bound_and_what_to_do_contradict_each_other(options, bounds, message):
    config = tfscale.CompressConfig(output="small", **bounds)
    with pytest.raises(ConfigError, match=message):
        tfscale.compress_("run", config, search=tfscale.SearchConfig(target_size="1MB"), **options)


def test_a_config_object_or_single_options():
    with pytest.raises(ConfigError, match="give either config or single options of ExportConfig"):
        tfscale.export("run", tfscale.ExportConfig(output="x"), quantize="int8")
    with pytest.raises(ConfigError, match="unknown option quantise of ExportConfig; did you mean"):
        tfscale.export("run", output="x", quantise="int8")
