"""The sums over logits and the completion by which every gate compares, by hand."""

import math
import types

import numpy as np
import pytest

from tfscale.exporting.comparison import (
    Completion,
    LogitGaps,
    compare_choices,
    compare_completion,
)
from tfscale.exporting.limits import Limits
from tfscale.exporting.report import Checks

LIMITS = Limits(0.5, 0.25, 0.9, 0.01, 0.01, 0.1)
"""Largest difference, relative error, agreement, change of the perplexity, gap of a choice."""
WINDOWS = types.SimpleNamespace(spread=2.0, score=types.SimpleNamespace(tokens=3))


def values(checks):
    return {row["name"]: row["value"] for row in checks.rows}


def test_logits_of_three_tokens_by_hand():
    expected = np.log([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.2, 0.2, 0.6]])
    logits = expected + np.array([[0.3, 0.0, 0.0], [0.0, 0.0, 0.0], [1.2, 0.0, 0.0]])
    gaps, checks = LogitGaps(WINDOWS, LIMITS, "there"), Checks()
    gaps.add(logits[:1], expected[:1], np.array([0]))
    gaps.add(logits[1:], expected[1:], np.array([1, 2]))
    perplexity = gaps.finish(checks)
    found = values(checks)
    assert found["max_logit_difference (there)"] == pytest.approx(1.2)
    # A mean over the vocabulary of three, then over the three tokens.
    assert found["mean_logit_difference (there)"] == pytest.approx((0.1 + 0.4) / 3)
    squares = 0.3**2 / 3 + 1.2**2 / 3
    assert found["relative_logit_error (there)"] == pytest.approx(math.sqrt(squares / 3) / 2)
    # 0.2 e^1.2 = 0.664 is above 0.6, and ln 3 below the best is further than 0.1 x 2.
    assert found["top1_agreement (there)"] == pytest.approx(2 / 3)
    first = math.log(0.5 * math.exp(0.3) + 0.5) - math.log(0.5) - 0.3
    last = math.log(0.2 * math.exp(1.2) + 0.8) - math.log(0.6)
    assert perplexity == pytest.approx(math.exp((first + math.log(2) + last) / 3))
    most = next(row["limit"] for row in checks.rows if row["name"].startswith("max"))
    assert most == 0.5 * 2.0


def test_a_logit_that_is_no_number_is_within_no_limit():
    expected = np.zeros((3, 4))
    logits = expected.copy()
    logits[1, 2] = np.nan
    gaps, checks = LogitGaps(WINDOWS, LIMITS), Checks()
    with np.errstate(invalid="ignore"):
        gaps.add(logits, expected, np.zeros(3, int))
        assert not math.isfinite(gaps.finish(checks))
    failed = {row["name"] for row in checks.rows if not row["passed"]}
    assert {"max_logit_difference", "relative_logit_error"} <= failed


EXPECTED = Completion([7], [2, 1, 0], [np.array(row) for row in ([0, 1, 3], [1, 5, 4], [6, 2, 1])])


def test_a_completion_is_compared_up_to_the_first_other_token():
    checks = Checks()
    compare_completion(checks, EXPECTED, [2, 2, 2], 2.0, LIMITS, "there")
    # Of the second token: 5 - 4, in units of the spread.
    assert values(checks) == {"greedy_tokens_equal (there)": 1, "greedy_gap (there)": 0.5}
    checks = Checks()
    compare_completion(checks, EXPECTED, [2, 1, 0], 2.0, LIMITS, "there")
    assert values(checks) == {"greedy_tokens_equal (there)": 3, "greedy_gap (there)": 0.0}


def test_choices_are_compared_token_by_token():
    checks = Checks()
    logits = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
    assert compare_choices(checks, EXPECTED, logits, 2.0, LIMITS) == [2, 2, 2]
    # 0, 5 - 4 and 6 - 1: the largest counts.
    assert values(checks) == {"greedy_tokens_equal": 1, "greedy_gap": 2.5}
