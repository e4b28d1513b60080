"""The export folder: complete or not there at all."""

import contextlib
import io
import json
import os
import re

import numpy as np
import pytest

import tfscale.device
import tfscale.exporting.network
from tests.exporting.exported import PREFILL_LENGTHS, TEXT, make_network, make_run
from tfscale.config import ExportConfig, PrepareConfig, SamplingConfig
from tfscale.errors import DataError, ExportError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.exporting.held_out import held_out_of
from tfscale.files.paths import sha256_file

FILES = ["README.md", "model.json", "model.tflite", "parity.json", "report.html", "tokenizer"]


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def exported(request, tmp_path_factory, tokenizer, held_out):
    folder = tmp_path_factory.mktemp(request.param)
    run = make_run(folder / "run", make_network(request.param), tokenizer)
    config = ExportConfig(
        output=str(folder / "export"), quantize="int8", prefill_lengths=PREFILL_LENGTHS
    )
    stages = []
    report = export_run(run, config, held_out=held_out, note=stages.append)
    assert stages == ["convert", "compare with Keras", "write the report"]
    return run, config, report


def test_folder_is_complete(exported):
    run, config, report = exported
    assert sorted(os.listdir(config.output)) == FILES
    with open(os.path.join(config.output, "parity.json"), encoding="utf-8") as file:
        assert json.load(file) == json.loads(json.dumps(report))
    assert report["passed"] is True
    assert report["held_out"] == {
        "source": "the tokens that were given",
        "tokens": len(TEXT.encode()) + 1,
        "unknown_tokens": 0,
    }
    assert report["sizes"]["file_bytes"] == os.path.getsize(
        os.path.join(config.output, "model.tflite")
    )
    assert set(report["versions"]) == {
        "tfscale",
        "tensorflow",
        "keras",
        "ai-edge-litert",
        "litert-quantizer",
    }


