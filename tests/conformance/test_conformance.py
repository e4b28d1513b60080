"""Every row is what it was declared to be, and docs/conformance.md has these rows."""

import pytest

from tests.conformance.habit import Answer
from tests.conformance.rows import HABITS
from tests.conformance.running import verdict
from tests.conformance.table import PAGE, cell, rows_of

QUICK = [habit for habit in HABITS.values() if not habit.slow]
SOON = {
    habit.name
    for number, habit in enumerate(QUICK)
    # Every row that differs from stock Keras, and every twentieth of the others.
    if habit.answer is not Answer.SAME or number % 20 == 0
}
"""The rows that `make test` runs; `make conformance` and `make test-slow` run the others."""
ROWS = [
    pytest.param(habit, id=habit.name, marks=() if habit.name in SOON else pytest.mark.slow)
    for habit in HABITS.values()
]


@pytest.mark.parametrize("habit", ROWS)
def test_row(habit):
    found = verdict(habit)
    assert found.answer is habit.answer, found.text
    assert rows_of(PAGE.read_text())[habit.name][1] == cell(habit, found.text), "make conformance"


def test_the_page_has_these_rows():
    """`make conformance` writes the page anew."""
    said = rows_of(PAGE.read_text())
    assert list(said) == [habit.name for habit in in_order_of_the_page()]
    for habit in HABITS.values():
        title, answer = said[habit.name]
        assert title == habit.title.replace("|", "\\|")
        assert answer.startswith(habit.answer.value)


def in_order_of_the_page():
    """The first table has the rows that are not the same; a name stands where it came first."""
    others = [habit for habit in HABITS.values() if habit.answer is not Answer.SAME]
    same = [habit for habit in HABITS.values() if habit.answer is Answer.SAME]
    return others + same


def test_there_are_enough_rows():
    assert len(HABITS) >= 120
