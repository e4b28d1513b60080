import contextlib
import dataclasses
import gzip
import json
import math
import os
import resource
import shutil
import signal

import numpy as np
import pytest

from tfscale.config import PrepareConfig
from tfscale.data import sources, tokenizing
from tfscale.data import writing as writing_module
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.shards import RECORD_TOKENS, shard_count, write_shards
from tfscale.data.tokens import split_text
from tfscale.errors import ConfigError, DataError, TfscaleError, TokenizerError
from tfscale.files.folders import atomic_directory
from tfscale.text.cleaning import Cleaner
from tfscale.text.score import ScoredText
from tfscale.text.tokenizers import load_tokenizer

PARAGRAPHS = [
    f"Paragraph {number}: {'the quick brown fox ' * (1 + number % 5)}end." for number in range(60)
]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(PARAGRAPHS))
    return str(path)


def run(text, output, **options):
    defaults = {
        "documents": "paragraph",
        "tokenizer": "byte",
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
    }
    config = PrepareConfig(
        text=[text] if isinstance(text, str) else text, output=str(output), **defaults | options
    )
    return prepare(config, progress=False)


def stream(directory, split):
    """The split's tokens, read without the pipeline."""
    import tensorflow as tf

    manifest = Manifest.load(str(directory), "sha256")
    records = [
        np.frombuffer(record.numpy(), "<u2" if manifest.token_dtype == "uint16" else "<u4")
        for shard in manifest.splits[split].shards
        for record in tf.data.TFRecordDataset(
            os.path.join(directory, shard.file), compression_type="GZIP"
        )
    ]
    return np.concatenate(records)


def documents_of(directory, split):
    tokenizer = load_tokenizer(str(directory))
    tokens = stream(directory, split).tolist()
    assert tokens[-1] == tokenizer.end_id
    documents, start = [], 0
    for place, token in enumerate(tokens):
        if token == tokenizer.end_id:
            documents.append(tokenizer.decode(tokens[start:place]))
            start = place + 1
    return documents


