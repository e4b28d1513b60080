"""`evaluate` of a run and of its exported file: the windows counted by hand, and the same figures for both."""

import gzip
import math
import os

import numpy as np
import pytest

from tests.gpt2 import gpt2
from tfscale.config import (
    LSTMConfig,
    NGramConfig,
    PrepareConfig,
    TrainConfig,
    to_dict,
)
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError, DataError, TokenizerError
from tfscale.evaluation.continuations import continuation
from tfscale.evaluation.evaluate import evaluate_file, evaluate_run, text_stream
from tfscale.evaluation.network_continuations import context_length, score_continuations
from tfscale.exporting.tflite import export_tflite
from tfscale.files.paths import read_json, write_json
from tfscale.models import build_network
from tfscale.runs.folder import Run
from tfscale.runs.ngram import train_ngram
from tfscale.text.score import ScoredText
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer

LENGTH = 16
HELD_OUT = [
    "First held-out paragraph, ж.",
    "Second: 東京.",
    "Third, a little longer than the others.",
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    """Three held-out documents, byte tokens."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "train.txt").write_text(
        "\n\n".join(f"Paragraph {n} to train on." for n in range(40)), encoding="utf-8"
    )
    (folder / "valid.txt").write_text("\n\n".join(HELD_OUT), encoding="utf-8")
    output = str(folder / "data")
    config = PrepareConfig(
        output=output,
        text=[str(folder / "train.txt")],
        validation_text=[str(folder / "valid.txt")],
        test_fraction=0,
        documents="paragraph",
        tokenizer="byte",
        processes=1,
    )
    prepare(config, progress=False)
    return output


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def run(request, data_dir) -> Run:
    tokenizer = load_tokenizer(data_dir)
    size = {
        "vocabulary_size": tokenizer.vocabulary_size,
        "sequence_length": LENGTH,
        "hidden_dim": 16,
    }
    config = gpt2(num_heads=2, **size) if request.param == "transformer" else LSTMConfig(**size)
    network = build_network(config, seed=3)
    network.set_weights(
        [weight * 4 if weight.ndim > 1 else weight for weight in network.get_weights()]
    )
    return Run("run", network, tokenizer, config, TrainConfig(), data_dir, {})


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "model.tflite").write_bytes(export_tflite(run.network))
    run.tokenizer.save(str(folder / "tokenizer"))
    write_json(
        str(folder / "model.json"), {"format_version": 1, "model": to_dict(run.model_config)}
    )
    return load(str(folder))


def summed_nll(run: Run, documents: list[str]) -> float:
    """The likelihood of every token by the full forward pass, window by window, in NumPy."""
    end = run.tokenizer.end_id
    stream = [token for text in documents for token in [*run.tokenizer.encode(text), end]]
    inputs, nll = [end, *stream[:-1]], 0.0
    for start in range(0, len(stream), LENGTH):
        logits = np.asarray(run.network(np.array([inputs[start : start + LENGTH]], np.int32)))[
            0
        ].astype(np.float64)
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
    return {
        name: value
        for name, value in result.items()
        if name not in ("data", "split", "text", "cleaning")
    }


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


CLEANED = {
    "strip_html": True,
    "collapse_whitespace": True,
    "lowercase": True,
    "unicode_normalization": "NFC",
}


def counted(folder, documents, held_out, **options):
    """An n-gram model of documents, opened, its data folder and the files of its validation split."""
    for name, texts in (("train", documents), ("held", held_out)):
        (folder / name).mkdir(parents=True)
        for number, text in enumerate(texts):
            (folder / name / f"{number:02}.txt").write_text(text)
    data, files = str(folder / "data"), [str(folder / "held")]
    config = PrepareConfig(
        output=data,
        text=[str(folder / "train")],
        validation_text=files,
        test_fraction=0,
        processes=1,
        **options,
    )
    prepare(config, progress=False)
    train_ngram(NGramConfig(order=2), data=data, output=str(folder / "run"), progress=False)
    return load(str(folder / "run")), data, files


@pytest.mark.parametrize("kind", ["word", "char", "wordpiece", "byte"])
def test_a_text_is_cleaned_as_the_data_was(tmp_path, kind):
    documents = [
        f"<p>The Cat  number {number}</p>\n\n\n\n<p>SAT &amp; ate.</p>" for number in range(9)
    ]
    held_out = [
        "<p>The  DOG number 3</p><p>sat &amp; ran.</p>",
        "<br>  <br>",
        "<p>The Cat\u3000éa\u0301</p>",
    ]
    options = CLEANED | {"tokenizer": kind, "vocabulary_size": 60 if kind == "wordpiece" else 14}
    model, data, files = counted(tmp_path, documents, held_out, **options)
    # "the dog number 3\nsat & ran." and "the cat éá" without line ends at their ends; the second is empty.
    by_split = evaluate_file(model, data, progress=False)
    by_text = evaluate_file(model, text_files=files, progress=False)
    assert (
        by_text["bytes"]
        == by_split["bytes"]
        == len("the dog number 3\nsat & ran.the cat éá".encode())
    )
    assert (
        by_text["cleaning"]
        == by_split["cleaning"]
        == ["strip_html", "NFC", "lowercase", "collapse_whitespace"]
    )
    for name in figures(by_split):
        assert by_text[name] == pytest.approx(by_split[name], rel=1e-12), name
    assert (
        (by_split["unknown_tokens"] > 0)
        == (kind != "byte")
        == (by_split["charged_bits_per_byte"] > 0)
    )
    # The device's own method reads a text in the same way.
    assert model.score("<p>The</p>").tokens == model.score("the").tokens
    assert model.generate("<p>THE", max_tokens=4).text == model.generate("the", max_tokens=4).text


def test_a_smaller_vocabulary_does_not_look_better(tmp_path):
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in np.minimum(rng.zipf(1.4, 6000), 400)]
    documents = [" ".join(words[at : at + 20]) for at in range(0, 5000, 20)]
    held_out = [" ".join(words[at : at + 20]) for at in range(5000, 6000, 20)]
    found = []
    for size in (4, 10, 50, 400):
        options = {"tokenizer": "word", "vocabulary_size": size}
        model, data, _ = counted(tmp_path / str(size), documents, held_out, **options)
        found.append(evaluate_file(model, data, progress=False))
    assert [one["unknown_share"] for one in found] == sorted(
        (one["unknown_share"] for one in found), reverse=True
    )
    # The perplexity falls with what a vocabulary does not know; the bits of the text rise.
    assert [one["perplexity"] for one in found] == sorted(one["perplexity"] for one in found)
    assert [one["bits_per_byte"] for one in found] == sorted(
        (one["bits_per_byte"] for one in found), reverse=True
    )
    assert found[0]["bits_per_byte"] > 2 * found[-1]["bits_per_byte"]


def test_bits_per_byte_of_an_earlier_folder_are_withheld(tmp_path):
    model, data, files = counted(
        tmp_path, ["a b a b"] * 3, ["a b c"], tokenizer="word", vocabulary_size=5
    )
    path = os.path.join(data, "manifest.json")
    manifest = read_json(path, "the manifest")
    for split in manifest["splits"].values():
        del split["unknown_tokens"], split["lost_bits"]
    write_json(path, manifest)
    earlier = evaluate_file(model, data, progress=False)
    assert (earlier["unknown_tokens"], earlier["unknown_share"]) == (1, 0.25)
    assert (earlier["bits_per_byte"], earlier["charged_bits_per_byte"], earlier["bytes"]) == (
        None,
        None,
        5,
    )
    assert evaluate_file(model, text_files=files, progress=False)["bits_per_byte"] > 0


def test_a_file_scores_continuations_as_its_run_does(run, exported):
    rows = [
        continuation(run.tokenizer, context, choice)
        for context in ("First", "", "A longer one: ")
        for choice in (" held", " ж", "out")
    ]
    rows = [row.cut(exported.context_length) for row in rows]
    expected, found = score_continuations(run.network, rows), exported.score_continuations(rows)
    for one, other in zip(found, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
        assert one.greedy == other.greedy
    assert exported.context_length == context_length(run.network)
