"""A format that somebody else registers is written, compared, described and loaded like tfscale's own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import make_network, make_run
from tests.plugins import plugin
from tfscale import cli
from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.export import export_run
from tfscale.exporting.format import ExportFormat
from tfscale.exporting.report import Checks
from tfscale.files.description import FORMAT_VERSION, read_description
from tfscale.files.paths import sha256_file
from tfscale.registry import FORMATS

FILES = ["README.md", "model.json", "parity.json", "report.html", "tokenizer", "weights.npz"]


@pytest.fixture(scope="module", autouse=True)
def stranger():
    with plugin("tests.extending.weights_format") as module:
        yield module


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, data_folder):
    folder = str(tmp_path_factory.mktemp("npz") / "run")
    model = tfscale.LSTMConfig(embedding_dim=8, hidden_dim=8, sequence_length=16)
    options = tfscale.TrainConfig(steps=1, global_batch_size=2, tensorboard=False, xla="off")
    tfscale.train(model, options, data=data_folder, output=folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "text.txt").write_text(
        "".join(f"line {n} of a text, and {n * n}.\n" for n in range(60))
    )
    output = str(folder / "data")
    tfscale.prepare(
        text=[str(folder / "text.txt")],
        output=output,
        tokenizer="byte",
        validation_fraction=0.2,
        documents="line",
        processes=1,
        progress=False,
    )
    return output


def test_from_python(run_folder, tmp_path):
    output = str(tmp_path / "export")
    report = tfscale.export(run_folder, output=output, format="npz_weights")
    assert sorted(os.listdir(output)) == FILES
    assert report["passed"] and report["format"] == "npz_weights" and len(report["checks"]) > 3
    with open(os.path.join(output, "parity.json"), encoding="utf-8") as file:
        assert json.load(file)["checks"] == report["checks"]
    description = read_description(output)
    assert (description.format, description.file) == ("npz_weights", "weights.npz")
    assert description.sha256 == sha256_file(os.path.join(output, "weights.npz"))
    assert description.format_version == FORMAT_VERSION and description.family == "lstm"
    with open(os.path.join(output, "README.md"), encoding="utf-8") as file:
        assert file.read().startswith("# Weights of a lstm\n")
    model = tfscale.device.load(output)
    network = tfscale.open(run_folder).run.network
    assert model.tokenizer.digest == description.tokenizer_digest
    for weight in network.weights:
        np.testing.assert_array_equal(model.arrays[weight.path], weight.numpy())
    with pytest.raises(ConfigError, match="give a file of a model of the next token"):
        tfscale.open(output).generate("a")
    with open(os.path.join(output, "weights.npz"), "ab") as file:
        file.write(b"damage")
    with pytest.raises(ExportError, match="weights.npz is damaged or was replaced"):
        tfscale.device.load(output)


def test_from_the_command_line(run_folder, tmp_path, capsys):
    output = str(tmp_path / "export")
    assert (
        cli.main(["export", run_folder, "--output", output, "--format", "npz_weights", "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["format"] == "npz_weights"
    assert sorted(os.listdir(output)) == FILES
    assert cli.main(["export", run_folder, "--output", output, "--format", "npz_weigths"]) == 2
    assert "npz" in capsys.readouterr().err


def test_a_file_that_fails_leaves_the_earlier_export_whole(
    stranger, tmp_path, tokenizer, held_out, monkeypatch
):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    output = tmp_path / "export"
    config = ExportConfig(output=str(output), format="npz_weights")
    export_run(run, config, held_out)
    before = sha256_file(str(output / "model.json"))
    write = stranger.WeightsFormat.write

    def write_another(self, export):
        write(self, export)
        path = export.path(self.file)
        arrays = {name: array + 1 for name, array in np.load(path).items()}
        np.savez(path, **arrays)

    monkeypatch.setattr(stranger.WeightsFormat, "write", write_another)
    with pytest.raises(ExportError, match="the none file fails its parity check: difference of"):
        export_run(run, config, held_out)
    assert sha256_file(str(output / "model.json")) == before
    assert sorted(os.listdir(tmp_path)) == ["export", "run"]


def test_what_it_does_not_take_is_one_line(tmp_path, data_folder):
    with pytest.raises(
        ConfigError, match="expected one of none; received 'int8', which is not for"
    ):
        ExportConfig(output="x", format="npz_weights", quantize="int8")
    ngrams = str(tmp_path / "ngram")
    tfscale.train(tfscale.NGramConfig(order=2), data=data_folder, output=ngrams)
    with pytest.raises(
        ConfigError, match="format='npz_weights' is for networks; give --format ngram or"
    ):
        tfscale.export(ngrams, output=str(tmp_path / "x"), format="npz_weights")
    assert not (tmp_path / "x").exists()


DEVICE = """
import sys
for name in ("tensorflow", "keras", "tf_keras"):
    sys.modules[name] = None
import tfscale.device
try:
    print(type(tfscale.device.load(sys.argv[1])).__name__)
except tfscale.TfscaleError as error:
    print(error)
"""


@pytest.mark.parametrize("plugins", ["", "tests.extending.weights_format"])
def test_a_device_needs_the_plugin_and_no_tensorflow(plugins, tmp_path, tokenizer, held_out):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    output = str(tmp_path / "export")
    export_run(run, ExportConfig(output=output, format="npz_weights"), held_out)
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, output],
        env=os.environ | {"TFSCALE_PLUGINS": plugins},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if plugins:
        assert done.stdout == "Weights\n"
    else:
        assert (
            "has the format 'npz_weights', which tfscale does not know; import the module"
            in done.stdout
        )
        assert done.stdout.count("\n") == 1


def test_formats_for_other_programs_are_not_run(tmp_path, tokenizer, held_out):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    output = str(tmp_path / "export")
    export_run(run, ExportConfig(output=output, format="saved_model"), held_out)
    with pytest.raises(ExportError, match="is a file for other programs .*does not run it"):
        tfscale.device.load(output)


def test_each_format_says_what_it_is(stranger):
    for export_format in FORMATS:
        assert issubclass(export_format, ExportFormat)
        assert export_format.summary and export_format.made_of and export_format.takes
    with pytest.raises(ConfigError, match="'tflite' is already registered"):
        FORMATS.add("tflite", stranger.WeightsFormat)


def test_checks():
    checks = Checks()
    checks.add("measured", 3.0, "<=", None)
    checks.add("small", 1.0, "<=", 1.0)
    assert checks.passed
    checks.add("not a number", float("nan"), "<=", 1.0)
    assert not checks.passed
    report = checks.report("int8", {"tokens": 5})
    assert (report["passed"], report["quantize"], report["tokens"]) == (False, "int8", 5)
    assert [row["passed"] for row in report["checks"]] == [True, True, False]