def content(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_document_is_in_one_split_in_order(text, tmp_path):
    manifest = run(text, tmp_path / "data")
    assert sorted(manifest.splits) == ["test", "train", "validation"]
    found = {split: documents_of(tmp_path / "data", split) for split in manifest.splits}
    assert sorted(sum(found.values(), [])) == sorted(PARAGRAPHS)
    for split, documents in found.items():
        assert documents == sorted(documents, key=PARAGRAPHS.index)
        assert manifest.splits[split].documents == len(documents)
        assert manifest.splits[split].utf8_bytes == sum(len(document) for document in documents)
        assert manifest.splits[split].tokens == sum(len(document) + 1 for document in documents)


def test_the_manifest_says_what_was_done(text, tmp_path):
    returned = run(text, tmp_path / "data", seed=3, processes=1)
    manifest = Manifest.load(str(tmp_path / "data"), "sha256")
    assert manifest == returned
    assert (manifest.tokenizer_kind, manifest.vocabulary_size, manifest.end_id) == (
        "byte",
        257,
        256,
    )
    assert manifest.token_dtype == "uint16"
    assert manifest.tokenizer_digest == load_tokenizer(str(tmp_path / "data")).digest
    assert manifest.how["seed"] == 3
    assert manifest.how["text"] == [text]
    assert not {"output", "processes"} & set(manifest.how)
    assert manifest.counts == {
        "files": 1,
        "empty": 0,
        "skipped_files": 0,
        "skipped_records": 0,
        "replaced_characters": 0,
        "cleaned_away": 0,
        "duplicates": 0,
        "cut_for_splits": 0,
    }
    names = sorted(name for name in os.listdir(tmp_path / "data") if name.endswith(".gz"))
    assert names == sorted(
        shard.file for split in manifest.splits.values() for shard in split.shards
    )
    others = ["manifest.json", "tokenizer", "train.index"]
    assert sorted(set(os.listdir(tmp_path / "data")) - set(names)) == others


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece", "word", "char"])
def test_the_same_bytes_whatever_the_number_of_processes(text, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tokenizing.encode_batches, "__defaults__", (0,))
    options = {"tokenizer": kind, "vocabulary_size": 294 if kind == "sentencepiece" else 100}
    run(text, tmp_path / "one", processes=1, **options)
    run(text, tmp_path / "two", processes=2, **options)
    run(text, tmp_path / "other", processes=1, seed=1, **options)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert content(tmp_path / "one") != content(tmp_path / "other")


def test_tokens_are_those_of_the_tokenizer(text, tmp_path):
    run(
        text,
        tmp_path / "data",
        tokenizer="sentencepiece",
        vocabulary_size=294,
        validation_fraction=0,
        test_fraction=0,
    )
    tokenizer = load_tokenizer(str(tmp_path / "data"))
    expected = [
        id for paragraph in PARAGRAPHS for id in [*tokenizer.encode(paragraph), tokenizer.end_id]
    ]
    assert stream(tmp_path / "data", "train").tolist() == expected


def test_a_long_document_is_tokenized_as_one(tmp_path):
    text = "".join(f"Sentence {number} of a long file.\n" for number in range(8000))
    (tmp_path / "long.txt").write_text(text)
    options = {"documents": "file", "validation_fraction": 0, "test_fraction": 0}
    run(
        str(tmp_path / "long.txt"),
        tmp_path / "data",
        tokenizer="sentencepiece",
        vocabulary_size=320,
        **options,
    )
    tokenizer = load_tokenizer(str(tmp_path / "data"))
    assert stream(tmp_path / "data", "train").tolist() == [
        *tokenizer.encode(text),
        tokenizer.end_id,
    ]
    assert len(text) > 3 * 65_536


def test_shards_are_equal_parts_of_the_stream(text, tmp_path):
    manifest = run(text, tmp_path / "data", shards=7, validation_fraction=0, test_fraction=0)
    train = manifest.splits["train"]
    assert list(manifest.splits) == ["train"]
    assert [shard.file for shard in train.shards][:2] == [
        "train-00000-of-00007.tfrecord.gz",
        "train-00001-of-00007.tfrecord.gz",
    ]
    lengths = [shard.tokens for shard in train.shards]
    assert sum(lengths) == train.tokens == len(stream(tmp_path / "data", "train"))
    assert max(lengths) - min(lengths) <= 1


def test_shard_counts():
    assert [shard_count(tokens) for tokens in (1, 4095, 4096, 8191, 8192, 16_384, 16_000_000)] == [
        1,
        1,
        1,
        1,
        2,
        4,
        4,
    ]
    assert [shard_count(tokens) for tokens in (16_000_001, 100_000_000)] == [5, 25]
    assert shard_count(10, 3) == 3
    with pytest.raises(DataError, match="shards=11 is more than the 10 tokens"):
        shard_count(10, 11)


def test_records_have_a_fixed_number_of_tokens(tmp_path):
    import tensorflow as tf

    tokens = np.arange(2 * RECORD_TOKENS + 11, dtype="<u4")
    tokens.tofile(tmp_path / "tokens")
    [(shard, _)] = write_shards(str(tmp_path), "train", str(tmp_path / "tokens"), 4, 1, 1)
    records = list(
        tf.data.TFRecordDataset(
            str(tmp_path / shard.file), compression_type="GZIP"
        ).as_numpy_iterator()
    )
    assert [len(record) // 4 for record in records] == [RECORD_TOKENS, RECORD_TOKENS, 11]
    assert np.array_equal(np.frombuffer(b"".join(records), "<u4"), tokens)


def test_own_files_for_validation_and_test(text, tmp_path):
    for name in ("dev", "test"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one\n\n{name} two")
    manifest = run(
        text,
        tmp_path / "data",
        validation_text=[str(tmp_path / "dev.txt")],
        test_text=[str(tmp_path / "test.txt")],
    )
    assert manifest.splits["train"].documents == 60
    assert documents_of(tmp_path / "data", "validation") == ["dev one", "dev two"]
    assert documents_of(tmp_path / "data", "test") == ["test one", "test two"]


def test_a_file_of_two_splits_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"text\.txt is in the train text and in the validation text"
    ):
        run(text, tmp_path / "data", validation_text=["./text.txt"])


def test_the_tokenizer_sees_the_training_split_only(tmp_path):
    (tmp_path / "train.txt").write_text("aaa bbb")
    (tmp_path / "dev.txt").write_text("ccc")
    run(
        str(tmp_path / "train.txt"),
        tmp_path / "data",
        tokenizer="char",
        test_fraction=0,
        validation_text=[str(tmp_path / "dev.txt")],
    )
    assert load_tokenizer(str(tmp_path / "data")).characters == ["a", "b", " "]


def test_the_sample_is_spread_over_the_documents(tmp_path):
    (tmp_path / "text.txt").write_text(
        "\n".join(chr(0x4E00 + number) * 100 for number in range(200))
    )
    options = {
        "documents": "line",
        "tokenizer": "char",
        "validation_fraction": 0,
        "test_fraction": 0,
    }
    run(str(tmp_path / "text.txt"), tmp_path / "data", tokenizer_sample=5000, **options)
    seen = sorted(
        ord(character) - 0x4E00 for character in load_tokenizer(str(tmp_path / "data")).characters
    )
    assert 49 <= len(seen) <= 51
    assert max(np.diff(seen)) < 8
    assert seen[-1] > 195


def test_an_earlier_tokenizer_is_taken_over(text, tmp_path):
    run(text, tmp_path / "first", tokenizer="word", vocabulary_size=20)
    manifest = run(text, tmp_path / "second", tokenizer_from=str(tmp_path / "first"), seed=9)
    assert manifest.tokenizer_kind == "word"
    assert manifest.tokenizer_digest == Manifest.load(str(tmp_path / "first")).tokenizer_digest
    with pytest.raises(
        ConfigError, match="vocabulary_size=9 is for training a tokenizer, and that"
    ):
        run(text, tmp_path / "third", tokenizer_from=str(tmp_path / "first"), vocabulary_size=9)
    with pytest.raises(TokenizerError, match="absent has no tokenizer"):
        run(text, tmp_path / "third", tokenizer_from=str(tmp_path / "absent"))


def test_cleaning_and_counts(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress("<p>One  É</p>".encode()))
    (tmp_path / "b.txt").write_text("one é")
    (tmp_path / "c.txt").write_text("<br><br>")
    (tmp_path / "d.txt").write_bytes(b"\xff")
    (tmp_path / "e.txt").write_text("")
    (tmp_path / "f.txt").write_text("two")
    options = {
        "strip_html": True,
        "collapse_whitespace": True,
        "lowercase": True,
        "unicode_normalization": "NFC",
        "drop_duplicates": True,
        "invalid_utf8": "skip",
    }
    manifest = run(
        str(tmp_path),
        tmp_path / "data",
        documents="file",
        validation_fraction=0,
        test_fraction=0,
        **options,
    )
    assert documents_of(tmp_path / "data", "train") == ["one é", "two"]
    assert manifest.counts == {
        "files": 5,
        "empty": 1,
        "skipped_files": 1,
        "skipped_records": 0,
        "replaced_characters": 0,
        "cleaned_away": 1,
        "duplicates": 1,
        "cut_for_splits": 0,
    }
    assert manifest.splits["train"].utf8_bytes == 9


def test_duplicates_stay_unless_asked_for(tmp_path):
    (tmp_path / "a.txt").write_text("same\nsame\nother")
    manifest = run(
        str(tmp_path / "a.txt"),
        tmp_path / "data",
        documents="line",
        validation_fraction=0,
        test_fraction=0,
    )
    assert manifest.splits["train"].documents == 3


def test_a_builtin_corpus(tmp_path, monkeypatch):
    files = [
        file for file in sources.builtin_corpus("python-stdlib") if file.name.startswith("json/")
    ]
    monkeypatch.setattr(sources, "builtin_corpus", lambda name: files)
    config = PrepareConfig(corpus="python-stdlib", tokenizer="byte", output=str(tmp_path / "data"))
    manifest = prepare(config, progress=False)
    assert sum(split.documents for split in manifest.splits.values()) == len(files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "sentencepiece", "vocabulary_size": 9999}, "larger than the text supports"),
        ({"shards": 100_000}, "shards=100000 is more than the"),
        (
            {"tokenizer": "word", "vocabulary_size": 4, "text": ["absent.txt"]},
            "does not exist: absent.txt",
        ),
    ],
)
def test_mistakes_leave_nothing_behind(text, tmp_path, options, message):
    with pytest.raises(TfscaleError, match=message):
        run(options.pop("text", text), tmp_path / "data", **options)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_text_too_short_to_be_cut_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text("to be or not")
    message = "1 different document cannot make 3 splits; name --validation-text and --test-text, cut smaller"
    with pytest.raises(DataError, match=message):
        run(str(tmp_path / "one.txt"), tmp_path / "data", documents="file")
    # Documents that are the same would be trained on and tested on.
    (tmp_path / "two.txt").write_text("to be or not to be\n" * 100)
    with pytest.raises(DataError, match=message):
        run(str(tmp_path / "two.txt"), tmp_path / "data", documents="line")


