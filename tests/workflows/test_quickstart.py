"""The figures of the quickstart that are its own: baselines by hand sums, the number of steps, the table."""

import gzip
import math
import types

import numpy as np
import pytest

from tfscale.errors import DataError
from tfscale.runs import timing
from tfscale.text.score import ScoredText
from tfscale.workflows import quickstart, quickstart_table


class Bytes:
    """A byte tokenizer of three lines: ids are bytes, 256 ends a document."""

    end_id = 256

    def decode(self, ids):
        return bytes(ids).decode("utf-8")


def test_documents_are_cut_at_the_end_tokens():
    stream = np.array([*b"ab", 256, 256, *"é".encode(), 256])
    assert quickstart.documents(Bytes(), stream) == [b"ab", b"", "é".encode()]


@pytest.mark.parametrize("stream", [[97], [97, 256, 98], []])
def test_a_stream_must_close_with_the_end_token(stream):
    with pytest.raises(DataError, match="does not close with the end token"):
        quickstart.documents(Bytes(), stream)


def test_unigram_by_hand(monkeypatch):
    streams = {"train": np.array([0, 0, 0, 1, 1]), "validation": np.array([0, 1, 2])}
    monkeypatch.setattr(quickstart, "split_stream", lambda data, split: streams[split])
    monkeypatch.setattr(quickstart, "load_tokenizer", lambda data: None)
    monkeypatch.setattr(
        quickstart,
        "split_text",
        lambda *_: ScoredText(utf8_bytes=6, unknown_tokens=0, lost_bits=0.0),
    )
    manifest = types.SimpleNamespace(vocabulary_size=3)
    score = quickstart.unigram_score("data", manifest)
    # Counts 3, 2 and 0 plus one each, over 8: probabilities 1/2, 3/8 and 1/8.
    assert score.nll == pytest.approx(
        -math.log(1 / 2) - math.log(3 / 8) - math.log(1 / 8), rel=1e-12
    )
    assert (score.tokens, score.utf8_bytes) == (3, 6)


def test_gzip_by_hand():
    texts = [b"a" * 300, b"b" * 100]
    each = len(gzip.compress(b"a" * 300, 9)) + len(gzip.compress(b"b" * 100, 9))
    whole = len(gzip.compress(b"a" * 300 + b"b" * 100, 9))
    assert quickstart.gzip_bits_per_byte(texts) == {
        "per_document_bits_per_byte": 8 * each / 400,
        "whole_bits_per_byte": 8 * whole / 400,
    }


@pytest.mark.parametrize(
    ("seconds", "per_step", "steps"),
    [(300, 0.1, 3000), (299, 0.1, 2900), (30, 0.1, 300), (5, 0.1, 100), (-20, 0.1, 100)],
)
def test_steps_fill_the_time_in_hundreds(seconds, per_step, steps):
    assert timing.steps_within(seconds, per_step) == steps


RESULT = {
    "output": "out",
    "steps": 1200,
    "passes_over_the_data": 1.25,
    "parameters": 1_234_567,
    "training_tokens": 3_000_000,
    "train_tokens_per_second": 20_000.4,
    "input_wait_fraction": 0.012,
    "validation": {"perplexity": 33.333, "bits_per_byte": 1.5},
    "unigram": {"perplexity": 512.4, "bits_per_byte": 2.75},
    "gzip": {"per_document_bits_per_byte": 2.25, "whole_bits_per_byte": 2.0},
    "sizes": {"keras_bytes": 5_000_000, "float_bytes": 4_000_000, "int8_bytes": 1_000_000},
    "perplexity_on_parity_tokens": {"tokens": 2048, "keras": 30.0, "float": 30.0001, "int8": 30.1},
    "decode_tokens_per_second": {"float": 3000.0, "int8": 5000.0},
    "samples": [{"prompt": "def [b]f(", "completion": "x):\n    return x"}],
    "seconds": {"prepare": 30.2, "total": 400.0},
}


def test_the_table_shows_the_figures(capsys):
    rows = dict(quickstart_table.table_rows(RESULT))
    assert rows["Parameters"] == "1,234,567"
    assert rows["Training"] == "1,200 steps, 1.2 passes over 3,000,000 tokens"
    assert rows["Training speed"] == "20,000 tokens/s, 1.2 % of it waiting for input"
    assert rows["Validation perplexity"] == "33.33 on the whole split (unigram 512)"
    assert rows["int8 .tflite"] == "1.00 MB (0.25 of float)"
    assert rows["Time"] == "prepare 30 s, total 400 s"
    quickstart_table.show_table(RESULT)
    out = capsys.readouterr().out
    # Text of the model is shown as it is, never read as markup.
    assert "def [b]f(x):\n    return x" in out
    assert "1,234,567" in out and "Report: out/report.html" in out


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is not a quickstart"):
        quickstart.quickstart(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
