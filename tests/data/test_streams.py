"""Streams against batches that are written down by hand."""

import dataclasses
import itertools

import numpy as np
import pytest

from tfscale.config import PrepareConfig
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.streams import evaluation_streams, split_tokens, stream_dataset, stream_steps
from tfscale.data.tokens import split_stream
from tfscale.errors import DataError
from tfscale.text.score import STREAM_TOKENS, stream_starts

END = 256
LINES = ["abcd", "efghi", "jklmnopq"]
# a b c d | END e f g h | i END j k ... in two streams of 10 tokens: 4 + 1, 5 + 1, and 8 + 1 are 20.
STREAM = [token for line in LINES for token in [*line.encode(), END]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    (folder / "train.txt").write_text("\n".join(LINES))
    (folder / "valid.txt").write_text("xy\nz")
    prepare(
        PrepareConfig(
            text=[str(folder / "train.txt")],
            validation_text=[str(folder / "valid.txt")],
            test_fraction=0,
            documents="line",
            tokenizer="byte",
            shards=2,
            processes=1,
            output=str(folder / "data"),
        ),
        progress=False,
    )
    return str(folder / "data")


def batches(dataset, count):
    return [
        (inputs.numpy().tolist(), targets.numpy().tolist())
        for inputs, targets in dataset.take(count)
    ]


def text(rows):
    return ["".join("|" if token == END else chr(token) for token in row) for row in rows]


def test_two_streams_by_hand(data):
    manifest = Manifest.load(data)
    assert (
        split_tokens(data, manifest, "train").tolist()
        == STREAM
        == split_stream(data, "train").tolist()
    )
    assert split_tokens(data, manifest, "train").dtype == np.uint16
    assert stream_steps(manifest, 3, 2) == 3
    found = batches(stream_dataset(data, sequence_length=3, global_batch_size=2), 4)
    # The tenth token of each stream, an "i" and the last end, is left over; the fourth batch begins a new pass.
    assert [(text(inputs), text(targets)) for inputs, targets in found] == [
        (["|ab", "i|j"], ["abc", "|jk"]),
        (["cd|", "klm"], ["d|e", "lmn"]),
        (["efg", "nop"], ["fgh", "opq"]),
        (["|ab", "i|j"], ["abc", "|jk"]),
    ]


def test_a_token_is_a_target_at_most_once_in_a_pass_and_next_to_none_is_left_out(data):
    manifest = Manifest.load(data)
    numbered = {token: place for place, token in enumerate(STREAM) if token != END}
    for length, rows in itertools.product((1, 2, 3, 4), (1, 2, 3, 4)):
        steps = stream_steps(manifest, length, rows)
        seen = [
            token
            for _, targets in batches(
                stream_dataset(data, sequence_length=length, global_batch_size=rows), steps
            )
            for row in targets
            for token in row
        ]
        places = [numbered[token] for token in seen if token in numbered]
        assert len(places) == len(set(places))
        assert len(seen) == rows * length * (len(STREAM) // rows // length)


def test_reading_begins_at_any_step(data):
    whole = batches(stream_dataset(data, sequence_length=2, global_batch_size=3), 9)
    for start in (1, 3, 7):
        resumed = stream_dataset(
            data, sequence_length=2, global_batch_size=3, start_step=start, verify="size"
        )
        assert batches(resumed, 9 - start) == whole[start:]


def test_streams_that_are_too_short(data):
    message = (
        r"global_batch_size=5 streams of 4 tokens are shorter than sequence_length=5: .* 20 tokens"
    )
    with pytest.raises(DataError, match=message):
        stream_dataset(data, sequence_length=5, global_batch_size=5)


def test_a_manifest_that_counts_other_tokens(data):
    manifest = Manifest.load(data)
    for tokens in (19, 21):
        train = dataclasses.replace(manifest.splits["train"], tokens=tokens)
        other = dataclasses.replace(manifest, splits={**manifest.splits, "train": train})
        with pytest.raises(DataError, match=f"has 20 tokens, and its manifest says {tokens}"):
            split_tokens(data, other, "train")


def test_where_the_state_of_a_text_begins():
    assert stream_starts(1) == stream_starts(2 * STREAM_TOKENS - 1) == [0]
    assert stream_starts(10_000) == [0, 5000]
    assert stream_starts(3 * STREAM_TOKENS + 1) == [0, 4097, 8194]
    assert len(stream_starts(8 * STREAM_TOKENS)) == len(stream_starts(10**7)) == 8


def test_evaluation_streams_by_hand(monkeypatch):
    monkeypatch.setattr("tfscale.text.score.STREAM_TOKENS", 3)
    tokens = np.arange(10, 20)
    # Starts 0, 4 and 8: the last stream has two tokens, and a row of nothing makes four of three.
    found = [
        [part.numpy().tolist() for part in batch]
        for batch in evaluation_streams(tokens, sequence_length=3, end_id=7, multiple_of=2)
    ]
    assert found == [
        [
            [[7, 10, 11], [13, 14, 15], [17, 18, 0], [0, 0, 0]],
            [[10, 11, 12], [14, 15, 16], [18, 19, 0], [0, 0, 0]],
            [[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 0, 0]],
        ],
        [
            [[12, 0, 0], [16, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[13, 0, 0], [17, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]],
        ],
    ]


def test_evaluation_streams_of_a_short_text():
    [batch] = evaluation_streams(np.array([5, 6]), sequence_length=4, end_id=1)
    assert [part.numpy().tolist() for part in batch] == [
        [[1, 5, 0, 0]],
        [[5, 6, 0, 0]],
        [[1, 1, 0, 0]],
    ]
