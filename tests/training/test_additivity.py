"""Which rule holds for a number of rows and of parts of them, by hand sums."""

import numpy as np
import pytest

from tfscale.errors import ConfigError
from tfscale.training.additivity import Question

RULES = ("mean", "sum")


def seen(whole, parts, sizes=(2, 4), rules=RULES):
    """A question that was shown a number of all rows and of two parts."""
    question = Question("loss 'own'", rules, "return one value for each row")
    mean = sum(part * size for part, size in zip(parts, sizes, strict=True)) / sum(sizes)
    question.see(whole, {"mean": mean, "sum": sum(parts)}, parts, sizes)
    return question


def test_a_mean_over_the_rows():
    # (2 * 3 + 4 * 6) / 6 = 5
    assert seen(5.0, [3.0, 6.0]).answer() == "mean"


def test_a_sum_over_the_rows():
    assert seen(9.0, [3.0, 6.0]).answer() == "sum"


def test_the_mean_of_the_parts_alike_is_neither():
    # 4.5 weighs both parts alike: no mean over rows.
    with pytest.raises(ConfigError, match="own' is 4.5 for 6 rows, and 3 and 6 for 2 and 4 of th"):
        seen(4.5, [3.0, 6.0]).answer()


def test_a_largest_value_is_neither():
    with pytest.raises(ConfigError, match="neither their mean nor their sum; return one value"):
        seen(6.0, [3.0, 6.0]).answer()


def test_a_constant_is_a_mean():
    assert seen(2.0, [2.0, 2.0]).answer() == "mean"


def test_zeros_say_nothing():
    question = seen(0.0, [0.0, 0.0])
    assert question.is_open()
    assert question.answer("sum") == "sum"
    with pytest.raises(ConfigError, match="is 0 or not finite for the rows of the first batch"):
        question.answer()


def test_later_numbers_cross_out_what_the_first_left():
    question = seen(0.0, [0.0, 0.0])
    question.see(9.0, {"mean": 5.0, "sum": 9.0}, [3.0, 6.0], (2, 4))
    assert question.answer() == "sum"
    question.see(5.0, {"mean": 5.0, "sum": 9.0}, [3.0, 6.0], (2, 4))
    with pytest.raises(ConfigError):
        question.answer("sum")


def test_what_is_not_finite_says_nothing():
    assert seen(float("nan"), [3.0, 6.0]).is_open()
    assert seen(9.0, [float("inf"), 6.0]).is_open()


def test_rounding_is_not_a_difference_and_half_a_percent_is():
    assert seen(9.0 * (1 + 1e-6), [3.0, 6.0]).answer() == "sum"
    with pytest.raises(ConfigError):
        seen(9.0 * 1.005, [3.0, 6.0]).answer()


def test_every_element_of_an_array_must_follow_the_rule():
    question = Question("metric 'own'", RULES, "count sums")
    parts = [np.array([1.0, 2.0]), np.array([3.0, 5.0])]
    shown = {"mean": (2 * parts[0] + 4 * parts[1]) / 6, "sum": parts[0] + parts[1]}
    question.see(np.array([4.0, 7.0]), shown, parts, (2, 4))
    assert question.answer() == "sum"
    question.see(np.array([4.0, 5.0]), shown, parts, (2, 4))
    with pytest.raises(ConfigError, match="own' is 5 for 6 rows, and 2 and 5 for 2 and 4"):
        question.answer()


def test_rows_are_preferred_where_their_number_makes_no_difference():
    question = Question("loss 'own'", ("rows", "elements"), "return one value for each row")
    question.see(5.0, {"rows": 5.0, "elements": 5.0}, [3.0, 6.0], (2, 4))
    assert not question.is_open() and question.answer() == "rows"
    question.see(4.0, {"rows": 5.0, "elements": 4.0}, [3.0, 6.0], (2, 4))
    assert question.answer() == "elements"
