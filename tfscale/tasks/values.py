"""Input and output of a task: encoded examples, predictions, shapes and scores.

Shapes: T tokens of a row, C labels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from tfscale.files.json_text import JsonObject

ItemT = TypeVar("ItemT")


class Computes(Protocol):
    """A model, as far as a task needs it to predict; see `tfscale.tasks.predictor`."""

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Returns logits (N, P, C) float32 of ids (N, T)."""

    def write(self, ids: np.ndarray, starts: np.ndarray, beams: int) -> list[list[int]]:
        """Returns the tokens, without the end token, that follow the places (N,) in rows (N, T)."""


class Prediction(JsonObject):
    """The result of a task for one example, as JSON has it; `str` of it is the line that a person
    reads.

    Example:
        print(model.predict_text("a fine film"))    # good 0.98
    """

    def __init__(self, show: Callable[[JsonObject], str], values: JsonObject):
        super().__init__(values)
        self._show = show

    def __str__(self) -> str:
        return self._show(self)


@dataclass(frozen=True)
class Encoded:
    """One example as numbers.

    Attributes:
        ids: tokens (T,) int32.
        places: places in `ids` of the tokens that have a label of their own, where they have; those
            that were cut off are not among them.
        offsets: bytes of the text at which these tokens begin, and at which the last one ends,
            where the text is to be cut there.
        start: place of the token that the target follows, where a text is written.
        source_cut: whether the source was too long, where a text is written.
        target_cut: whether the target was too long, where a text is written.
    """

    ids: np.ndarray
    places: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    start: int = 0
    source_cut: bool = False
    target_cut: bool = False


@dataclass(frozen=True)
class Shape:
    """The labels and lengths of a model of a task, which `task.json` holds beside the options.

    Attributes:
        labels: names in the order of the logits; none where a text is written.
        sequence_length: T.
        source_length: tokens of the source, where a text is written.
        target_length: tokens of the target, where a text is written.
    """

    labels: list[str]
    sequence_length: int
    source_length: int | None = None
    target_length: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Returns the lengths and labels that there are, for JSON."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


@dataclass(frozen=True)
class GroupScores(Generic[ItemT]):
    """How `evaluate --slice-by` scores groups of examples.

    Attributes:
        items: one for each example.
        score: items of some examples -> the score of these examples together.
        draws: samples of the bootstrap.
    """

    items: Sequence[ItemT]
    score: Callable[[Sequence[ItemT]], float]
    draws: int = 1000


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns log-probabilities (..., C) float64 of logits (..., C)."""
    logits = np.asarray(logits, np.float64)
    log = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    return np.asarray(log - logits.max(-1, keepdims=True))
