"""The order of the sums that a part of a batch gives, so that they can be told apart again."""

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfscale.training.objective import Term


@dataclass(frozen=True)
class Layout:
    """The order of what `PartSums.part` gives.

    Attributes:
        groups: the terms of the loss by their denominators; there is a list of gradients for each.
        terms: the terms, of which weights and kinds are looked at.
        connected: places of the weights on which the loss depends.
    """

    groups: list[list[int]]
    terms: list[Term]
    connected: list[int]

    def parted(self, sums: Sequence[tf.Tensor]) -> tuple[list, list, list, list]:
        """Returns gradients by group, numerators, denominators and additions of metrics."""
        count, terms = len(self.connected), len(self.terms)
        ends = [count * (index + 1) for index in range(len(self.groups))]
        by_group = [list(sums[end - count : end]) for end in ends]
        rest = sums[ends[-1] :]
        return by_group, list(rest[:terms]), list(rest[terms : 2 * terms]), list(rest[2 * terms :])


def described(term: Term) -> Term:
    """Returns a term without its tensors, which belong to one trace."""
    return Term(tf.zeros(()), tf.zeros(()), term.weight, term.by_rows)