def test_a_single_document_is_cut_into_contiguous_splits(tmp_path, capsys):
    # 900 lines of 20 characters: 90 % are 16,200, 5 % are 900.
    lines = [f"line {number:03} of the text\n"[-20:] for number in range(900)]
    (tmp_path / "book.txt").write_text("".join(lines))
    config = PrepareConfig(
        text=[str(tmp_path / "book.txt")], tokenizer="char", output=str(tmp_path / "data")
    )
    manifest = prepare(config)
    assert (
        "note: the text has too few documents for 3 splits and is cut, in its order: 90 % train, 5 % "
        in (capsys.readouterr().err)
    )
    assert documents_of(tmp_path / "data", "train") == ["".join(lines[:810])]
    assert documents_of(tmp_path / "data", "validation") == ["".join(lines[810:855])]
    assert documents_of(tmp_path / "data", "test") == ["".join(lines[855:])]
    assert [split.utf8_bytes for split in manifest.splits.values()] == [16_200, 900, 900]
    assert manifest.counts["cut_for_splits"] == 2
    (tmp_path / "own.txt").write_text("held out")
    own = run(
        str(tmp_path / "book.txt"),
        tmp_path / "data",
        documents="file",
        test_fraction=0.25,
        validation_text=[str(tmp_path / "own.txt")],
    )
    assert documents_of(tmp_path / "data", "test") == ["".join(lines[675:])]
    assert documents_of(tmp_path / "data", "validation") == ["held out"]
    assert own.splits["train"].utf8_bytes == 675 * 20


