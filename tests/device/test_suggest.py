"""Suggested words: their probability by hand from the Keras network, unfinished words, and streaming."""

import concurrent.futures
import functools
import os

import numpy as np
import pytest

from tfscale.config import SamplingConfig
from tfscale.device import load
from tfscale.device.bench import read_bandwidth
from tfscale.device.suggest import suggest
from tfscale.errors import ConfigError, PromptError
from tfscale.text.tokenizers import train_tokenizer


@functools.cache
def probabilities(network, ids):
    """Of the token after a tuple of ids."""
    # One more token than is looked at: Keras warns of attention to a single one.
    logits = np.asarray(network(np.array([[*ids, 0]], np.int32)), np.float64)[0, -2]
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def letter(byte):
    return byte >= 0x80 or chr(byte).isalnum() or chr(byte) in "_'"


@pytest.mark.parametrize("text, typed", [("ab cd ", " "), ("ab c", " c"), ("", ""), ("ab-", "")])
def test_the_probability_of_a_word_by_hand(exported, text, typed):
    model = load(exported.directory)
    found = model.suggest(text, 4)
    assert found and [s.probability for s in found] == sorted(
        (s.probability for s in found), reverse=True
    )
    context = text[: len(text) - len(typed)]
    start = typed[:1] if typed.startswith(" ") else ""
    checked = 0
    for suggestion in found:
        if not suggestion.word.isascii():
            continue
        assert suggestion.word.startswith(typed.strip()) and all(
            letter(byte) for byte in suggestion.word.encode()
        )
        total = 0.0
        # A word at the beginning of a text, or after a mark, may come with a space before it or without.
        for spelled in {start + suggestion.word, *([] if typed else [" " + suggestion.word])}:
            ids, probability = [256, *context.encode()], 1.0
            for byte in spelled.encode():
                probability *= probabilities(exported.network, tuple(ids))[byte]
                ids.append(byte)
            last = probabilities(exported.network, tuple(ids))
            total += probability * sum(p for i, p in enumerate(last) if i == 256 or not letter(i))
        assert suggestion.probability <= total * 1.001
        assert suggestion.probability == pytest.approx(total, rel=1e-3) or not typed
        checked += 1
    assert checked


def test_the_likeliest_letter_is_not_missed(exported):
    # Of all words of one letter, the likeliest is found.
    model = load(exported.directory)
    ids = [256, *b"ab", 32]
    first = probabilities(exported.network, tuple(ids))
    single = {}
    for byte in range(128):
        if letter(byte):
            last = probabilities(exported.network, (*ids, byte))
            single[chr(byte)] = first[byte] * sum(
                p for i, p in enumerate(last) if i == 256 or not letter(i)
            )
    best = max(single, key=single.get)
    found = {s.word: s.probability for s in model.suggest("ab ", 8)}
    assert best in found or min(found.values()) > single[best]


def test_subwords_and_unfinished_words(make_export):
    text = "the quick brown fox jumps over the lazy dog and the quicker fox " * 30
    tokenizer = train_tokenizer("sentencepiece", [text, text[:200]], 286)
    model = load(make_export("lstm", tokenizer).directory)
    # Unlike a prompt's, the tokens of an unfinished word are not taken as they are.
    words = [s.word for s in model.suggest("the qui", 3)]
    assert words and all(word.startswith("qui") for word in words)
    assert model.suggest("the ", 2) != model.suggest("the", 2)


def test_words_of_a_word_tokenizer_and_nothing_unknown(make_export):
    text = "the quick brown fox jumps over the lazy dog and the quicker fox"
    model = load(make_export("lstm", train_tokenizer("word", [text], 40)).directory)
    for typed, beginning in (
        ("br", "br"),
        (" qui", "qui"),
        ("the qui", "qui"),
        ("", ""),
        ("the ", ""),
    ):
        words = [s.word for s in model.suggest(typed, 40)]
        assert words and all(
            word.startswith(beginning) and word in text.split() for word in words
        ), typed
    letters = load(make_export("lstm", train_tokenizer("char", [text], 60)).directory)
    assert not any("\ufffd" in s.word for s in letters.suggest("", 40))


def test_limits(exported):
    model = load(exported.directory)
    with pytest.raises(ConfigError, match="count=0 is out of range"):
        model.suggest("a", 0)
    if model.decoder().context_length:
        with pytest.raises(PromptError, match="leaves no room for a word"):
            model.suggest("." * 18 + " ")
        # With one token left, words of one token are found whole.
        assert model.suggest("." * 17) and all(len(s.word) == 1 for s in model.suggest("." * 17))
    assert suggest(model.decoder(), model.tokenizer, "xy zzz") == model.suggest("xy zzz")


def test_a_stream_is_the_text_in_pieces(exported):
    model = load(exported.directory)
    sampling = SamplingConfig(temperature=1.0, seed=3)
    whole = model.generate("ab", 12, sampling)
    pieces = list(model.stream("ab", 12, sampling))
    assert "".join(pieces) == whole.text and len(pieces) > 1
    with pytest.raises(ConfigError, match="max_tokens=0"):
        next(model.stream("ab", 0))


def test_going_back_to_a_mark(exported):
    decoder = load(exported.directory).decoder()
    decoder.feed([1, 2, 3])
    mark = decoder.mark()
    first = [decoder.feed([4, 5]), decoder.feed([6])]
    decoder.back_to(mark)
    assert decoder.position == 3
    decoder.feed([9, 9, 9])
    decoder.back_to(mark)
    np.testing.assert_array_equal([decoder.feed([4, 5]), decoder.feed([6])], first)


def test_the_peak_of_memory_is_that_of_running_the_file(exported, monkeypatch):
    """Not of the array that is read to learn the memory's speed, which is as large as the weights."""
    called = []
    for name in ("peak_rss_bytes", "read_bandwidth"):
        monkeypatch.setattr(
            f"tfscale.device.runner.{name}", lambda *_, name=name: called.append(name) or 1.0
        )
    monkeypatch.setattr("tfscale.device.runner.DeviceModel.bytes_per_token", lambda self: 1000)
    load(exported.directory).benchmark(tokens=2, repeats=1, prompt_tokens=2)
    assert called == ["peak_rss_bytes", "read_bandwidth"]


def test_bandwidth_is_that_of_a_machine():
    assert 1e8 < read_bandwidth(1_000_000, repeats=1) < 1e12


def test_loading_in_threads_leaves_stderr_as_it_was(exported):
    before = os.fstat(2)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: load(exported.directory).decoder().feed([1]), range(12)))
    assert os.path.samestat(os.fstat(2), before)
