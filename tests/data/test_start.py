"""Data of a tokenizer whose start token is not its end token: d1 END d2 END, read as START d1 START d2."""

import json

import numpy as np
import pytest

from tfscale.config import PrepareConfig
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import evaluation_dataset, text_windows, training_dataset
from tfscale.data.prepare import prepare
from tfscale.data.retokenize import retokenize
from tfscale.data.streams import evaluation_streams, stream_dataset
from tfscale.data.tokens import split_stream
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.cutting import LONG_TEXT
from tfscale.text.tokenizers.special import SpecialTokens

END, START = 256, 1


def data_of(folder, tokenizer, text):
    tokenizer.save(str(folder / "tokenizer"))
    for name in ("text.txt", "same.txt"):
        (folder / name).write_text(text)
    prepare(
        PrepareConfig(
            text=[str(folder / "text.txt")],
            documents="line",
            tokenizer_from=str(folder / "tokenizer"),
            validation_text=[str(folder / "same.txt")],
            validation_fraction=0,
            test_fraction=0,
            output=str(folder / "data"),
        ),
        progress=False,
    )
    return str(folder / "data")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    tokenizer = train_tokenizer("byte", [], 257).with_special(SpecialTokens(start_id=START))
    return data_of(tmp_path_factory.mktemp("start"), tokenizer, "abc\ndef\nghijk\n")


def spelled(rows):
    names = {END: "|", START: "^"}
    return ["".join(names.get(int(token), chr(token)) for token in row) for row in np.asarray(rows)]


def test_the_shards_hold_no_start_token(data, tmp_path):
    assert spelled([split_stream(data, "train")]) == ["abc|def|ghijk|"]
    assert Manifest.load(data).start_id == START and Manifest.load(data).end_id == END
    # The document count and the bytes are those of the text alone.
    assert (
        Manifest.load(data).splits["train"].documents == 3
        and Manifest.load(data).splits["train"].utf8_bytes == 11
    )
    plain = train_tokenizer("byte", [], 257)
    assert retokenize(data, plain, str(tmp_path / "plain"), progress=False).start_id is None
    # Where one token does both, the manifest is what earlier versions wrote.
    assert "start_id" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert (
        retokenize(
            str(tmp_path / "plain"), load_tokenizer(data), str(tmp_path / "x"), False
        ).start_id
        == START
    )


def test_windows_and_streams_begin_documents_with_the_start_token(data):
    windows = training_dataset(
        data, sequence_length=4, global_batch_size=1, seed=0, shuffle_windows=1
    )
    for inputs, targets in windows.take(6):
        [read], [told] = spelled(inputs), spelled(targets)
        assert "|" not in read and "^" not in told
        # Every input is the target before it, but for the start token after an end.
        assert read[1:] == told[:-1].replace("|", "^")
    [batch] = evaluation_dataset(data, "validation", sequence_length=8, batch_size=2)
    assert [spelled(part) for part in batch[:2]] == [
        ["^abc^def", "^ghijk^^"],
        ["abc|def|", "ghijk|||"],
    ]
    assert batch[2].numpy().sum() == 14
    stream = split_stream(data, "validation")
    inputs, targets, _ = text_windows(stream, 8, END, START)
    assert (spelled(inputs), spelled(targets)) == (
        ["^abc^def", "^ghijk^^"],
        ["abc|def|", "ghijk|||"],
    )

    found = [
        [spelled(part) for part in batch]
        for batch in stream_dataset(data, sequence_length=3, global_batch_size=2).take(2)
    ]
    assert found == [
        [["^ab", "^gh"], ["abc", "ghi"]],
        [["c^d", "ijk"], ["|de", "jk|"]],
    ] or found == [
        [["^ab", "f^g"], ["abc", "|gh"]],
        [["c^d", "hij"], ["|de", "ijk"]],
    ]
    [(inputs, targets, weights)] = evaluation_streams(
        stream, sequence_length=16, end_id=END, start_id=START
    )
    assert spelled(inputs[:, :14]) == ["^abc^def^ghijk"] and spelled(targets[:, :14]) == [
        "abc|def|ghijk|"
    ]
    assert weights.numpy().sum() == 14


def test_a_long_document_has_the_space_before_its_first_word_once(tmp_path):
    words = "one two three, " * (LONG_TEXT // 10)
    tokenizer = train_tokenizer("sentencepiece", [words[:5000]], 267).with_special(
        SpecialTokens(leading_space=True)
    )
    data = data_of(tmp_path, tokenizer, f"{words}\nshort\n")
    first, second = split_documents(split_stream(data, "train"), tokenizer.end_id)
    assert first.tolist() == tokenizer.encode(words) == tokenizer.encode_continued(" " + words)
    assert second.tolist() == tokenizer.encode_continued(" short")
    assert tokenizer.decode(first.tolist()) == words


def split_documents(stream, end_id):
    ends = np.flatnonzero(stream == end_id)
    return [stream[a:b] for a, b in zip([0, *ends[:-1] + 1], ends, strict=True)]
