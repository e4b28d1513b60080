"""`evaluate` of a run and of its exported file: the windows counted by hand, and the same figures for both."""

import gzip
import math
import os

import numpy as np
import pytest

from tfscale.config import LSTMConfig, PrepareConfig, TrainConfig, TransformerConfig, to_dict
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError, DataError, TokenizerError
from tfscale.evaluation.evaluate import evaluate_file, evaluate_run, text_stream
from tfscale.export.tflite import export_tflite
from tfscale.files import write_json
from tfscale.models import build_network
from tfscale.score import ScoredText
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.training.run_folder import Run

LENGTH = 16
HELD_OUT = ["First held-out paragraph, ж.", "Second: 東京.", "Third, a little longer than the others."]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    """Three held-out documents, byte tokens."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "train.txt").write_text("\n\n".join(f"Paragraph {n} to train on." for n in range(40)), encoding="utf-8")
    (folder / "valid.txt").write_text("\n\n".join(HELD_OUT), encoding="utf-8")
    output = str(folder / "data")
    config = PrepareConfig(
        output=output, text=[str(folder / "train.txt")], validation_text=[str(folder / "valid.txt")], test_fraction=0,
        documents="paragraph", tokenizer="byte", processes=1,
    )  # fmt: skip
    prepare(config, progress=False)
    return output


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def run(request, data_dir) -> Run:
    tokenizer = load_tokenizer(data_dir)
    size = {"vocabulary_size": tokenizer.vocabulary_size, "sequence_length": LENGTH, "hidden_dim": 16}
    config = TransformerConfig(num_heads=2, **size) if request.param == "transformer" else LSTMConfig(**size)
    network = build_network(config, seed=3)
    network.set_weights([weight * 4 if weight.ndim > 1 else weight for weight in network.get_weights()])
    return Run("run", network, tokenizer, config, TrainConfig(), data_dir, {})


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "model.tflite").write_bytes(export_tflite(run.network))
    run.tokenizer.save(str(folder / "tokenizer"))
    write_json(str(folder / "model.json"), {"format_version": 1, "model": to_dict(run.model_config)})
    return load(str(folder))


def summed_nll(run: Run, documents: list[str]) -> float:
    """The likelihood of every token by the full forward pass, window by window, in NumPy."""
    end = run.tokenizer.end_id
    stream = [token for text in documents for token in [*run.tokenizer.encode(text), end]]
    inputs, nll = [end, *stream[:-1]], 0.0
    for start in range(0, len(stream), LENGTH):
        logits = np.asarray(run.network(np.array([inputs[start : start + LENGTH]], np.int32)))[0].astype(np.float64)
        for row, target in zip(logits, stream[start : start + LENGTH], strict=True):
            nll += math.log(np.exp(row).sum()) - row[target]
    return nll


def expected(nll: float, tokens: int, utf8_bytes: int) -> dict:
    return pytest.approx(
        {
            "nll_per_token": nll / tokens,
            "perplexity": math.exp(nll / tokens),
            "bits_per_byte": nll / math.log(2) / utf8_bytes,
            "tokens": tokens,
            "bytes": utf8_bytes,
            "unknown_tokens": 0,
            "unknown_share": 0,
            "charged_bits_per_byte": 0,
        },
        rel=1e-5,
    )


def figures(result: dict) -> dict:
    return {name: value for name, value in result.items() if name not in ("data", "split", "text", "cleaning")}


def test_split_of_the_runs_own_data(run, data_dir):
    # 29 + 15 + 39 bytes of text, and an end token after each of the three documents.
    assert [len(text.encode()) for text in HELD_OUT] == [29, 15, 39]
    result = evaluate_run(run)
    assert figures(result) == expected(summed_nll(run, HELD_OUT), 86, 83)
    assert (result["data"], result["split"]) == (data_dir, "validation")


def test_exported_file_gives_the_same_figures(run, exported, data_dir, capsys):
    by_keras, by_file = evaluate_run(run), evaluate_file(exported, data_dir, progress=False)
    assert by_file["perplexity"] == pytest.approx(by_keras["perplexity"], rel=1e-4)
    assert figures(by_file) == pytest.approx(figures(by_keras), rel=1e-4)
    assert (by_file["data"], by_file["split"]) == (data_dir, "validation")
    assert capsys.readouterr().err == ""
    evaluate_file(exported, data_dir)
    assert capsys.readouterr().err.startswith("evaluate: 86 of 86, ")


def test_text_files_are_documents(run, exported, tmp_path):
    (tmp_path / "one.txt").write_text("A whole file\n\nwith two paragraphs.", encoding="utf-8")
    (tmp_path / "two.txt.gz").write_bytes(gzip.compress("second file ж".encode()))
    (tmp_path / "empty.txt").write_text("")
    files = [str(tmp_path / name) for name in ("one.txt", "two.txt.gz", "empty.txt")]
    documents = ["A whole file\n\nwith two paragraphs.", "second file ж"]
    utf8_bytes = 34 + 14
    result = evaluate_run(run, text_files=files)
    assert figures(result) == expected(summed_nll(run, documents), utf8_bytes + 2, utf8_bytes)
    assert result["text"] == files
    assert figures(evaluate_file(exported, text_files=files, progress=False)) == expected(
        summed_nll(run, documents), utf8_bytes + 2, utf8_bytes
    )


def test_streams(data_dir, tmp_path):
    tokenizer = load_tokenizer(data_dir)
    stream = [token for text in HELD_OUT for token in [*text.encode(), tokenizer.end_id]]
    assert split_stream(data_dir, "validation").tolist() == stream
    path = tmp_path / "a.txt"
    path.write_text("ab")
    ids, text = text_stream(tokenizer, [str(path)])
    assert (ids.tolist(), text) == ([ord("a"), ord("b"), tokenizer.end_id], ScoredText(2, 0, 0.0))


def test_bits_per_byte_of_a_split_are_over_its_text(data_dir):
    assert Manifest.load(data_dir).splits["validation"].utf8_bytes == 83


def test_mistakes(run, exported, data_dir, tmp_path):
    with pytest.raises(ConfigError, match="either text or data"):
        evaluate_run(run, data_dir, text_files=["a.txt"])
    with pytest.raises(ConfigError, match="does not know its data"):
        evaluate_file(exported)
    with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
        evaluate_run(run, split="test")
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    for evaluate, target in ((evaluate_run, run), (evaluate_file, exported)):
        with pytest.raises(DataError, match=r"nothing to score: .*empty\.txt is empty"):
            evaluate(target, text_files=[str(empty)])
        with pytest.raises(DataError, match="absent"):
            evaluate(target, text_files=[str(tmp_path / "absent.txt")])
        with pytest.raises(DataError):
            evaluate(target, data_dir=str(tmp_path))
    gone = Run("run", run.network, run.tokenizer, run.model_config, run.train_config, None, {})
    with pytest.raises(ConfigError, match="is gone"):
        evaluate_run(gone)
    other = train_tokenizer("char", ["abc"], 10)
    stranger = Run("run", run.network, other, run.model_config, run.train_config, None, {})
    with pytest.raises(TokenizerError, match="another tokenizer"):
        evaluate_run(stranger, data_dir)


def test_not_utf8(run, tmp_path):
    path = os.path.join(tmp_path, "latin.txt")
    with open(path, "wb") as file:
        file.write(b"caf\xe9")
    with pytest.raises(DataError, match=r"latin\.txt is not UTF-8: .*offset 3"):
        evaluate_run(run, text_files=[path])
