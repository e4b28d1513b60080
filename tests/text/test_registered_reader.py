"""A reader of a module outside the package: found by suffix and magic bytes, in prepare and evaluate."""

import gzip
import pathlib

import numpy as np
import pytest

from tests.plugins import plugin
from tfscale.analysis.swapping import read_swap_files
from tfscale.config import PrepareConfig
from tfscale.config.tasks import SwapConfig
from tfscale.data.prepare import prepare
from tfscale.errors import DataError
from tfscale.evaluation.evaluate import text_stream
from tfscale.tasks.examples import read_examples
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import ReadCounts, Reading, TextFile, reader_by_suffix, reader_of
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

STARS = "STARS\n" + "".join(f"* text {n} | {'ab'[n % 2]}\n" for n in range(300))


@pytest.fixture(autouse=True)
def stranger(monkeypatch):
    """The module, registered for the time of a test."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    with plugin("stranger") as module:
        yield module


def test_it_is_found_by_suffix_and_by_magic_bytes(stranger, tmp_path):
    (tmp_path / "a.stars").write_text("* one | x\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(STARS.encode()))
    (tmp_path / "c").write_bytes(gzip.compress(STARS.encode()))
    (tmp_path / "d.txt").write_text("plain\n")
    readers = [reader_of(file) for file in find_text([str(tmp_path)])]
    assert [reader.name for reader in readers] == ["stars", "stars", "stars", "text"]
    assert reader_by_suffix("A.STARS.gz").name == "stars" and reader_by_suffix("a.md") is None
    assert [row.fields for row in readers[0].rows(TextFile(str(tmp_path / "a.stars")))] == [
        {"text": "one", "label": "x"}
    ]


def test_plain_text_has_no_rows(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.txt: examples are read from \.arrow, .* and \.stars files"
    ):
        list(reader_by_suffix("a.txt").rows(TextFile("a.txt")))


def test_documents_and_counts(tmp_path):
    (tmp_path / "a.stars.gz").write_bytes(gzip.compress(STARS.encode()))
    (tmp_path / "b.txt").write_text("plain\n")
    counts = ReadCounts()
    texts = list(read_documents(find_text([str(tmp_path)]), Reading(counts=counts)))
    assert texts == [f"text {n}" for n in range(300)] + ["plain\n"]
    assert counts == ReadCounts(files=2)


def test_prepare_and_evaluate_read_it(tmp_path):
    path = tmp_path / "a.stars"
    path.write_text(STARS)
    config = PrepareConfig(text=[str(path)], tokenizer="byte", output=str(tmp_path / "data"))
    manifest = prepare(config, progress=False)
    assert sum(split.documents for split in manifest.splits.values()) == 300
    stream, known = text_stream(ByteTokenizer(), [str(path)])
    assert known.utf8_bytes == sum(len(f"text {n}") for n in range(300))
    assert np.count_nonzero(stream == 256) == 300


def test_examples_of_tasks_and_texts_of_swap_read_it(tmp_path):
    path = tmp_path / "a.stars.gz"
    path.write_bytes(gzip.compress(STARS.encode()))
    examples = read_examples([str(path)], "classify")
    assert [(e.text, e.labels, e.where.rpartition(", ")[2]) for e in examples[:2]] == [
        ("text 0", ("a",), "line 2"),
        ("text 1", ("b",), "line 3"),
    ]
    (tmp_path / "pairs.tsv").write_text("text\tword\n")
    config = SwapConfig(text=[str(path)], pairs=str(tmp_path / "pairs.tsv"))
    assert read_swap_files(config)[1][:2] == ["text 0", "text 1"]


def test_rows_are_read_from_gzip_and_must_be_utf_8(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"}\r\n\r\n{"text": "two"}'))
    rows = list(reader_by_suffix(path.name).rows(TextFile(str(path))))
    assert [(row.place, row.fields["text"]) for row in rows] == [
        ("line 1", "one"),
        ("line 3", "two"),
    ]
    (tmp_path / "b.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(
        DataError, match=r"b\.csv is not UTF-8: byte 0xe9 at offset 8; name its encoding"
    ):
        list(reader_by_suffix("b.csv").rows(TextFile(str(tmp_path / "b.csv"))))