def test_two_documents_are_too_few_for_three_splits(tmp_path):
    for name, letter in (("a.txt", "a"), ("b.txt", "b")):
        (tmp_path / name).write_text(f"{letter} " * 500)
    manifest = run(
        str(tmp_path),
        tmp_path / "data",
        documents="file",
        validation_fraction=0.05,
        test_fraction=0.05,
    )
    assert documents_of(tmp_path / "data", "train") == ["a " * 500, "b " * 400]
    assert [split.utf8_bytes for split in manifest.splits.values()] == [1800, 100, 100]


def test_the_automatic_vocabulary_is_what_the_text_supports(text, tmp_path, capsys):
    with pytest.raises(TokenizerError, match="the largest possible is (297|311)"):
        run(text, tmp_path / "data", tokenizer="sentencepiece", vocabulary_size=8192)
    manifest = run(text, tmp_path / "data", tokenizer="sentencepiece")
    # 7/8 of it are less than the text's characters and the 256 bytes.
    assert manifest.vocabulary_size == 291
    assert run(text, tmp_path / "data", tokenizer="wordpiece").vocabulary_size < 8192
    size = prepare(
        PrepareConfig(text=[text], documents="paragraph", output=str(tmp_path / "data"))
    ).vocabulary_size
    assert (
        f"note: a vocabulary of {size} entries: the text does not support 8,192"
        in capsys.readouterr().err
    )


