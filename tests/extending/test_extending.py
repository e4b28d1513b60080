"""Somebody else's family, format, tokenizer, task and reader go through all steps, in Python and on the command line.

`plugin.py` and `gated_convolution.py` use public names of tfscale alone; no file of the package knows them.
"""

import ast
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tests.plugins import plugin
from tfscale import cli
from tfscale.registry import FAMILIES, VARIABLE

HERE = pathlib.Path(__file__).parent
SIZES = {"hidden_dim": 16, "num_layers": 2, "kernel_width": 3, "sequence_length": 24}
STEPS = {
    "steps": 60,
    "learning_rate": 0.03,
    "global_batch_size": 8,
    "warmup_steps": 5,
    "tensorboard": False,
    "xla": "off",
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    with plugin("tests.extending.weights_format"), plugin("tests.extending.plugin") as module:
        yield module


def own_config(**options):
    return FAMILIES.get("gated_convolution")(**SIZES, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of lines that count up, in the stranger's own kind of file."""
    folder = tmp_path_factory.mktemp("extending")
    rng = np.random.default_rng(0)
    for name, count in (("text.rec", 240), ("train.rec", 120), ("test.rec", 40)):
        records = []
        for _ in range(count):
            text = "ab" * int(rng.integers(2, 8))
            label = "even" if text.count("a") % 2 == 0 else "odd"
            records.append(f"text: {text}\nlabel: {label}\n")
        (folder / name).write_text("\n".join(records))
    return folder


@pytest.fixture(scope="module")
def data(folder):
    output = str(folder / "data")
    tfscale.prepare(
        text=[str(folder / "text.rec")],
        tokenizer="nibble",
        vocabulary_size=40,
        output=output,
        validation_fraction=0.2,
        processes=1,
        progress=False,
    )
    return output


@pytest.fixture(scope="module")
def run(folder, data):
    output = str(folder / "run")
    model, options = own_config(), tfscale.TrainConfig(**STEPS)
    tfscale.train(model, options, data=data, output=output, progress=False)
    return output


def test_the_plugin_uses_public_names_alone():
    for name in ("plugin.py", "gated_convolution.py", "weights_format.py"):
        tree = ast.parse((HERE / name).read_text())
        modules = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if alias.name.startswith("tfscale")
            or str(getattr(node, "module", "")).startswith("tfscale")
        ]
        assert modules == ["tfscale"]
        names = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "tfscale"
        }
        assert names and names <= set(tfscale.__all__)


