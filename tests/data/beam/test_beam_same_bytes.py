"""The engine on Apache Beam writes what the engine of one machine writes, byte for byte."""

import json

import pytest

from tests.data.beam.comparing import (
    assert_same,
    by_beam,
    messy,
    prepared,
    prose,
    write_paragraphs,
    write_records,
)
from tfscale.data import spool
from tfscale.data.beam import documents, near_duplicates, ordering
from tfscale.data.beam import job as job_module

QUALITY = {
    "filters": ["gopher_quality", "gopher_repetition"],
    "languages": ["en"],
    "remove": ["emails"],
    "near_duplicates": 0.8,
    "drop_duplicates": True,
    "report": True,
    "max_characters": 2000,
}


@pytest.fixture
def small(monkeypatch):
    """Chunks, batches and blocks of a few documents, so that their borders are met."""
    monkeypatch.setattr(documents, "CHUNK_DOCUMENTS", 7)
    monkeypatch.setattr(spool, "BATCH_BYTES", 3000)
    monkeypatch.setattr(ordering, "BATCH_BYTES", 3000)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 3)
    monkeypatch.setattr(job_module, "_RUN_BYTES", 2000)


@pytest.fixture
def files(tmp_path):
    """Files of texts, by name."""
    return {
        "a": write_paragraphs(tmp_path / "a.txt", messy(60)),
        "b": write_records(tmp_path / "b.jsonl.gz", messy(40, 30)),
        "c": write_paragraphs(tmp_path / "c.txt", messy(30, 200)),
        "held": write_paragraphs(tmp_path / "held.txt", [*messy(5, 300), prose(301), prose(301)]),
        "test": write_paragraphs(tmp_path / "test.txt", [prose(3), "too short"]),
    }


def counts_of(files):
    return json.loads(files["manifest.json"])["counts"]


@pytest.mark.parametrize("tokenizer", ["byte", "char", "word", "wordpiece", "sentencepiece"])
def test_every_tokenizer(files, small, tmp_path, tokenizer):
    options = {"tokenizer_sample": 9000, "vocabulary_size": 330, "seed": 5}
    text = [files["a"], files["b"], files["c"]]
    assert_same(tmp_path, text=text, documents="paragraph", tokenizer=tokenizer, **options)


def test_filters_removal_and_duplicates(files, small, tmp_path):
    options = QUALITY | {"decontaminate": [files["test"]], "validation_text": [files["held"]]}
    text = [files["a"], files["b"], files["c"]]
    same = assert_same(tmp_path, text=text, documents="paragraph", tokenizer="word", **options)
    assert b"similar to an earlier document" in same["report.html"]
    counts = counts_of(same)
    # Those that are met in several chunks and files, and the repeated one of the validation text.
    assert counts["duplicates"] > 20
    assert counts["near_duplicates"] > 20
    assert counts["removed/emails"] > 5
    assert counts[f"dropped/decontaminate/{files['test']}"] == 1


def test_duplicates_alone(files, small, tmp_path):
    text = [files["a"], files["b"], files["a"].replace("a.txt", "c.txt")]
    options = {"documents": "paragraph", "tokenizer": "char", "validation_text": [files["held"]]}
    same = assert_same(tmp_path, text=text, drop_duplicates=True, **options)
    assert counts_of(same)["duplicates"] > 20


def test_near_duplicates_alone(files, small, tmp_path):
    options = {"documents": "paragraph", "near_duplicates": 0.7, "tokenizer": "byte"}
    same = assert_same(tmp_path, text=[files["a"], files["b"]], **options)
    assert counts_of(same)["near_duplicates"] > 20
    assert counts_of(same)["duplicates"] == 0


def test_several_sources(files, small, tmp_path):
    options = {"tokenizer_sample": 5000, "shards": 3, "drop_duplicates": True}
    source = {"web": [files["b"]], "books": [files["a"], files["c"]]}
    same = assert_same(
        tmp_path,
        source=source,
        documents="paragraph",
        test_text=[files["held"]],
        vocabulary_size=330,
        lowercase=True,
        **options,
    )
    assert "train.web-00002-of-00003.tfrecord.gz" in same


def test_long_documents(small, tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(prose(seed) for seed in range(900)))
    (tmp_path / "unbroken.txt").write_text("x" * 70_000)
    (tmp_path / "short.txt").write_text("two words")
    text = [str(tmp_path / name) for name in ("long.txt", "unbroken.txt", "short.txt")]
    assert_same(tmp_path, text=text, tokenizer="word", tokenizer_sample=20_000)


def test_a_text_of_too_few_documents_is_cut(tmp_path):
    (tmp_path / "book.txt").write_text(prose(0, 100))
    held = write_paragraphs(tmp_path / "held.txt", [prose(1), prose(2)])
    for number, options in enumerate([{}, {"test_text": [held]}]):
        folder = tmp_path / str(number)
        same = assert_same(folder, text=[str(tmp_path / "book.txt")], tokenizer="char", **options)
        assert counts_of(same)["cut_for_splits"] == 2 - number


def test_files_that_are_left_out(files, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Où est la clé ?".encode("latin-1"))
    (tmp_path / "empty.txt").write_bytes(b"")
    text = [files["a"], str(tmp_path / "latin.txt"), str(tmp_path / "empty.txt"), files["b"]]
    same = assert_same(tmp_path, text=text, invalid_utf8="skip", tokenizer="byte")
    assert counts_of(same)["skipped_files"] == counts_of(same)["empty"] == 1


def test_a_tokenizer_that_is_given(files, small, tmp_path):
    prepared(tmp_path / "first", text=[files["a"]], documents="paragraph", vocabulary_size=330)
    options = {"tokenizer_from": str(tmp_path / "first"), "collapse_whitespace": True}
    assert_same(tmp_path, text=[files["b"]], **options)


def test_bundles_that_run_twice(files, small, tmp_path):
    """Beam's runner can carry out each bundle several times, as a cluster does after a failure."""
    options = QUALITY | {"text": [files["a"], files["b"]], "documents": "paragraph"}
    again = {"direct_runner_bundle_repeat": 2}
    assert_same(tmp_path, again, tokenizer="word", **options)


def test_threads(files, small, tmp_path):
    threads = {"direct_running_mode": "multi_threading", "direct_num_workers": 3}
    options = QUALITY | {"text": [files["a"], files["b"]], "documents": "paragraph"}
    assert_same(tmp_path, threads, tokenizer="char", **options)


def test_an_earlier_folder_is_replaced(files, tmp_path):
    by_beam(tmp_path / "out", text=[files["a"]], tokenizer="byte", documents="paragraph")
    second = by_beam(tmp_path / "out", text=[files["c"]], tokenizer="byte", documents="paragraph")
    assert second == prepared(
        tmp_path / "local", text=[files["c"]], tokenizer="byte", documents="paragraph"
    )
    assert sorted(path.name for path in tmp_path.iterdir() if "tmp" in path.name) == []