def test_model_json(exported):
    run, config, _ = exported
    with open(os.path.join(config.output, "model.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    transformer = run.network.config.family == "transformer"
    assert metadata.pop("model")["hidden_dim"] == 32
    assert metadata.pop("sha256") == sha256_file(os.path.join(config.output, "model.tflite"))
    assert metadata.pop("cache") == (
        {f"kv_cache_{kind}_{i}": [1, 16, 2, 16] for i in range(2) for kind in "kv"}
        if transformer
        else {"state_h_0": [1, 32], "state_c_0": [1, 32]}
    )
    assert metadata == {
        "format_version": 1,
        "family": run.network.config.family,
        "context_length": 16 if transformer else None,
        "end_id": 256,
        "start_id": 256,
        "prompt_start": [256],
        "stop_ids": [256],
        "leading_space": False,
        "special_tokens": {"</s>": 256},
        "vocabulary_size": 257,
        "tokenizer": "tokenizer",
        "tokenizer_digest": run.tokenizer.digest,
        "quantize": "int8",
        "format": "tflite",
        "file": "model.tflite",
        "prefill_lengths": PREFILL_LENGTHS if transformer else [],
        "bytes_per_token": metadata["bytes_per_token"],
        "tfscale_version": tfscale.__version__,
    }


def test_code_of_the_readme_runs(exported, monkeypatch):
    run, config, _ = exported
    monkeypatch.chdir(config.output)
    with open("README.md", encoding="utf-8") as file:
        with_tfscale, with_litert = re.findall(r"```python\n(.*?)```", file.read(), flags=re.DOTALL)
    outputs = []
    for code in (with_tfscale, with_litert):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        outputs.append(printed.getvalue())
    ids = json.loads(outputs[1])
    prompt = re.search(r"generate\('(.*)', max_tokens", with_tfscale).group(1)
    expected = [run.tokenizer.end_id, *run.tokenizer.encode(prompt)]
    assert ids[: len(expected)] == expected
    model = tfscale.device.load(".")
    greedy = model.generate(prompt, 20, SamplingConfig())
    drawn = ids[len(expected) :]
    assert drawn[: len(greedy.tokens)] == greedy.tokens and len(greedy.tokens) >= 1


def test_report_shows_curve_checks_and_completion(exported):
    _, config, report = exported
    with open(os.path.join(config.output, "report.html"), encoding="utf-8") as file:
        page = file.read()
    assert "<svg" in page and "validation, last 4.750" in page and "training, last 4.500" in page
    assert "max logit difference (xnnpack)" in page and "✗" not in page
    assert f"{report['sizes']['file_bytes']:,} bytes" in page and "EMBEDDING_LOOKUP" in page


def test_failed_parity_leaves_the_earlier_export_whole(tmp_path, tokenizer, held_out, monkeypatch):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    output = tmp_path / "export"
    export_run(run, ExportConfig(output=str(output)), held_out=held_out)
    before = {name: sha256_file(str(output / name)) for name in FILES[:-1]}
    other = make_network("lstm", seed=1)
    write = tfscale.exporting.network.write_tflite
    monkeypatch.setattr(
        tfscale.exporting.network,
        "write_tflite",
        lambda file, network, *rest: write(file, other, *rest),
    )
    with pytest.raises(ExportError, match="fails its parity check: max_logit_difference"):
        export_run(run, ExportConfig(output=str(output)), held_out=held_out)
    assert {name: sha256_file(str(output / name)) for name in FILES[:-1]} == before
    with pytest.raises(ExportError, match="fails its parity check"):
        export_run(run, ExportConfig(output=str(tmp_path / "new")), held_out=held_out)
    assert sorted(os.listdir(tmp_path)) == ["export", "run"]


def test_folder_that_is_not_an_export_is_refused(tmp_path, tokenizer):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("x")
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    with pytest.raises(DataError, match="is not an export folder"):
        export_run(run, ExportConfig(output=str(tmp_path / "thesis")))
    assert os.listdir(tmp_path / "thesis") == ["chapter1.tex"]


@pytest.mark.parametrize(
    "held_out, received", [([], "received 0"), ([3, 257], "received 2 from 3 to 257")]
)
def test_held_out_tokens_that_do_not_exist_are_refused(tmp_path, tokenizer, held_out, received):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    with pytest.raises(DataError, match=f"ids from 0 to 256; {received}"):
        export_run(run, ExportConfig(output=str(tmp_path / "export")), held_out=held_out)
    assert os.listdir(tmp_path) == ["run"]


def test_tokenizer_of_another_size_than_the_model_is_refused(tmp_path, tokenizer):
    from tfscale.config import LSTMConfig
    from tfscale.models import build_network

    network = build_network(LSTMConfig(vocabulary_size=100, embedding_dim=8, hidden_dim=8))
    run = make_run(tmp_path / "run", network, tokenizer)
    with pytest.raises(TokenizerError, match="has 257 tokens and its model 100"):
        export_run(run, ExportConfig(output=str(tmp_path / "export")))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    from tfscale.data.prepare import prepare

    folder = tmp_path_factory.mktemp("data")
    for name in ("train", "validation", "test"):
        (folder / f"{name}.txt").write_text(f"{name} text, several words long. " * 20)
    output = str(folder / "data")
    config = PrepareConfig(
        output=output,
        text=[str(folder / "train.txt")],
        validation_text=[str(folder / "validation.txt")],
        test_text=[str(folder / "test.txt")],
        tokenizer="byte",
        processes=1,
    )
    prepare(config, progress=False)
    return output


def test_held_out_tokens_are_the_beginning_of_the_validation_split(tmp_path, tokenizer, data_dir):
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer, data_dir)
    held_out = held_out_of(run, 100)
    tokens, source = held_out.tokens, held_out.origin
    assert tokenizer.decode(tokens) == ("validation text, several words long. " * 20)[:100]
    assert source == "validation split of data"
    everything = held_out_of(run, 10_000).tokens
    assert len(everything) == 37 * 20 + 1 and everything[-1] == tokenizer.end_id


@pytest.mark.parametrize("family", ["lstm", "transformer"])
def test_without_data_the_network_generates_the_tokens(tmp_path, tokenizer, family):
    run = make_run(tmp_path / "run", make_network(family), tokenizer, str(tmp_path / "gone"))
    held_out = held_out_of(run, 40)
    tokens, source = held_out.tokens, held_out.origin
    assert len(tokens) == 40 and all(0 <= token < 257 for token in tokens)
    assert len(set(tokens)) > 5
    assert held_out == held_out_of(run, 40)
    assert (
        source.startswith("generated by the network")
        and "its data folder gone is gone or damaged" in source
    )


def test_data_with_another_tokenizer_is_not_used(tmp_path, tokenizer, data_dir):
    from tfscale.text.tokenizers import train_tokenizer

    network = make_network("lstm")
    other = train_tokenizer("char", ["validation text, several words long"], 100)
    run = make_run(tmp_path / "run", network, other, data_dir)
    assert held_out_of(run, 20).origin.endswith("now has another tokenizer")


def test_logits_of_generated_tokens_pass_the_gate(tmp_path, tokenizer):
    run = make_run(tmp_path / "run", make_network("transformer"), tokenizer)
    config = ExportConfig(
        output=str(tmp_path / "export"), parity_tokens=40, prefill_lengths=[4, 64]
    )
    report = export_run(run, config)
    assert report["held_out"]["tokens"] == 40
    assert report["held_out"]["source"].endswith("because the run names no data folder")
    assert list(report["operations"]) == ["decode", "prefill_4"]
    assert np.isfinite(report["perplexity"]["keras"])