def test_unknown_tokens_and_what_they_lose_are_counted(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("the cat the cat the dog\n")
    (tmp_path / "dev.txt").write_text("the ox\nthe  cat")
    config = PrepareConfig(
        text=[str(tmp_path / "train.txt")],
        validation_text=[str(tmp_path / "dev.txt")],
        test_fraction=0,
        documents="line",
        tokenizer="word",
        vocabulary_size=5,
        output=str(tmp_path / "data"),
    )
    manifest = prepare(config)
    assert "note: 16.7 % of the validation tokens are unknown" in capsys.readouterr().err
    # Two words and the end token in each line; the words "the" and "cat" are known.
    train, dev = manifest.splits["train"], manifest.splits["validation"]
    assert (train.tokens, train.unknown_tokens, dev.tokens, dev.unknown_tokens) == (7, 1, 6, 1)
    usual = math.log2(256 / 255)
    assert train.lost_bits == pytest.approx(8 * (3 + 1) + 7 * usual)
    # "ox" and its end; of six gaps one is two spaces: its sign, its bytes, its end.
    assert dev.lost_bits == pytest.approx(8 * (2 + 1) + 5 * usual + 8 + 8 * (2 + 1))
    # A folder of an earlier version has no counts.
    path = tmp_path / "data" / "manifest.json"
    content = json.loads(path.read_text())
    for split in content["splits"].values():
        del split["unknown_tokens"], split["lost_bits"]
    path.write_text(json.dumps(content))
    earlier = Manifest.load(str(tmp_path / "data"))
    assert earlier.splits["validation"].unknown_tokens is None
    found = split_text(
        str(tmp_path / "data"), earlier, "validation", load_tokenizer(str(tmp_path / "data"))
    )
    assert found == ScoredText(14, 1, None)
    content["splits"]["train"]["unknown_tokens"] = 8
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="contradicts itself: train has 7 tokens, unknown_tokens=8"):
        Manifest.load(str(tmp_path / "data"))


def test_cleaning_stays_with_the_tokenizer(text, tmp_path, capsys):
    run(text, tmp_path / "first", tokenizer="char", lowercase=True)
    assert load_tokenizer(str(tmp_path / "first")).cleaner == Cleaner(lowercase=True)
    options = {"text": [text], "documents": "paragraph", "tokenizer_from": str(tmp_path / "first")}
    manifest = prepare(
        PrepareConfig(**options, output=str(tmp_path / "second"), collapse_whitespace=True)
    )
    assert (
        "does not clean by collapse_whitespace: this text is cleaned by it"
        in capsys.readouterr().err
    )
    assert manifest.cleaner == Cleaner(lowercase=True, collapse_whitespace=True)
    assert manifest.how["lowercase"] is True
    assert all(
        document == document.lower() for document in documents_of(tmp_path / "second", "train")
    )
    assert (
        load_tokenizer(str(tmp_path / "second")).digest
        == load_tokenizer(str(tmp_path / "first")).digest
    )


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_empty_text_is_named(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"the train text is empty: .*a\.txt"):
        run(str(tmp_path / "a.txt"), tmp_path / "data")
    (tmp_path / "b.txt").write_text("one\n\ntwo")
    with pytest.raises(DataError, match=r"the validation text is empty: .*a\.txt"):
        run(
            str(tmp_path / "b.txt"),
            tmp_path / "data",
            test_fraction=0,
            validation_text=[str(tmp_path / "a.txt")],
        )


