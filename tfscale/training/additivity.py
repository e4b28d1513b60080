"""Decides by numbers how what is computed of a batch adds up over its parts.

A loss or a metric of the user's own may be a mean over the rows of a batch, a sum, or look at
several rows at once. Its values for some rows, and for parts of them, tell which: the whole is what
the parts add up to by one of the rules, or by none, and then it has no right answer on several
replicas or in micro-batches. `tfscale.training.probe` measures these values.

Shapes: n rows are measured, and parts of them of other sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tfscale.errors import ConfigError

Rule: TypeAlias = Literal["rows", "elements", "mean", "sum"]
"""How a number adds up. `rows`: values of each row, whose mean is taken by Keras, with weights and
masks. `elements`: values whose number is not the same for each row. `mean`: one number, the mean
over the rows. `sum`: one number, the sum over the rows."""

ONE_DEVICE = "train on one device with micro_batches=1"
TINY = 1e-30
"""Smaller values prove nothing: 0 is both a sum and a mean of zeros."""


@dataclass(frozen=True)
class Rules:
    """How the terms of a loss and the variables of metrics add up.

    Attributes:
        outputs: of the loss of each output.
        added: of each number that layers add to the loss.
        metrics: of each variable of the metrics, by its identity.
        whole: of what an overridden `compute_loss` gives; None without one.
    """

    outputs: tuple[Rule, ...]
    added: tuple[Rule, ...]
    metrics: Mapping[int, Rule]
    whole: Rule | None = None


class Question:
    """Finds out which rule holds for a number or an array.

    Args:
        what: its name in messages, such as "loss 'dice'".
        rules: those that could hold, the preferred one first.
        hint: what would be right instead, for messages.
        tolerance: how far rounding may bring values apart, relative to the largest of them.

    Example:
        question = Question("loss 'own'", ("mean", "sum"), "return one value for each row")
        question.see(3.0, {"mean": 3.0, "sum": 6.0}, [2.0, 4.0])
        assert question.answer() == "mean"
    """

    def __init__(self, what: str, rules: Sequence[Rule], hint: str, tolerance: float = 1e-4):
        self.what, self.hint, self.tolerance = what, hint, tolerance
        self.left = list(rules)
        self.among = tuple(rules)
        self._seen = ""
        self._broken = ""

    def refuse(self, why: str) -> None:
        """Has `answer` refuse, with a reason."""
        self.left, self._broken = [], self._broken or why

    def see(
        self,
        whole: np.ndarray | float,
        added_up: Mapping[Rule, np.ndarray | float],
        parts: Sequence[np.ndarray | float],
        sizes: Sequence[int] = (),
    ) -> None:
        """Crosses out the rules by which the parts do not add up to the whole.

        Args:
            whole: the value for all rows; one that is not finite says nothing.
            added_up: what the parts add up to by each rule.
            parts: the values for the parts.
            sizes: rows of each part.
        """
        total, values = np.asarray(whole, float), [np.asarray(part, float) for part in parts]
        if not all(np.isfinite(value).all() for value in (total, *values)):
            return
        scale = max(np.abs(value).max(initial=0.0) for value in (total, *values))
        if scale < TINY:
            return
        before = list(self.left)
        for rule in before:
            difference = np.abs(np.asarray(added_up[rule], float) - total).max(initial=0.0)
            if not difference <= self.tolerance * scale:
                self.left.remove(rule)
        if before and not self.left:
            # Of an array, the element that is furthest from the last rule.
            apart = np.abs(np.asarray(added_up[before[-1]], float) - total)
            at = np.unravel_index(np.argmax(apart), total.shape)
            shown = " and ".join(f"{value[at]:.4g}" for value in values)
            rows = " and ".join(map(str, sizes))
            self._seen = f"{total[at]:.4g} for {sum(sizes)} rows, and {shown} for {rows} of them"

    def is_open(self) -> bool:
        """Returns whether several rules would do, which differ for other values."""
        return len(self.left) > 1 and "rows" not in self.left

    def answer(self, default: Rule | None = None) -> Rule:
        """Returns the rule that holds.

        Args:
            default: the rule where the values leave several; None refuses.

        Raises:
            ConfigError: no rule holds, or several do.
        """
        if self._broken:
            raise ConfigError(f"{self.what} {self._broken}; {self.hint}, or {ONE_DEVICE}")
        if not self.left and "rows" in self.among:
            raise ConfigError(
                f"{self.what} is {self._seen}, which is not what the parts make together: a row"
                f" counts otherwise beside others; {self.hint}, or {ONE_DEVICE}"
            )
        if not self.left:
            raise ConfigError(
                f"{self.what} is {self._seen}, neither their mean nor their sum; {self.hint}, or"
                f" {ONE_DEVICE}"
            )
        if not self.is_open():
            return self.left[0]
        if default in self.left:
            return default
        raise ConfigError(
            f"{self.what} is 0 or not finite for the rows of the first batch that were looked at,"
            " so it does not show whether it is a mean or a sum over rows, which replicas and"
            " micro-batches must"
            f" know; {self.hint}, or {ONE_DEVICE}"
        )
