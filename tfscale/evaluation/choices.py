"""The interface of forms of multiple choice: how a record becomes a context and its continuations.

The forms follow the task definitions of lm-evaluation-harness (https://github.com/EleutherAI/
lm-evaluation-harness), so that figures compare with those that are published. NumPy only.
"""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tfscale.errors import DataError
from tfscale.evaluation.continuations import Scored
from tfscale.registry import CHOICE_FORMS
from tfscale.text.records import MISSING, field_names, field_value

Fields = Mapping[str, object]
"""A record of a file: name -> value."""


@dataclass(frozen=True)
class Choices:
    """A question: what stands before, what may follow, and which of it is right.

    Attributes:
        context: the text that is continued, without examples before it.
        choices: what may follow it, without the space between.
        gold: place of the right one, from 0.
        group: the subject of the question; examples before it are of the same one.
        description: what stands before the examples.
    """

    context: str
    choices: tuple[str, ...]
    gold: int
    group: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.gold < len(self.choices):
            last = len(self.choices) - 1
            raise DataError(
                f"the right choice is number {self.gold}; expected 0 to {last} (test sets are often"
                " published without answers: take the validation set)"
            )


class ChoiceForm(abc.ABC):
    """A form of files with multiple choice, by which a model of the next token is judged.

    A form is a subclass in a file of its own, registered by `tfscale.register`. It defines `read`.
    The choice of the largest log-likelihood counts as the model's answer.

    Attributes:
        name: what `--choices` calls it.
        summary: what it is, in a line, for `--help`.
        harness: the tasks of lm-evaluation-harness whose figures it gives.
        metrics: the metrics that it reports. `acc`: the likeliest choice is the right one;
            `acc_norm`: so is the one with the largest log-likelihood per character.
        delimiter: what stands between a context and a choice.

    Example:
        @tfscale.register
        class Riddles(tfscale.ChoiceForm):
            name, summary = "riddles", "riddles with two answers"

            def read(self, fields):
                answers = text_of(fields, "right"), text_of(fields, "wrong")
                return tfscale.Choices(text_of(fields, "riddle") + " It is", answers, gold=0)
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    harness: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("acc", "acc_norm")
    delimiter: ClassVar[str] = " "

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the form known by its name; `tfscale.register` calls it."""
        CHOICE_FORMS.add(getattr(cls, "name", ""), cls)

    @abc.abstractmethod
    def read(self, fields: Fields) -> Choices:
        """Returns the question of a record.

        Raises:
            DataError: a field is missing or holds something else; the caller adds the place.
        """

    def example(self, question: Choices) -> str:
        """Returns a question with its answer, as it stands before another one."""
        return f"{question.context}{self.delimiter}{question.choices[question.gold]}\n\n"

    def measure(self, question: Choices, scored: Sequence[Scored]) -> dict[str, float]:
        """Returns the metrics of one question: name -> value.

        Args:
            question: the question.
            scored: the likelihood of each choice, with the delimiter before it.
        """
        nats = np.array([one.log_likelihood for one in scored])
        # Characters of the choice itself, not bytes, and without the delimiter. An empty choice has
        # none, and is never the likeliest one for its length.
        lengths = np.array([float(len(choice)) for choice in question.choices])
        by_length = np.divide(nats, lengths, out=np.full(len(nats), -np.inf), where=lengths > 0)
        values = {
            "acc": float(nats.argmax() == question.gold),
            "acc_norm": float(by_length.argmax() == question.gold),
        }
        return {name: values[name] for name in self.metrics}

    def summarize(
        self, metric: str, values: Sequence[float], groups: Sequence[str]
    ) -> tuple[float, float | None]:
        """Returns a metric over all questions, and its standard error.

        Args:
            metric: its name.
            values: those of `measure`, one for each question.
            groups: the group of each question.
        """
        return mean_and_error(values, groups)


def mean_and_error(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float | None]:
    """Returns the mean of values, and the standard error of the mean.

    That is the sample's standard deviation (n - 1) by the root of n; where the values are of
    several groups, the standard deviation is the pooled one, around each group's own mean. None
    stands for what one value for each group cannot tell.

    Example:
        mean_and_error([1.0, 0.0], ["", ""])    # (0.5, 0.5)
    """
    numbers, names = np.array(values, np.float64), np.array(groups)
    members = [numbers[names == name] for name in sorted(set(groups))]
    squares = sum(float(np.square(part - part.mean()).sum()) for part in members)
    free = len(values) - len(members)
    error = math.sqrt(squares / free / len(values)) if free else None
    return float(numbers.mean()), error


def value_of(fields: Fields, name: str) -> object:
    """Returns a field of a record, or of a field within it by dots.

    Raises:
        DataError: it is missing or null.
    """
    value = field_value(fields, name)
    if value is MISSING:
        raise DataError(f"there is no {name!r}; it has {', '.join(field_names(fields)) or 'none'}")
    if value is None:
        raise DataError(f"{name} is null")
    return value


def text_of(fields: Fields, name: str) -> str:
    """Returns a field that holds a text, which may be empty.

    Raises:
        DataError: it is missing or holds something else.
    """
    value = value_of(fields, name)
    if not isinstance(value, str):
        raise DataError(f"{name} should be a text; received {_brief(value)}")
    return value


def texts_of(fields: Fields, name: str) -> tuple[str, ...]:
    """Returns a field that holds a list of texts, one or more.

    Raises:
        DataError: it is missing or holds something else.
    """
    value = value_of(fields, name)
    if not isinstance(value, list | tuple) or not value:
        raise DataError(f"{name} should be a list of texts; received {_brief(value)}")
    if not all(isinstance(item, str) for item in value):
        raise DataError(f"{name} should be a list of texts; received {_brief(value)}")
    return tuple(value)


def number_of(fields: Fields, name: str) -> int:
    """Returns a field that holds a whole number, also as digits.

    Raises:
        DataError: it is missing or holds something else, as where an answer is kept secret.
    """
    value = value_of(fields, name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    raise DataError(
        f"{name} should be the number of the right choice, from 0; received {_brief(value)} (test"
        " sets are often published without answers: take the validation set)"
    )


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
