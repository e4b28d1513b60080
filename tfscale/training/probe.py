"""Measures on the first batch how a model's losses and metrics add up over parts of a batch.

Some rows of the batch, and two ways of cutting them into parts, go through the network, the losses
and the metrics, and nothing is assigned. `tfscale.training.additivity` judges the numbers. The
losses and metrics of the parts get the outputs of the whole, so that rounding and what the network
draws at random are the same; whether the network itself looks at several rows is compared
separately.

Shapes: B rows of the batch, n rows that are looked at.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_of, mask_of, with_mask
from tfscale.compat.keras_losses import each_output, undivided_losses
from tfscale.compat.keras_metrics import compiled_metrics
from tfscale.compat.keras_trainer import Nested, NotingScope, is_own_of_keras
from tfscale.errors import ConfigError
from tfscale.training.additivity import ONE_DEVICE, Rules
from tfscale.training.distilled_loss import without_teacher
from tfscale.training.objective import Forms, Part, row_count
from tfscale.training.part_sums import PartSums
from tfscale.training.questions import Questions
from tfscale.training.slices import map_parts

FEWEST, MOST = 6, 64
"""Rows that are looked at: those of a part, but not fewer or more than this."""
RANDOM_WEIGHTS = 0.5
"""Noise on weights, in their standard deviations: what is 0 at first becomes another number."""
Numbers: TypeAlias = dict[str, list]


class Probe:
    """Looks at how the losses and metrics of a step add up.

    Args:
        step: prepared; its model is built.
        training: whether the batches are trained on, or evaluated.
        eager: compute eagerly, for debugging.
    """

    def __init__(self, step: PartSums, training: bool, eager: bool):
        self.step, self.model, self.training = step, step.model, training
        self.objective, self.metrics = step.objective, step.metrics
        sixteen = any(
            layer.compute_dtype in ("float16", "bfloat16") for layer in self._all_layers()
        )
        # GPUs and TPUs multiply float32 matrices with fewer bits, in other orders.
        rough = any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
        self.rounding = 3e-2 if sixteen or rough else 1e-3
        """Relative difference that rounding may make where the network sees other rows."""
        self.assigned: set[int] = set()
        """The identities of the variables that something counts in."""
        self._run_forward: Callable = self._forward
        self._run_numbers: Callable = self._numbers
        if not eager:
            self._run_forward = _OfAnyRows(self._forward)
            self._run_numbers = _OfAnyRows(self._numbers)

    def forward(self, x: Nested, draw: int, noise: float, training: bool):
        """Returns the network's outputs, their masks, and whether state was assigned.

        Args:
            x: inputs (b, ...).
            draw: the number of the draw of dropout.
            noise: on the weights, in their standard deviations.
            training: how the network is called.
        """
        return self._run_forward(x, tf.constant(draw), _noise(noise), training)

    def numbers(
        self,
        batch: Sequence[Nested],
        y_pred: Nested,
        masks: Sequence[tf.Tensor | None],
        starts: Sequence[np.ndarray],
        draw: int,
        noise: float,
        rows: int,
        training: bool,
    ) -> Numbers:
        """Returns what some rows give.

        Args:
            batch: inputs (b, ...), targets and weights.
            y_pred: outputs for losses and metrics.
            masks: of the outputs.
            starts: what the variables of the metrics begin with.
            draw: as in `forward`.
            noise: as in `forward`.
            rows: n.
            training: as in `forward`.
        """
        starts = [tf.constant(value) for value in starts]
        return self._run_numbers(
            tuple(batch),
            y_pred,
            masks,
            starts,
            tf.constant(draw),
            _noise(noise),
            tf.constant(rows, tf.float32),
            training,
        )

    def _all_layers(self) -> list[keras.layers.Layer]:
        return layers_of(self.model.network)

    def rules(self, batch: Sequence[Nested]) -> Rules | None:
        """Returns how losses and metrics add up; None where Keras's own need no look.

        Args:
            batch: inputs (B, ...), targets and weights.

        Raises:
            ConfigError: names what does not add up, with its numbers, or a batch too small to see.
        """
        rows = int(row_count(batch[0]))
        if rows < 3:
            self._check_few(rows)
            return None
        own_rows = rows // (self.step.replicas * self.step.options.micro_batches)
        count = min(rows, max(FEWEST, min(own_rows, MOST)))
        # From all over the batch: rows beside each other may be alike.
        chosen = [_chosen(part, np.arange(count) * rows // count) for part in batch]
        mode = self.training and self._is_determined(chosen)
        questions = Questions(self, chosen, count, mode)
        questions.look(0.0)
        if questions.are_of_own():
            questions.look(RANDOM_WEIGHTS)
            questions.look(2 * RANDOM_WEIGHTS)
        if questions.has_open_metrics():
            questions.look(0.0, targets_as_outputs=True)
        return questions.rules()

    def _check_few(self, rows: int) -> None:
        """Refuses what is not Keras's own; the steps refuse the rest of it."""
        losses = [
            o.name for o in self.objective.outputs if not is_own_of_keras(without_teacher(o.loss))
        ]
        metrics = [m.name for m in compiled_metrics(self.model) if not is_own_of_keras(m)]
        overridden = [n for n in ("compute_loss", "compute_metrics") if self.model.overrides(n)]
        if names := [*losses, *metrics, *overridden]:
            raise ConfigError(
                f"how {names[0]!r} adds up over replicas and micro-batches is measured on the first"
                f" batch, which needs 3 rows or more and has {rows}; give larger batches, or"
                f" {ONE_DEVICE}"
            )

    def _is_determined(self, batch: Sequence[Nested]) -> bool:
        """Returns whether training mode gives the same twice and leaves the state alone.

        Where it does not (dropout, batch normalization), numbers are compared without it.
        """
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in self._all_layers()):
            return False
        first, second = (self.forward(batch[0], draw, 0.0, True) for draw in (0, 1))
        return self.alike(first[0], second[0]) and not first[2]

    def alike(self, first: Nested, second: Nested) -> bool:
        """Returns whether two nests of outputs are the same but for rounding."""
        pairs = zip(keras.tree.flatten(first), keras.tree.flatten(second), strict=True)
        return all(
            np.allclose(a, b, rtol=self.rounding, atol=self.rounding * np.abs(a).max(initial=0.0))
            for a, b in ((np.asarray(a, float), np.asarray(b, float)) for a, b in pairs)
            if np.isfinite(a).all()
        )

    def _scope(self, draw, noise) -> NotingScope:
        """Returns a scope with noise on the weights and other draws of dropout."""
        scope = NotingScope()
        for index, state in enumerate(self.step.seed_states):
            seed = tf.stack([tf.constant(index, tf.int64), tf.cast(draw, tf.int64)])
            scope.state_mapping[id(state)] = seed
        for index, weight in enumerate(self.model.network.trainable_variables):
            value = tf.convert_to_tensor(weight.value)
            if noise is not None:
                spread = tf.math.reduce_std(value) + 0.05
                random = tf.random.stateless_normal(weight.shape, (index, 7), dtype=value.dtype)
                value += tf.cast(noise, value.dtype) * spread * random
            scope.state_mapping[id(weight)] = value
        for variable, value in self.metrics.zeros():
            scope.state_mapping[id(variable)] = value
        return scope

    def _forward(self, x, draw, noise, training):
        """Returns outputs, their masks, and whether state was assigned."""
        with self._scope(draw, noise) as scope:
            y_pred = self.model(x, training=training)
        seeds = {id(variable) for variable in self.step.seed_states}
        metrics = {id(variable) for variable in self.metrics.variables}
        assigned = set(scope.noted) - seeds - metrics
        masks = [mask_of(output) for output in keras.tree.flatten(y_pred)]
        return y_pred, masks, bool(assigned)

    def _numbers(self, batch, y_pred, masks, starts, draw, noise, rows, training) -> Numbers:
        x, y, sample_weight = batch
        flat = zip(keras.tree.flatten(y_pred), masks, strict=True)
        given = keras.tree.pack_sequence_as(
            y_pred, [o if m is None else with_mask(tf.identity(o), m) for o, m in flat]
        )
        with self._scope(draw, noise) as scope, undivided_losses():
            for variable, value in zip(self.metrics.variables, starts, strict=True):
                scope.state_mapping[id(variable)] = value
            own = self.model(x, training=training)
            part = Part(x, y, given, sample_weight, scope, self.training, rows)
            numbers: Numbers = {
                "own": keras.tree.flatten(own),
                "added": [_pairs(forms) for forms in self.objective.added_forms(part)],
                "outputs": [_pairs(forms) for _, forms in self.objective.output_forms(part)],
                "whole": [_pairs(self.objective.overridden_forms(part))]
                if self.objective.overridden
                else [],
            }
            losses = []

            def visit(index, y_true, output, weights):
                losses.append(self.objective.outputs[index].loss(y_true, output, weights))

            if not self.objective.overridden:
                each_output(self.model, y, given, sample_weight, visit)
            counts, logs = self.metrics.counted(scope, x, y, given, sample_weight)
            numbers["metrics"], numbers["logs"] = counts, [logs]
            self.assigned |= set(scope.noted)
            numbers["results"] = [self.model.get_metrics_result() if logs else {}]
            numbers["losses"] = losses
        return numbers


