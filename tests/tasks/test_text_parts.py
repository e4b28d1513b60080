"""The parts of the tasks that write texts, by hand: rows, beam search, metrics and baselines."""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.tasks.made import make_writer
from tfscale.tasks.beams import beam_search
from tfscale.tasks.examples import Example
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

BYTES = ByteTokenizer()
END = BYTES.end_id


def test_rows_by_hand():
    example = Example("here", "abc", target="xy")
    prefix = make_writer("translate", BYTES, "prefix", 6, 4)
    found = prefix.encode(example)
    assert found.ids.tolist() == [END, *b"abc", END, *b"xy", END, END, END]
    assert (found.start, found.source_cut, found.target_cut) == (4, False, False)
    targets, weights = prefix.targets(example, found)
    assert targets[4:7].tolist() == [*b"xy", END] and np.flatnonzero(weights).tolist() == [4, 5, 6]
    other = make_writer("translate", BYTES, "encoder_decoder", 6, 4)
    found = other.encode(example)
    assert found.ids.tolist() == [END, *b"abc", END, END, END, *b"xy", END] and found.start == 6
    targets, weights = other.targets(example, found)
    assert targets.tolist() == [*b"xy", END, 0] and weights.tolist() == [1, 1, 1, 0]
    # A target of U tokens is whole, but does not end; the source's end token is never cut.
    long = Example("here", "abcdef", target="vwxy")
    found = prefix.encode(long)
    assert found.ids.tolist() == [END, *b"abcd", END, *b"vwx", END] and (
        found.source_cut,
        found.target_cut,
    ) == (1, 0)
    targets, weights = prefix.targets(long, found)
    assert targets[5:9].tolist() == list(b"vwxy") and weights.sum() == 4
    assert prefix.encode(dataclasses.replace(long, target="vwxyz")).target_cut
    assert other.encode(dataclasses.replace(long, target="")).ids[6:].tolist() == [END] * 4
    assert prefix.start_of(found.ids) == 5 and other.start_of(other.encode(long).ids) == 6


def test_beam_search_finds_the_best_text_where_greedy_does_not():
    rng = np.random.default_rng(0)
    end, length, vocabulary = 0, 4, 3
    better = 0
    for _ in range(20):
        table = rng.normal(0, 2, (vocabulary,) * 2)  # Logits after a token.
        logs = table - np.log(np.exp(table).sum(-1, keepdims=True))

        def step(tokens, parents, table=table):
            return table[list(tokens)]

        def score(text, logs=logs):
            whole = [*text, end] if len(text) < length else text
            return np.mean([logs[a, b] for a, b in zip([end, *whole], whole, strict=False)])

        texts = [
            text
            for n in range(length + 1)
            for text in itertools.product(range(1, vocabulary), repeat=n)
        ]
        best = max(texts, key=score)
        # With as many beams as there are texts nothing is lost.
        found, greedy = (beam_search(step, beams, length, [end]) for beams in (100, 1))
        assert score(found) == pytest.approx(score(best))
        token, expected = end, []
        while len(expected) < length and (token := int(table[token].argmax())) != end:
            expected.append(token)
        assert greedy == expected
        better += score(found) > score(greedy) + 1e-9
    assert better >= 3


def test_beam_search_ends_with_any_of_the_stop_tokens():
    rng = np.random.default_rng(1)
    ends, length, by_the_second = [0, 3], 4, 0
    for _ in range(20):
        table = rng.normal(0, 2, (4, 4))
        logs = table - np.log(np.exp(table).sum(-1, keepdims=True))

        def step(tokens, parents, table=table):
            return table[list(tokens)]

        def score(text, logs=logs):
            read = [0, *text]
            if len(text) < length:
                # The likelier end is the one that it has.
                whole = [*text, max(ends, key=lambda end: logs[read[-1], end])]
            else:
                whole = text
            return np.mean([logs[a, b] for a, b in zip(read, whole, strict=False)])

        texts = [text for n in range(length + 1) for text in itertools.product((1, 2), repeat=n)]
        found, greedy = (beam_search(step, beams, length, ends) for beams in (100, 1))
        assert score(found) == pytest.approx(max(map(score, texts)))
        token, expected = 0, []
        while len(expected) < length and (token := int(table[token].argmax())) not in ends:
            expected.append(token)
        assert greedy == expected
        by_the_second += token == 3
    assert by_the_second >= 3


def test_metrics_of_texts_by_hand():
    examples = [Example("", "a b", target="the cat sat on the mat")]
    translate, summarize = (
        make_writer(name, BYTES, None, 6, 4) for name in ("translate", "summarize")
    )
    found = translate.metrics(examples, [{"text": "the cat sat on mat"}])
    # 5/5 words, 3/4 pairs, 2/3 triples, 1/2 of four; 5 words for 6.
    assert found["bleu"] == pytest.approx(
        100 * np.exp(1 - 6 / 5) * (1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )
    assert found["exact_match"] == 0 and 0 < found["chrf"] < 100
    same = translate.metrics(examples, [{"text": "the cat  sat on the mat"}])
    assert (same["exact_match"], same["bleu"], same["chrf"]) == (
        1.0,
        pytest.approx(100),
        pytest.approx(100),
    )
    examples = [Example("", "a", target="Red fox ran far"), Example("", "a", target="狐 は")]
    found = summarize.metrics(examples, [{"text": "red fox far"}, {"text": "狐 は"}])
    # 3 of 3 and 3 of 4 words; 1 of 2 and 1 of 3 pairs; a common sequence of 3. The second is right.
    assert found["rouge1"] == pytest.approx((6 / 7 + 1) / 2) == found["rougeL"]
    assert found["rouge2"] == pytest.approx((0.4 + 1) / 2)
    train = [Example("", "a b c", target="x"), Example("", "a b c", target="x y z")]
    assert summarize.baseline(train, train[:1]) == [{"text": "a b"}]
    assert translate.baseline(train, train[:1]) == [{"text": "a b c"}]
