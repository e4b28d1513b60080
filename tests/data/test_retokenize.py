"""The same documents in other tokens: nothing of the text changes, nor its splits and their order."""

import os

import numpy as np
import pytest

from tfscale.compress.vocabulary import trim_tokenizer
from tfscale.config import PrepareConfig
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.retokenize import documents, encode_anew, retokenize, whole_characters
from tfscale.data.tokens import split_stream
from tfscale.errors import TokenizerError
from tfscale.text.tokenizers import load_tokenizer

WORDS = (
    "the red cat ran and naïve 狐 old dog sat under a big blue mat while seven grey birds".split()
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("retokenize")
    rng = np.random.default_rng(0)
    (root / "text.txt").write_text(
        "".join(" ".join(rng.choice(WORDS, 7)) + " ▁\t🙂\n" for _ in range(300))
    )
    config = PrepareConfig(
        text=[str(root / "text.txt")],
        documents="line",
        vocabulary_size=290,
        output=str(root / "data"),
    )
    prepare(config, progress=False)
    return root


@pytest.fixture(scope="module")
def small(folder):
    own = load_tokenizer(str(folder / "data"))
    return trim_tokenizer(own, own.encode("the red cat ran"))[0]


def texts(data, tokenizer, split):
    """The documents of a split, without the help of `documents`."""
    found, ids = [], []
    for id in split_stream(data, split).tolist():
        if id == tokenizer.end_id:
            found.append(tokenizer.decode(ids))
            ids = []
        else:
            ids.append(id)
    assert not ids
    return found


def test_documents_splits_and_order_are_the_same(folder, small):
    data, output = str(folder / "data"), str(folder / "anew")
    manifest = retokenize(data, small, output, progress=False)
    own, old = load_tokenizer(data), Manifest.load(data)
    assert manifest == Manifest.load(output, verify="sha256")
    assert manifest.vocabulary_size == small.vocabulary_size < own.vocabulary_size
    assert manifest.how["retokenized_from"] == own.digest and manifest.how["documents"] == "line"
    for split in ("train", "validation", "test"):
        found = texts(output, small, split)
        assert found == texts(data, own, split) and len(found) == manifest.splits[split].documents
        assert manifest.splits[split].utf8_bytes == old.splits[split].utf8_bytes
        assert manifest.splits[split].tokens > old.splits[split].tokens
    assert sorted(os.listdir(output)) == sorted(
        [
            "manifest.json",
            "tokenizer",
            "train.index",
            *(shard.file for split in manifest.splits.values() for shard in split.shards),
        ]
    )


def test_documents_over_the_borders_of_blocks(folder):
    own = load_tokenizer(str(folder / "data"))
    stream = np.array(
        [*own.encode("the cat"), own.end_id, *own.encode("狐 sat"), own.end_id, *own.encode("red")]
    )
    for size in (1, 2, 5, 100):
        blocks = np.split(stream, range(size, len(stream), size))
        assert list(documents(blocks, own)) == ["the cat", "狐 sat", "red"]


def test_a_stream_in_other_tokens(folder, small):
    own = load_tokenizer(str(folder / "data"))
    ended = [*own.encode("the blue mat"), own.end_id, *own.encode("🙂 a dog"), own.end_id]
    by_hand = [*small.encode("the blue mat"), small.end_id, *small.encode("🙂 a dog"), small.end_id]
    assert encode_anew(ended, own, small) == by_hand
    assert encode_anew(ended[:-1], own, small) == by_hand[:-1]
    # Cut within the four bytes of a character, which no token has, a stream loses what there is of it.
    cut = [*own.encode("dog"), own.end_id, *own.encode("a ")]
    spelled = own.encode("🦊")
    assert len(spelled) == 4
    for count in range(4):
        assert whole_characters([*cut, *spelled[:count]], own) == cut
    assert whole_characters([*cut, *spelled], own) == [*cut, *spelled]


def test_a_tokenizer_that_loses_text_is_refused(folder, small):
    config = PrepareConfig(
        text=[str(folder / "text.txt")],
        documents="line",
        tokenizer="word",
        output=str(folder / "words"),
    )
    prepare(config, progress=False)
    with pytest.raises(TokenizerError, match="the word tokenizer of .* loses characters"):
        retokenize(str(folder / "words"), small, str(folder / "no"))
    assert not (folder / "no").exists()
