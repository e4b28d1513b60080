"""Continuations as tokens, counted by hand, and their likelihoods by models whose probabilities are known."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfscale.config import GRUConfig, TransformerConfig
from tfscale.device.runner import DeviceModel
from tfscale.device.scorer import ScoringModel
from tfscale.errors import DataError
from tfscale.evaluation import network_continuations
from tfscale.evaluation.continuations import Continuation, Scored, continuation
from tfscale.evaluation.network_continuations import context_length, score_continuations
from tfscale.files.description import Description
from tfscale.models import build_network
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens

START = 256


class Joining(ByteTokenizer):
    """Bytes, but for "ab", which is one token: 7."""

    def encode_batch(self, texts):
        return [
            [id for part in text.split("ab") for id in (7, *part.encode())][1:] for text in texts
        ]


@pytest.mark.parametrize(
    ("context", "text", "expected"),
    [
        ("x", " y", ((START, 120), (32, 121))),
        # White space at the end of the context goes to the continuation.
        ("x \n", "y", ((START, 120), (32, 10, 121))),
        ("", "y", ((START,), (121,))),
        ("  ", "y", ((START,), (32, 32, 121))),
        # "abc" is (ab, c), and "a" is one token: the continuation has what is beyond one.
        ("a", "bc", ((START, 97), (99,))),
        ("xa", "bab", ((START, 120, 97), (7,))),
    ],
)
def test_where_the_continuation_begins(context, text, expected):
    row = continuation(Joining(), context, text)
    assert (row.context, row.tokens) == expected


def test_a_model_without_a_start_token_in_prompts():
    tokenizer = ByteTokenizer().with_special(SpecialTokens(start_id=3, in_prompts=False))
    assert continuation(tokenizer, "x", "y").context == (120,)
    assert continuation(tokenizer, "", "y") == Continuation((3,), (121,))


def test_both_are_cleaned_as_the_model_s_text_was():
    tokenizer = ByteTokenizer()
    tokenizer.cleaner = Cleaner(lowercase=True, collapse_whitespace=True)
    row = continuation(tokenizer, "  X  Y", " Z  z ")
    assert row == Continuation((START, *b"x y"), tuple(b" z z "))


def test_a_choice_without_a_token_of_its_own():
    with pytest.raises(DataError, match="^the choice 'b' gives no token after its context$"):
        continuation(Joining(), "a", "b")


def test_a_long_context_loses_its_beginning():
    row = Continuation((1, 2, 3, 4), (5, 6))
    assert row.inputs == (1, 2, 3, 4, 5)
    # A model of 5 tokens reads all but the last.
    assert row.cut(5) is row and row.cut(None) is row
    assert row.cut(4) == Continuation((2, 3, 4), (5, 6))
    assert row.cut(2) == Continuation((4,), (5, 6)) and row.cut(2).inputs == (4, 5)
    with pytest.raises(DataError, match="a choice has 2 tokens, and the model reads 1"):
        row.cut(1)


# The probability of each of four tokens after each.
BIGRAMS = np.array(
    [[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.3, 0.2], [0.05, 0.05, 0.8, 0.1]]
)
ROWS = [
    Continuation((0, 1), (0, 3)),
    Continuation((0, 1), (2,)),
    Continuation((3,), (2, 2, 0)),
    Continuation((0, 1), (3,)),
    Continuation((2, 0, 3), (2,)),
]
EXPECTED = [
    Scored(math.log(0.7) + math.log(0.4), True),
    Scored(math.log(0.1), False),
    Scored(math.log(0.8) + math.log(0.3) + math.log(0.25), False),
    Scored(math.log(0.1), False),
    Scored(math.log(0.8), True),
]


class BigramNetwork:
    """What a network offers, with the table instead of weights; counts the rows that it reads."""

    def __init__(self):
        self.rows = 0

    def hidden_states(self, ids, training):
        assert training is False
        tf.py_function(self._count, [tf.shape(ids)[0]], [])
        return tf.one_hot(ids, 4)

    def _count(self, rows):
        self.rows += int(rows)

    def project(self, hidden):
        return tf.matmul(hidden, tf.math.log(tf.constant(BIGRAMS, tf.float32)))


class BigramDecoder:
    """The same token by token; counts the tokens that it reads."""

    vocabulary_size, context_length = 4, None

    def __init__(self):
        self.fed, self.last = 0, None

    def reset(self):
        self.last = None

    def feed(self, ids):
        self.fed, self.last = self.fed + len(ids), ids[-1]
        return np.log(BIGRAMS[self.last])

    def mark(self):
        return self.last

    def back_to(self, mark):
        self.last = mark


class BigramWindows(ScoringModel):
    """The same by windows; counts its calls."""

    def __init__(self):
        self.path, self.sequence_length, self.vocabulary_size, self.calls = "file", 8, 4, 0

    def logits(self, ids):
        self.calls += 1
        return np.log(BIGRAMS[list(ids)])


def expected():
    return [pytest.approx(one.log_likelihood, abs=1e-6) for one in EXPECTED]


@pytest.mark.parametrize("tokens", [1, 6, 4096])
def test_a_network_by_hand_in_batches_of_any_size(monkeypatch, tokens):
    monkeypatch.setattr(network_continuations, "TOKENS_PER_BATCH", tokens)
    network, seen = BigramNetwork(), []
    found = score_continuations(network, ROWS, lambda done, total: seen.append((done, total)))
    assert [one.log_likelihood for one in found] == expected()
    assert [one.greedy for one in found] == [one.greedy for one in EXPECTED]
    assert seen[-1] == (5, 5)
    # The two choices of one token after the same context are one row.
    assert network.rows == 4


def test_a_decoder_by_hand_reads_a_context_once():
    decoder = BigramDecoder()
    model = DeviceModel("file", decoder, ByteTokenizer(), Description(), 1)
    found = model.score_continuations(ROWS)
    assert [one.log_likelihood for one in found] == expected()
    assert [one.greedy for one in found] == [one.greedy for one in EXPECTED]
    # Contexts 2 (for two rows), 1, 2 and 3; and the tokens that predict others: 1, 0, 2, 0, 0.
    assert decoder.fed == 2 + 1 + 2 + 3 + (1 + 2)


def test_a_file_of_windows_by_hand():
    model, seen = BigramWindows(), []
    found = model.score_continuations([*ROWS, ROWS[4]], lambda *done: seen.append(done))
    assert [one.log_likelihood for one in found[:5]] == expected()
    assert found[5] == found[4] and model.calls == 5 and seen[-1] == (6, 6)
    assert model.context_length == 8 and "choose" in model.abilities


def test_a_file_with_another_tokenizer_is_refused():
    with pytest.raises(DataError, match="file has 4 tokens, and a continuation has the id 4; give"):
        BigramWindows().score_continuations([*ROWS, Continuation((0,), (4,))])


def test_a_transformer_gives_what_each_row_gives_alone():
    config = TransformerConfig(
        vocabulary_size=40, sequence_length=12, hidden_dim=16, num_layers=2, num_heads=2
    )
    network = build_network(config, seed=3)
    network.set_weights([4 * w if w.ndim > 1 else w for w in network.get_weights()])
    rng = np.random.default_rng(0)
    rows = [
        Continuation(tuple(rng.integers(0, 40, n)), tuple(rng.integers(0, 40, m)))
        for n, m in rng.integers(2, 7, (20, 2))
    ]
    found = score_continuations(network, rows)
    for row, one in zip(rows, found, strict=True):
        ids = np.array([[*row.context, *row.tokens]], np.int32)
        logits = np.asarray(network(ids[:, :-1]))[0, -len(row.tokens) :].astype(np.float64)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        nats = np.log(chances[np.arange(len(row.tokens)), list(row.tokens)]).sum()
        assert one.log_likelihood == pytest.approx(nats, abs=1e-4)
        assert one.greedy == bool((logits.argmax(axis=1) == row.tokens).all())
    assert context_length(network) == 12


def test_a_recurrent_network_reads_texts_of_any_length():
    network = build_network(GRUConfig(vocabulary_size=40, sequence_length=4, hidden_dim=8))
    assert context_length(network) is None
    [one] = score_continuations(network, [Continuation(tuple(range(9)), (3,))])
    logits = np.asarray(network(np.arange(9)[None]))[0, -1].astype(np.float64)
    assert one.log_likelihood == pytest.approx(logits[3] - np.log(np.exp(logits).sum()), abs=1e-5)
