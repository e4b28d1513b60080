"""Perplexity and bits per byte against sums done by hand."""

import json
import math

import numpy as np
import pytest

from tfscale.errors import DataError
from tfscale.text.score import Score, ScoredText, token_nll


def test_uniform_logits_give_the_vocabulary_size():
    nll = token_nll(np.full((2, 5, 8), 3.25, np.float32), np.arange(10).reshape(2, 5) % 8)
    assert nll.dtype == np.float64
    assert nll.shape == (2, 5)
    assert Score(float(nll.sum()), 10, 10).perplexity == pytest.approx(8, abs=1e-12)
    # log2(8) = 3 bits per token, and here one byte per token.
    assert Score(float(nll.sum()), 10, 10).bits_per_byte == pytest.approx(3, abs=1e-12)


def test_token_nll_by_hand():
    # exp: 1, 2, 5 of 8 -> probabilities 1/8, 1/4, 5/8.
    logits = np.log([[1.0, 2.0, 5.0]] * 3)
    np.testing.assert_allclose(
        np.exp(-token_nll(logits, np.array([0, 1, 2]))), [1 / 8, 1 / 4, 5 / 8], atol=1e-15
    )


def test_token_nll_of_huge_logits_is_finite():
    logits = np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)
    np.testing.assert_allclose(token_nll(logits, np.array([1, 0])), [1e4, math.log(2)], rtol=1e-12)


def test_scores_of_unequal_batches_are_added_not_averaged():
    # Probabilities 1/2, 1/2, 1/2 and 1/32: the mean of the batches' perplexities would be 17.
    whole = Score(3 * math.log(2), 3, 9) + Score(math.log(32), 1, 7)
    assert whole.tokens == 4
    assert whole.nll_per_token == pytest.approx(2 * math.log(2))
    assert whole.perplexity == pytest.approx(4)
    assert whole.bits_per_byte == pytest.approx(8 / 16)


def test_unknown_bytes_stay_unknown():
    part = Score(1.0, 2)
    assert part.bits_per_byte is None
    assert part.to_dict()["bytes"] is None
    assert (part + Score(1.0, 2, 5)).bits_per_byte is None


def test_dictionary_is_json_with_the_documented_keys():
    figures = Score(10 * math.log(2), 5).of(ScoredText(20, 1, 30.0)).to_dict()
    assert list(figures) == [
        "nll_per_token",
        "perplexity",
        "bits_per_byte",
        "tokens",
        "bytes",
        "unknown_tokens",
        "unknown_share",
        "charged_bits_per_byte",
    ]
    assert json.loads(json.dumps(figures)) == pytest.approx(
        {
            "nll_per_token": 2 * math.log(2),
            "perplexity": 4,
            "bits_per_byte": 2.0,
            "tokens": 5,
            "bytes": 20,
            "unknown_tokens": 1,
            "unknown_share": 0.2,
            "charged_bits_per_byte": 1.5,
        }
    )


def test_bits_per_byte_are_withheld_where_it_is_not_known_what_the_tokens_lose():
    assert Score(1.0, 2).of(ScoredText(8, 1, None)).bits_per_byte is None
    whole = Score(math.log(2), 2).of(ScoredText(4, 1, 10.0)) + Score(math.log(8), 2).of(
        ScoredText(4, 2, 2.0)
    )
    assert (whole.unknown_tokens, whole.unknown_share, whole.lost_bits) == (3, 0.75, 12.0)
    assert whole.bits_per_byte == pytest.approx((4 + 12) / 8)
    unsure = whole + Score(1.0, 2).of(ScoredText(4, None, None))
    assert (unsure.unknown_tokens, unsure.unknown_share, unsure.bits_per_byte) == (None, None, None)


def test_perplexity_beyond_a_float_is_infinite():
    assert Score(800.0, 1, 1).perplexity == math.inf


def test_no_tokens_is_an_error_not_a_number():
    with pytest.raises(DataError, match="0 tokens"):
        Score(0.0, 0, 0)
