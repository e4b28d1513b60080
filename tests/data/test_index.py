"""The index of the members, and the members as gzip files of their own."""

import gzip
import json
import shutil
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tests.data.numbered import numbered_data
from tfscale.data.index import INDEX_FILE, read_index
from tfscale.data.manifest import Manifest
from tfscale.data.tokens import token_blocks
from tfscale.errors import DataError

LENGTHS = [100, 65, 64]
"""Tokens of the shards: members of two records of 16 tokens, whole and cut."""


@pytest.fixture(scope="module")
def data(tiny_data_dir, tmp_path_factory):
    return numbered_data(
        tiny_data_dir,
        tmp_path_factory.mktemp("index") / "data",
        LENGTHS,
        record_tokens=16,
        member_records=2,
    )


@pytest.fixture
def copy(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data"


def gzip_files(content):
    """Yields where each gzip file of several, one after the other, begins, and what is in it."""
    start = 0
    while start < len(content):
        unpacker = zlib.decompressobj(31)
        unpacked = unpacker.decompress(content[start:])
        yield start, unpacked
        start = len(content) - len(unpacker.unused_data)


def test_each_member_is_a_gzip_file_of_its_own_at_its_place_in_the_index(data, tmp_path):
    manifest = Manifest.load(data, verify="sha256")
    index = read_index(data, manifest)
    assert (index.record_tokens, index.member_records) == (16, 2)
    assert index.first.tolist() == [0, 5, 9]
    begun = 0
    for number, shard in enumerate(manifest.splits["train"].shards):
        with open(f"{data}/{shard.file}", "rb") as file:
            content = file.read()
        places, members = zip(*gzip_files(content), strict=True)
        first = index.first[number]
        expected = [*places, shard.size]
        assert index.offsets[first : first + len(expected)].tolist() == expected
        # A record is framed by 16 bytes; whole members have two of 16 tokens, and the last one what
        # is left.
        left = LENGTHS[number] % 32
        last = [2 * left + 16 * -(-left // 16)] if left else []
        assert [len(member) for member in members] == [96] * (LENGTHS[number] // 32) + last
        assert {struct.unpack("<Q", member[:8]) for member in members[:-1]} == {(32,)}
        # No time of day, so that the same tokens give the same bytes.
        assert {content[place + 4 : place + 8] for place in places} == {bytes(4)}
        # What reads gzip files, or TFRecords, reads them as one.
        assert gzip.decompress(content) == b"".join(members)
        read = tf.data.TFRecordDataset(f"{data}/{shard.file}", compression_type="GZIP")
        tokens = np.concatenate([np.frombuffer(record.numpy(), "<u2") for record in read])
        assert tokens.tolist() == list(range(begun, begun + LENGTHS[number]))
        begun += LENGTHS[number]
    assert np.concatenate(list(token_blocks(data, manifest, "train"))).tolist() == list(
        range(begun)
    )


def test_a_folder_without_an_index(copy):
    (copy / INDEX_FILE).unlink()
    assert read_index(str(copy), Manifest.load(str(copy))) is None


def test_a_prepared_folder_has_an_index(tiny_data_dir):
    manifest = Manifest.load(tiny_data_dir)
    index = read_index(tiny_data_dir, manifest)
    # Five shards of less than a record.
    assert index.first.tolist() == [0, 2, 4, 6, 8]
    shards = manifest.splits["train"].shards
    assert index.offsets.tolist() == [place for shard in shards for place in (0, shard.size)]


@pytest.mark.parametrize("change", ["byte", "cut", "empty", "odd"])
def test_a_damaged_index(copy, change):
    content = bytearray((copy / INDEX_FILE).read_bytes())
    if change == "byte":
        content[40] ^= 1
    changed = {"byte": content, "cut": content[:-4], "empty": b"", "odd": content + b"x"}[change]
    (copy / INDEX_FILE).write_bytes(changed)
    with pytest.raises(DataError, match=r"train\.index is damaged, or not the index of these"):
        read_index(str(copy), Manifest.load(str(copy)))


def test_the_index_of_other_shards(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"].reverse()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"train\.index is damaged, or not the index of these"):
        read_index(str(copy), Manifest.load(str(copy)))