class _OfAnyRows:
    """Compiles a function once for tensors that differ in their rows.

    Args:
        function: function of nested tensors, None and Python values.
    """

    def __init__(self, function: Callable):
        self.function = function
        self._made: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Nested) -> Nested:
        """Computes the function."""
        flat = tf.nest.flatten(arguments, expand_composites=True)
        tensors = [part for part in flat if tf.is_tensor(part)]
        specs = [tf.TensorSpec([None, *t.shape[1:]][: t.shape.rank], t.dtype) for t in tensors]
        key = (*specs, *(None if tf.is_tensor(part) else part for part in flat))
        if key not in self._made:
            structure = tf.nest.map_structure(_of_any_rows, arguments)

            def compiled(*given):
                remaining = iter(given)
                filled = [next(remaining) if tf.is_tensor(part) else part for part in flat]
                return self.function(
                    *tf.nest.pack_sequence_as(structure, filled, expand_composites=True)
                )

            # TensorFlow warns of tf.functions that are made repeatedly, as here for each model.
            self._made[key] = tf.function(compiled).get_concrete_function(*specs)
        return self._made[key](*tensors)


def _of_any_rows(part: object) -> object:
    """Returns what tells of a ragged tensor, but for its rows, which it knows beside its values."""
    if not isinstance(part, tf.RaggedTensor):
        return part
    rows = part.row_splits.dtype
    return tf.RaggedTensorSpec([None, *part.shape[1:]], part.dtype, part.ragged_rank, rows)


def _noise(noise: float) -> tf.Tensor | None:
    return tf.constant(noise) if noise else None


def _pairs(forms: Forms) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    return {rule: (term.numerator, term.denominator) for rule, term in forms.items()}


def _chosen(batch: Nested, rows: np.ndarray) -> Nested:
    return map_parts(lambda part: tf.gather(part, rows), batch)
