import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import struct

import pytest

from tfscale.data.manifest import Manifest
from tfscale.data.tokens import token_blocks
from tfscale.errors import DataError
from tfscale.text.tokenizers.kinds.char import CharacterTokenizer


@pytest.fixture
def copy(tiny_data_dir, tmp_path):
    path = tmp_path / "data"
    shutil.copytree(tiny_data_dir, path)
    return path


def change(path, **fields):
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.update(fields)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_a_saved_manifest_is_the_same(copy, tmp_path):
    manifest = Manifest.load(str(copy), verify="sha256")
    manifest.save(str(tmp_path / "data"))
    assert Manifest.load(str(copy)) == manifest
    # An earlier version reads it too: what there is not is left out.
    expected = dataclasses.asdict(manifest)
    assert expected.pop("start_id") is None
    for split in expected["splits"].values():
        assert split.pop("sources") == {}
        assert [shard.pop("source") for shard in split["shards"]] == [None] * len(split["shards"])
    assert expected == json.loads((copy / "manifest.json").read_text())


def test_an_unknown_split_names_those_that_there_are(copy):
    with pytest.raises(DataError, match="no split 'dev'; it has train, validation, test"):
        Manifest.load(str(copy)).split("dev")


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"end_id": 7}, "says end_id=7, and its tokenizer"),
        ({"vocabulary_size": 9}, "says vocabulary_size=9, and its tokenizer"),
        ({"tokenizer_kind": "word"}, "says tokenizer_kind='word', and its tokenizer"),
        ({"tokenizer_digest": 1}, "tokenizer_digest should be text; received 1"),
        ({"end_id": "1"}, "end_id should be a whole number; received '1'"),
        ({"token_dtype": "uint8"}, "token_dtype should be one of uint16, uint32; received 'uint8'"),
        ({"splits": []}, "splits should be a mapping; received a list"),
    ],
)
def test_a_manifest_that_contradicts_its_tokenizer_or_has_other_types(copy, fields, message):
    change(copy, **fields)
    with pytest.raises(DataError, match=message):
        Manifest.load(str(copy))


@pytest.mark.parametrize(
    "fields,message",
    [
        ({"documents": -5}, "counts less than 0 documents or bytes in train"),
        ({"utf8_bytes": -5}, "counts less than 0 documents or bytes in train"),
        (
            {"shards": [{"file": "../x", "tokens": 1, "sha256": "", "size": 1}]},
            "a shard that cannot be: 1 tokens in '../",
        ),
        (
            {"shards": [{"file": "/x", "tokens": 1, "sha256": "", "size": 1}]},
            "a shard that cannot be: 1 tokens in '/x'",
        ),
        (
            {"shards": [{"file": "x", "tokens": -1, "sha256": "", "size": 1}]},
            "a shard that cannot be: -1 tokens",
        ),
        (
            {"shards": [{"file": 1, "tokens": 1, "sha256": "", "size": 1}]},
            r"splits.train: shards\[0\]: file should be te",
        ),
        (
            {"shards": [{"file": "x", "tokens": "9", "sha256": "", "size": 1}]},
            "tokens should be a whole number; recei",
        ),
    ],
)
def test_a_split_that_cannot_be(copy, fields, message):
    splits = json.loads((copy / "manifest.json").read_text())["splits"]
    splits["train"] |= fields
    change(copy, splits=splits)
    with pytest.raises(DataError, match=message):
        Manifest.load(str(copy))


@pytest.mark.parametrize("verify", ["size", "sha256"])
def test_missing_and_truncated_shards_are_named(copy, verify):
    shard = copy / "train-00002-of-00005.tfrecord.gz"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(
        DataError,
        match=rf"{shard.name} has {len(content) - 1} bytes, the manifest says {len(content)}",
    ):
        Manifest.load(str(copy), verify)
    os.remove(shard)
    with pytest.raises(DataError, match=f"shard is missing: .*{shard.name}"):
        Manifest.load(str(copy), verify)


def test_a_flipped_byte_is_found_by_sha256(copy):
    shard = copy / "test-00000-of-00001.tfrecord.gz"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    Manifest.load(str(copy), "size")
    with pytest.raises(
        DataError, match=f"{shard.name} is damaged: its SHA-256 is not the manifest's"
    ):
        Manifest.load(str(copy), "sha256")


def test_another_tokenizer_is_refused(copy):
    CharacterTokenizer("abc").save(str(copy / "tokenizer"))
    with pytest.raises(
        DataError, match="tokenizer is not the tokenizer of these shards: its digest is"
    ):
        Manifest.load(str(copy))
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(DataError, match="has no usable tokenizer"):
        Manifest.load(str(copy))


def test_no_manifest_or_one_that_is_none(copy, tmp_path):
    with pytest.raises(
        DataError, match=r"the manifest of the data folder is missing: .*manifest\.json"
    ):
        Manifest.load(str(tmp_path))
    change(copy, format_version=2)
    with pytest.raises(DataError, match="format_version=2; this version of tfscale reads 1"):
        Manifest.load(str(copy))
    change(copy, format_version=1, surprise=3)
    with pytest.raises(DataError, match="is not a manifest of tfscale: .*surprise"):
        Manifest.load(str(copy))
    (copy / "manifest.json").write_text("[]")
    with pytest.raises(DataError, match="format_version=None"):
        Manifest.load(str(copy))
    (copy / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is not valid JSON"):
        Manifest.load(str(copy))


def test_sums_that_contradict_each_other(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["splits"]["train"]["tokens"] += 1
    change(copy, splits=manifest["splits"])
    with pytest.raises(DataError, match="contradicts itself: the shards of train do not add up"):
        Manifest.load(str(copy))


def test_remote_folders_are_checked_too(copy):
    import tensorflow as tf

    for folder, _, names in os.walk(copy):
        target = "ram://data/" + os.path.relpath(folder, copy).lstrip(".")
        tf.io.gfile.makedirs(target)
        for name in names:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(target, name), overwrite=True)
    assert Manifest.load("ram://data", "sha256") == Manifest.load(str(copy))
    tf.io.gfile.remove("ram://data/test-00000-of-00001.tfrecord.gz")
    with pytest.raises(DataError, match="shard is missing: ram://data/test-00000"):
        Manifest.load("ram://data")


@pytest.mark.parametrize(
    "records,message",
    [
        (struct.pack("<QI", 1 << 60, 0), "it has more than the 4 tokens of the manifest"),
        (struct.pack("<QI", 10, 0) + bytes(10), "it has more than the 4 tokens"),
        (struct.pack("<QI", 6, 0) + bytes(6) + bytes(4), "it has fewer than the 4 tokens"),
        (struct.pack("<QI", 8, 0) + bytes(3), "buffer size must be a multiple of element size"),
        (b"123", "unpack requires a buffer of 12 bytes"),
    ],
)
def test_a_shard_of_somebody_else_has_what_its_manifest_says(copy, records, message):
    """Digest and size are right, as a stranger's are."""
    content = gzip.compress(records)
    (copy / "x.gz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    splits = json.loads((copy / "manifest.json").read_text())["splits"]
    splits["test"] |= {
        "tokens": 4,
        "shards": [{"file": "x.gz", "tokens": 4, "sha256": digest, "size": len(content)}],
    }
    change(copy, splits=splits)
    manifest = Manifest.load(str(copy), verify="sha256")
    with pytest.raises(DataError, match=f"the shard .*x.gz could not be read: {message}"):
        list(token_blocks(str(copy), manifest, "test"))