def test_the_package_does_not_know_it():
    words = ("gated_convolution", "nibble", "parity_task", "npz_weights")
    package = pathlib.Path(tfscale.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8").lower()
        assert not any(word in text for word in words), path


def test_the_tokenizer_and_the_reader_prepare_text(data, registered):
    tokenizer = tfscale.load_tokenizer(data)
    assert type(tokenizer) is registered.NibbleTokenizer
    # "a" and "b" are the only bytes of the text: one token each; "c" is its two halves.
    assert tokenizer.encode("abc") == [32, 33, 6, 16 + 3]
    assert tokenizer.decode(tokenizer.encode("Grüße")) == "Grüße"
    with open(os.path.join(data, "manifest.json"), encoding="utf-8") as file:
        splits = json.load(file)["splits"]
    assert sum(split["documents"] for split in splits.values()) == 240


def test_the_family_computes_what_numpy_does_and_decodes_it_token_by_token():
    network = tfscale.build_network(own_config(vocabulary_size=11), seed=1)
    ids = np.random.default_rng(0).integers(0, 11, 24)
    expected = sys.modules[type(network).__module__].reference_logits(network, ids)
    np.testing.assert_allclose(network(ids[None])[0], expected, atol=1e-5)
    cache = {name: tf.zeros(shape) for name, shape in network.cache_spec().items()}
    for place, token in enumerate(ids):
        logits, cache = network.cached_step(tf.constant([[token]], tf.int32), cache)
        np.testing.assert_allclose(logits[0, 0], expected[place], atol=1e-5)
    assert tfscale.parameter_count(network.config) == network.count_params()


def test_two_replicas_learn_what_one_device_learns(data):
    losses = []
    for strategy in ("single", "mirrored"):
        with tfscale.strategy(strategy).scope():
            tokenizer = tfscale.load_tokenizer(data)
            config = own_config(vocabulary_size=tokenizer.vocabulary_size)
            model = tfscale.LanguageModel(tfscale.build_network(config))
            model.compile(keras.optimizers.AdamW(1e-2), clip_norm=1.0, xla=False)
        windows = np.random.default_rng(1).integers(0, config.vocabulary_size, (32, 25))
        history = model.fit(
            windows[:, :-1], windows[:, 1:], batch_size=8, epochs=2, shuffle=False, verbose=0
        )
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_it_trains_scores_and_writes(run, data):
    model = tfscale.open(run)
    score = tfscale.evaluate(run)
    assert score["perplexity"] < 3 < tfscale.load_tokenizer(data).vocabulary_size
    network = model.network
    ids = np.array([[network.config.vocabulary_size - 1, 32, 33, 32]], np.int32)
    # After "aba" comes "b".
    assert int(np.argmax(network(ids)[0, -1])) == 33
    assert tfscale.generate(run, prompt="aba", max_tokens=1).text == "b"


def test_its_tflite_file_does_the_same_on_the_device(run, data, folder):
    output = str(folder / "tflite")
    report = tfscale.export(run, output=output, quantize="int8")
    assert report["passed"]
    model = tfscale.device.load(output)
    assert model.generate("aba", max_tokens=1).text == "b"
    before, after = (tfscale.evaluate(path, data=data)["nll_per_token"] for path in (run, output))
    assert abs(before - after) < 0.05


def test_its_own_format_holds_the_weights(run, folder):
    output = str(folder / "weights")
    report = tfscale.export(run, output=output, format="npz_weights")
    assert report["passed"]
    model = tfscale.device.load(output)
    for weight in tfscale.open(run).network.weights:
        np.testing.assert_array_equal(model.arrays[weight.path], weight.numpy())


def test_it_is_pruned_planned_and_compared(run, data, folder):
    small = str(folder / "pruned")
    config = tfscale.CompressConfig(output=small, steps=8)
    prune = tfscale.PruneConfig(sparsity=0.5, begin_step=1, end_step=5, frequency=2)
    tfscale.compress_(run, config, prune=prune)
    sparse = [
        float((np.asarray(weight) == 0).mean())
        for weight in tfscale.open(small).network.weights
        if weight.name == "kernel"
    ]
    assert sparse and max(sparse) >= 0.49
    made = tfscale.plan(
        own_config(vocabulary_size=40),
        tfscale.TrainConfig(global_batch_size=8),
        chip="h100",
    )
    assert made.parameters == own_config(vocabulary_size=40).parameter_count()


def test_the_task_is_fine_tuned_predicts_and_is_exported(run, folder):
    output = str(folder / "task")
    config = tfscale.TaskConfig(
        task="parity",
        output=output,
        train=[str(folder / "train.rec")],
        test=[str(folder / "test.rec")],
        epochs=2,
    )
    summary = tfscale.finetune(run, config)
    assert summary["labels"] == ["even", "odd"] and summary["test"]["examples"] == 40
    [prediction] = tfscale.predict(output, text="abab")
    assert prediction["parity"] in ("even", "odd")
    exported = str(folder / "task-file")
    assert tfscale.export(output, output=exported)["passed"]
    assert tfscale.predict(exported, text="abab") == [prediction]


def tfscale_command(folder, *words):
    """Runs the command in a process of its own, as a user does, with the plugin."""
    command = [sys.executable, "-m", "tfscale.cli", "--plugins", "tests.extending.plugin", *words]
    root = str(HERE.parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_line_does_it_in_processes_of_its_own(folder, run):
    prepare = "prepare --text text.rec --tokenizer nibble --output d2 --json"
    done = tfscale_command(folder, *prepare.split())
    assert done.returncode == 0, done.stderr
    done = tfscale_command(folder, "generate", "run", "--prompt", "aba", "--max-tokens", "1")
    assert done.returncode == 0 and done.stdout.strip().endswith("b"), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "train --data data --output run2 --model.family gated_convolution --model.hidden_dim 8"
        " --train.steps 2 --train.global_batch_size 4 --train.tensorboard false --train.xla off",
        "evaluate run",
        "export run --output exported --format npz_weights",
        "finetune run --task parity --train train.rec --output task2 --epochs 1",
        pytest.param(
            "compare --families gated_convolution --data data --output compared"
            " --budget-tokens 2000",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_commands_know_it(words, folder, run, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv(VARIABLE, "")
    code = cli.main(["--plugins", "tests.extending.plugin", *words.split(), "--json"])
    assert code == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_of_a_plugin_that_is_not_imported_is_one_line(folder, run):
    words = [sys.executable, "-m", "tfscale.cli", "evaluate", "run"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TFSCALE_PLUGINS", None)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert done.returncode == 2 and len(lines) == 1 and "gated_convolution" in lines[0], done.stderr