def test_output_that_is_not_ours_is_left_alone(text, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(DataError, match="exists and is not a data folder"):
        run(text, tmp_path / "mine")
    with pytest.raises(DataError, match="is a file; name a folder"):
        run(text, text)
    with pytest.raises(DataError, match="output gs://bucket/data is remote"):
        run(text, "gs://bucket/data")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    # Other programs have a file of that name too.
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "app", "icons": []}')
    with pytest.raises(
        DataError, match=r"is not a data folder \(its manifest\.json is another program's\)"
    ):
        run(text, tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").write_text("[")
    with pytest.raises(DataError, match="is not valid JSON"):
        run(text, tmp_path / "mine")
    assert sorted(os.listdir(tmp_path / "mine")) == ["manifest.json", "thesis.txt"]


def test_the_text_is_not_replaced_by_what_is_made_of_it(text, tmp_path):
    run(text, tmp_path / "data")
    inside = tmp_path / "data" / "text.txt"
    shutil.copy(text, inside)
    for path in (inside, tmp_path / "data" / "*.txt"):
        with pytest.raises(
            DataError, match=r"text\.txt lies in the output folder .*data, which is replaced"
        ):
            run(str(path), tmp_path / "data")
    assert inside.exists()


def test_an_earlier_data_folder_is_replaced_only_when_all_is_done(text, tmp_path):
    run(text, tmp_path / "data", shards=3)
    before = content(tmp_path / "data")
    with pytest.raises(TokenizerError):
        run(text, tmp_path / "data", tokenizer="sentencepiece", vocabulary_size=9999)
    assert content(tmp_path / "data") == before
    run(text, tmp_path / "data", shards=2)
    assert len(Manifest.load(str(tmp_path / "data")).splits["train"].shards) == 2
    assert sorted(os.listdir(tmp_path)) == ["data", "text.txt"]


@contextlib.contextmanager
def largest_file(size):
    """As with a full disk, no file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


# The spool of the documents has 5,750 bytes, that of the training tokens some 7,500.
@pytest.mark.parametrize("size", [3000, 6500])
def test_a_full_disk_leaves_the_earlier_folder(text, tmp_path, size):
    run(text, tmp_path / "data")
    before = content(tmp_path / "data")
    with (
        largest_file(size),
        pytest.raises(TfscaleError, match="no space left while writing .*data"),
    ):
        run(text, tmp_path / "data", processes=1)
    assert content(tmp_path / "data") == before
    assert sorted(os.listdir(tmp_path)) == ["data", "text.txt"]


def test_a_disk_that_is_full_while_a_shard_is_written(tmp_path):
    np.random.default_rng(0).integers(0, 1 << 16, 50_000).astype("<u2").tofile(tmp_path / "tokens")
    with (
        largest_file(20_000),
        pytest.raises(TfscaleError, match=f"no space left while writing {tmp_path}/data"),
        atomic_directory(str(tmp_path / "data")) as directory,
    ):
        write_shards(directory, "train", str(tmp_path / "tokens"), 2, 1, 1)
    assert os.listdir(tmp_path) == ["tokens"]


def test_an_interruption_leaves_nothing_behind(text, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing_module, "write_shards", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(text, tmp_path / "data")
    assert os.listdir(tmp_path) == ["text.txt"]


def test_progress_goes_to_stderr(text, tmp_path, capsys):
    config = PrepareConfig(
        text=[text], documents="paragraph", tokenizer="char", output=str(tmp_path / "data")
    )
    prepare(config)
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in (
        "reading: 60 documents",
        "training the char tokenizer on",
        "tokenizing: 60 documents",
        "writing: ",
    ):
        assert words in captured.err
    prepare(dataclasses.replace(config, output=str(tmp_path / "quiet")), progress=False)
    assert capsys.readouterr().err == ""


def test_the_manifest_is_plain_json(text, tmp_path):
    run(text, tmp_path / "data")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["splits"]["train"]["shards"][0]["file"].startswith("train-00000-of-")
