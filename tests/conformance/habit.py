"""`Habit`: something that people do with a Keras model, declared with what tfscale answers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from tests.conformance.trial import Trial


class Answer(Enum):
    """What tfscale does where stock Keras is the measure."""

    SAME = "same"
    RIGHT = "right where Keras is wrong"
    REFUSED = "refused"


@dataclass(frozen=True)
class Tolerance:
    """How far floats of the two sides may be apart: `absolute + relative * |stock|`."""

    relative: float = 1e-5
    absolute: float = 1e-5


@dataclass(frozen=True)
class Habit:
    """A row of the table.

    Attributes:
        group: heading of the table that it stands in.
        name: name of the row, unique.
        title: what people do, in one line.
        run: does it on one side.
        answer: what tfscale must do.
        why: for `RIGHT`: what stock Keras does wrong, in one line.
        tolerance: how far floats may be apart.
        slow: run by `make conformance` and `make test-slow` alone, not by `make test`.
    """

    group: str
    name: str
    title: str
    run: Callable[[Trial], None]
    answer: Answer = Answer.SAME
    why: str = ""
    tolerance: Tolerance = Tolerance()
    slow: bool = False


HABITS: dict[str, Habit] = {}
"""All rows by name, in the order of the table."""


def habit(
    group: str,
    *,
    refused: bool = False,
    right: str = "",
    tolerance: Tolerance = Tolerance(),
    slow: bool = False,
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Declares a function of a trial as a habit; its docstring is the title."""

    def declare(run: Callable[[Trial], None]) -> Callable[[Trial], None]:
        title = (run.__doc__ or "").strip()
        _add(group, run.__name__, title, run, refused, right, tolerance, slow)
        return run

    return declare


def habits(
    group: str,
    cases: Mapping[str, object],
    *,
    fast: tuple[str, ...] = (),
    refused: tuple[str, ...] = (),
    right: str = "",
    tolerance: Tolerance = Tolerance(),
    slow: bool = False,
) -> Callable[[Callable[[Trial, object], None]], Callable[[Trial, object], None]]:
    """Declares one habit for each case of a function (trial, case).

    Args:
        cases: what the function gets, by the case's name; `{}` of the docstring is that name.
        fast: names of the cases that the normal suite runs; the first one if none is named.
        refused: names of the cases that tfscale refuses.
        right: what stock Keras does wrong in all of them, in one line.
        slow: the normal suite runs none of the cases.
    """

    chosen = () if slow else fast or tuple(cases)[:1]

    def declare(run: Callable[[Trial, object], None]) -> Callable[[Trial, object], None]:
        for case, value in cases.items():
            title = (run.__doc__ or "").strip().format(case)
            words = re.findall(r"\w+", f"{run.__name__} {case}".lower().replace("'", ""))
            name = "_".join(words)

            def bound(trial: Trial, value: object = value) -> None:
                run(trial, value)

            _add(group, name, title, bound, case in refused, right, tolerance, case not in chosen)
        return run

    return declare


def _add(
    group: str,
    name: str,
    title: str,
    run: Callable[[Trial], None],
    refused: bool,
    why: str,
    tolerance: Tolerance,
    slow: bool,
) -> None:
    if name in HABITS:
        raise ValueError(f"two habits are called {name}")
    if not title or "\n" in title:
        raise ValueError(f"the habit {name} needs a docstring of one line; found {title!r}")
    answer = Answer.REFUSED if refused else Answer.RIGHT if why else Answer.SAME
    HABITS[name] = Habit(group, name, title, run, answer, why, tolerance, slow)
