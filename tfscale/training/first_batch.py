"""Has a model's losses and metrics measured on the first batch of each kind of data."""

import re
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Nested
from tfscale.training.additivity import Rules
from tfscale.training.distilled_loss import DistilledLoss
from tfscale.training.part_sums import PartSums
from tfscale.training.probe import FEWEST, Probe
from tfscale.training.slices import check_sliceable, map_parts


class FirstBatch:
    """Finds out how losses and metrics add up, before the first step on data of a kind.

    Args:
        step: that of the model.
        training: whether the batches are trained on, or evaluated.
        eager: compute eagerly, for debugging.
    """

    def __init__(self, step: PartSums, training: bool, eager: bool):
        self.step, self.training, self.eager = step, training, eager
        self._rules: dict[str, Rules | None] = {}
        self._last: object = None
        self._last_spec: object = None

    def is_due(self, iterator: object, spec: Nested) -> bool:
        """Returns whether data of a kind come that were not looked at.

        Args:
            iterator: what gives them; asked about once.
            spec: the specification of a batch.
        """
        teaches = self.training and self.step.model.teacher is not None
        if (self.step.whole and not teaches) or iterator is self._last:
            return False
        self._last = iterator
        return _kind(spec) not in self._rules

    def look(self, batch: Sequence[Nested], spec: Nested) -> None:
        """Measures a batch (B, ...).

        Args:
            batch: inputs, targets and weights; not yet dealt out, or by a strategy already.
            spec: as in `is_due`.

        Raises:
            ConfigError: something does not add up.
        """
        # What was dealt out already is looked at as far as it is on this machine.
        joined = keras.tree.map_structure(
            lambda part: (
                tf.concat(self.step.strategy.experimental_local_results(part), 0)
                if isinstance(part, tf.distribute.DistributedValues)
                else part
            ),
            batch,
        )
        if self.training and self.step.distilled is not None:
            self._check_teacher(self.step.distilled, joined[0])
        if self.step.whole:
            self._rules[_kind(spec)] = None
            return
        check_sliceable(joined)
        self._rules[_kind(spec)] = Probe(self.step, self.training, self.eager).rules(joined)

    def _check_teacher(self, loss: DistilledLoss, x: Nested) -> None:
        """Compares what student and teacher give for a few rows."""
        few = map_parts(
            lambda part: part if isinstance(part, tf.SparseTensor) else part[:FEWEST], x
        )
        with keras.StatelessScope(collect_losses=True):
            networks = (self.step.network, loss.teacher.network)
            loss.check_outputs(*(network(few, training=False) for network in networks))

    def changes(self, spec: Nested) -> bool:
        """Has the step go by the rules for data of a kind; returns whether they are others."""
        if self.step.whole or spec is self._last_spec:
            return False
        self._last_spec = spec
        rules = self._rules.get(_kind(spec))
        before, self.step.rules[self.training] = self.step.rules[self.training], rules
        return before != rules


def _kind(spec: Nested) -> str:
    """Returns the same text for specifications that differ in sizes alone."""
    return re.sub(r"shape=\(([^)]*)\)", lambda found: f"rank {found[1].count(',')}", str(spec))
