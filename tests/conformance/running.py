"""Runs a habit with stock Keras and with tfscale, and says what tfscale's answer is."""

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras

from tests.conformance.comparing import differences
from tests.conformance.habit import Answer, Habit
from tests.conformance.trial import Trial, Wrap, ours, stock
from tfscale.errors import TfscaleError

SEED = 7


@dataclass(frozen=True)
class Verdict:
    """What came out of a habit.

    Attributes:
        answer: what tfscale does; None if it is none of the three.
        text: for a refusal its message, for None the differences.
    """

    answer: Answer | None
    text: str = ""


def verdict(habit: Habit, wrap: Wrap = ours) -> Verdict:
    """Runs a habit on both sides.

    Args:
        wrap: the other side. With `stock` a habit is compared with itself, which shows whether it
            gives the same twice.
    """
    expected = _stock_side(habit)
    try:
        found = run_side(habit, wrap)
    except TfscaleError as error:
        message = str(error)
        one_line = bool(message) and "\n" not in message
        return Verdict(Answer.REFUSED if one_line else None, message)
    if expected is None:
        lines = _wrong(habit, found) + sorted(_unproved(found, found))
        return Verdict(None, "\n".join(lines)) if lines else Verdict(Answer.RIGHT)
    apart = list(differences(_unproved(expected, found), _unproved(found, found), habit.tolerance))
    wrong = _wrong(habit, found)
    if apart or wrong:
        return Verdict(None, "\n".join(apart + wrong))
    return Verdict(Answer.RIGHT if _wrong(habit, expected) else Answer.SAME)


def _stock_side(habit: Habit) -> Trial | None:
    """Runs a habit with stock Keras; None where it fails, which a row that is "same" may not."""
    try:
        return run_side(habit, stock)
    except Exception:
        if habit.answer is Answer.SAME:
            raise
        return None


def run_side(habit: Habit, wrap: Wrap) -> Trial:
    """Runs a habit on one side, with nothing left of what ran before."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(SEED)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = Trial(wrap, Path(folder))
        with contextlib.redirect_stdout(io.StringIO()):
            habit.run(trial)
        trial.end()
    return trial


def _unproved(trial: Trial, proved: Trial) -> dict[str, object]:
    """Returns what a side saw and of which nothing but stock Keras says what is right."""
    apart = {*proved.right, *proved.ignored}
    return {name: value for name, value in trial.seen.items() if name not in apart}


def _wrong(habit: Habit, trial: Trial) -> list[str]:
    """Returns the values of a side that are not those that are right."""
    seen = {name: trial.seen[name] for name in trial.right}
    return list(differences(trial.right, seen, habit.tolerance, "right"))
