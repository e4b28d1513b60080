"""The same documents give the same shards, however they are kept."""

import bz2
import gzip
import json
import lzma

import pytest

from tests.text.keeping import arrow_folder, json_lines, table, tarred, tfds_folder, zipped
from tfscale import cli
from tfscale.api import prepare
from tfscale.data.manifest import Manifest
from tfscale.errors import ConfigError, DataError
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.given import given_texts
from tfscale.text.reader import Reading

DOCUMENTS = [
    f'Document {number}: "quoted", näïve, 狐; {"and so on " * (number % 4)}' for number in range(90)
]
WRITTEN = {
    "lines.txt",
    "a.jsonl.zst",
    "a.csv",
    "a.tsv",
    "a.zip",
    "a.tgz",
    "a.parquet",
    "saved",
    "tfds",
}
"""What is prepared; of the others it is enough that their documents are the same."""
COLUMN = [{"text": text} for text in DOCUMENTS]


def _parquet(path, rows=None, **options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = rows or DOCUMENTS
    pq.write_table(pa.table({"id": range(len(values)), "text": values}), str(path), **options)


def _containers(folder):
    """Writes each container; yields its name, its path and the options that it needs."""
    import zstandard

    lines = json_lines(DOCUMENTS)
    half = len(json_lines(DOCUMENTS[:40]))
    files = {"b/2.jsonl": lines[half:], "a/1.jsonl": lines[:half]}
    single = {
        "lines.txt": "\n".join(DOCUMENTS).encode(),
        "a.jsonl": lines,
        "a.jsonl.zst": zstandard.compress(lines),
        "a.jsonl.gz": gzip.compress(lines),
        "a.ndjson.bz2": bz2.compress(lines),
        "a.json.xz": lzma.compress(lines),
        "wiki_00": lines,
        "a.csv": table(DOCUMENTS),
        "b.csv": table(DOCUMENTS, ";"),
        "a.tsv": table(DOCUMENTS, "\t"),
        "a.zip": zipped(files),
        "a.tgz": tarred(files, "w:gz"),
        "a.tar.zst": zstandard.compress(tarred(files)),
        "utf16.txt": "\n".join(DOCUMENTS).encode("utf-16"),
        "gb18030.txt": "\n".join(DOCUMENTS).encode("gb18030"),
        "nested.jsonl": "".join(json.dumps({"content": row}) + "\n" for row in COLUMN).encode(),
    }
    for name, content in single.items():
        (folder / name).write_bytes(content)
    _parquet(folder / "a.parquet", row_group_size=25)
    _parquet(folder / "b.parquet", [{"body": text} for text in DOCUMENTS])
    arrow_folder(folder / "saved", DOCUMENTS, files=3)
    arrow_folder(folder / "split" / "train", DOCUMENTS)
    arrow_folder(folder / "split" / "test", ["another"])
    (folder / "split" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    tfds_folder(folder / "tfds", DOCUMENTS)
    options = {
        "lines.txt": {"documents": "line"},
        "utf16.txt": {"documents": "line"},
        "gb18030.txt": {"documents": "line", "encoding": "gb18030"},
        "nested.jsonl": {"text_field": "content.text"},
        "b.parquet": {"text_field": "text.body"},
    }
    names = [*single, "a.parquet", "b.parquet", "saved", "split", "tfds"]
    return [(name, str(folder / name), options.get(name, {})) for name in names]


def _written(folder):
    """The shards, their tokenizer, and the manifest's splits."""
    manifest = Manifest.load(str(folder), "sha256")
    shards = {path.name: path.read_bytes() for path in sorted(folder.glob("*.gz"))}
    return shards, manifest.splits, manifest.tokenizer_digest


def _prepare(output, **options):
    return prepare(tokenizer="byte", processes=1, output=str(output), progress=False, **options)


def test_the_same_documents_give_the_same_shards(tmp_path, capsys):
    import tensorflow as tf

    containers = tmp_path / "containers"
    containers.mkdir()
    written = {}
    for name, path, options in _containers(containers):
        reading = Reading(**options)
        assert list(read_documents(find_text([path]), reading)) == DOCUMENTS, name
        if name in WRITTEN:
            _prepare(tmp_path / f"data-{name}", text=[path], **options)
            written[name] = _written(tmp_path / f"data-{name}")
    assert set(written) == WRITTEN
    made = tf.data.Dataset.from_tensor_slices
    given = {
        "list": DOCUMENTS,
        "records": COLUMN,
        "dataset": made(DOCUMENTS),
        "dataset of records": made({"text": DOCUMENTS, "number": list(range(len(DOCUMENTS)))}),
    }
    for name, texts in given.items():
        assert list(given_texts(texts, Reading())) == DOCUMENTS, name
    within = given_texts(made({"a": {"b": DOCUMENTS}}), Reading(text_field="a.b"))
    assert list(within) == DOCUMENTS
    _prepare(tmp_path / "data-given", texts=(text for text in DOCUMENTS))
    written["given"] = _written(tmp_path / "data-given")
    first = written["lines.txt"]
    assert len(first[0]) >= 3 and sum(split.documents for split in first[1].values()) == 90
    assert {name for name, found in written.items() if found != first} == set()
    notes = capsys.readouterr().err
    assert "split has the splits train, test: train is read" in notes
    assert "utf16.txt is utf-16-le by its byte order mark, and is read so" in notes


def test_the_manifest_says_that_the_text_was_given(tmp_path):
    manifest = _prepare(tmp_path / "data", texts=["one", "", "two", *DOCUMENTS])
    assert manifest.how["texts"] == "given by a Python program" and manifest.how["text"] == []
    assert manifest.counts["empty"] == 1
    assert sum(split.documents for split in manifest.splits.values()) == 92
    other = _prepare(tmp_path / "other", texts=DOCUMENTS, corpus=None, text=[])
    assert other.how["texts"] == manifest.how["texts"]


class Frame:
    """What a data frame of pandas is to a loop: the names of its columns."""

    columns = property(lambda self: ["text"])

    def __iter__(self):
        return iter(self.columns)


def _spec_errors():
    import tensorflow as tf

    made = tf.data.Dataset.from_tensor_slices
    return {
        r"texts is a str; expected an iterable": "one text",
        r"texts is a int; expected": 5,
        r"texts, element 2 is a int; expected a string, or a record with the field 'text'": [
            "a",
            5,
        ],
        r"texts, element 1: there is no field 'text'; it has body": [{"body": "a"}],
        r"texts: the dataset has no field 'text'; it has body": made({"body": ["a"]}),
        r"a batched dataset is taken apart by \.unbatch\(\)": made(["a", "b"]).batch(2),
        r"expected one string": made([1, 2]),
        r"the dataset has no field 'text'; it has id, a\.b": made({"id": [1], "a": {"b": ["a"]}}),
        r"texts is a Frame, a table; give one of its columns, such as table\['text'\]": Frame(),
        r"repeats for ever": made(["a"]).repeat(),
    }


def test_what_is_no_iterable_of_texts_is_refused(tmp_path):
    for message, texts in _spec_errors().items():
        with pytest.raises(DataError, match=message):
            _prepare(tmp_path / "data", texts=texts)
    with pytest.raises(ConfigError, match="give either texts or text"):
        _prepare(tmp_path / "data", texts=["a"], text="a.txt")
    with pytest.raises(ConfigError, match="give either texts or source; received source="):
        _prepare(tmp_path / "data", texts=["a"], source={"web": ["a.txt"]})
    with pytest.raises(DataError, match="the train text is empty: texts"):
        _prepare(tmp_path / "data", texts=[])
    assert not (tmp_path / "data").exists()


def test_unfit_files_are_named_before_anything_is_read(tmp_path, capsys):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "1.jsonl").write_bytes(json_lines(DOCUMENTS))
    _parquet(folder / "2.parquet")
    (folder / "3.csv").write_text("id,body\n1,one\n")
    command = ["prepare", "--text", str(folder), "--tokenizer", "byte", "--output"]
    assert cli.main([*command, str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "3.csv, line 2: there is no field 'text'; it has id, body (--text-field" in error
    assert not (tmp_path / "data").exists()
    (folder / "3.csv").write_text("id,text\n1,one\n")
    assert cli.main([*command, str(tmp_path / "data")]) == 0
    shown = capsys.readouterr().err
    assert "files of several formats: 1 jsonl (such as " in shown and "1 parquet" in shown
    splits = Manifest.load(str(tmp_path / "data")).splits
    assert sum(split.documents for split in splits.values()) == 181


def test_the_command_line_and_python_take_the_options(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_bytes(
        json_lines([f"café {number}" for number in range(30)], "body").replace(
            b"caf\\u00e9", b"caf\xe9"
        )
    )
    options = ["--text", str(path), "--tokenizer", "byte", "--output"]
    assert cli.main(["prepare", *options, str(tmp_path / "none")]) == 2
    assert "looks like JSON lines" in capsys.readouterr().err
    more = ["--format", "jsonl", "--text-field", "body", "--encoding", "latin-1"]
    assert cli.main(["prepare", *options, str(tmp_path / "words"), *more]) == 0
    _prepare(
        tmp_path / "python",
        text=path,
        format="jsonl",
        text_field="body",
        encoding="latin-1",
    )
    words = _written(tmp_path / "words")
    assert words == _written(tmp_path / "python")
    # Four letters, one of two bytes, a space, and the digits of 0 to 29.
    assert sum(split.utf8_bytes for split in words[1].values()) == 30 * 6 + 10 + 2 * 20
    for wrong in (["--encoding", "klingon"], ["--encoding", "base64"], ["--format", "nothing"]):
        assert cli.main(["prepare", *options, str(tmp_path / "none"), *wrong]) == 2
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith("error: ") and wrong[1] in error
