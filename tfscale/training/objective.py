"""The loss of a compiled Keras model as sums that can be added over any parts of a batch.

Keras reduces a loss to one number, with a denominator of its own: the number of elements, of
elements that are not masked, or the sum of the weights. The mean over a batch is not the mean of
its parts' means unless all denominators are alike. So each term of the loss is kept as numerator
and denominator, both sums over rows; what is added up over replicas and micro-batches is divided
once.

Shapes: B rows of the global batch, b those of a part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of, mask_of
from tfscale.compat.keras_losses import (
    OutputLoss,
    each_output,
    elementwise,
    elementwise_weights,
    output_losses,
    outputs_tracked_alike,
    undivided_losses,
)
from tfscale.compat.keras_trainer import KerasLoop, Nested
from tfscale.compat.keras_weighting import fitting_weights
from tfscale.errors import ConfigError
from tfscale.training.additivity import ONE_DEVICE, Rule, Rules
from tfscale.training.loss import regularizations

MEANS = ("sum_over_batch_size", "mean")


@dataclass(frozen=True)
class Term:
    """One term of the loss of a part of a batch.

    Attributes:
        numerator: scalar float32, a sum over the rows of the part.
        denominator: scalar float32, likewise.
        weight: what the quotient is multiplied by in the loss.
        by_rows: whether the denominator is the number of rows, which is known beforehand.
    """

    numerator: tf.Tensor
    denominator: tf.Tensor
    weight: float = 1.0
    by_rows: bool = True


Forms = Mapping[Rule, Term]
"""A term of the loss by each rule that could hold for it."""


class Part(NamedTuple):
    """The inputs of a loss: some rows of a batch of B.

    Attributes:
        x: inputs (b, ...).
        y: targets.
        y_pred: outputs of the model, made within the scope.
        sample_weight: weights, or None.
        scope: the scope of the forward pass, with what layers added to the loss.
        training: whether the model was called for training.
        global_rows: B as a scalar float32.
    """

    x: Nested
    y: Nested
    y_pred: Nested
    sample_weight: Nested
    scope: keras.StatelessScope
    training: bool
    global_rows: tf.Tensor


class Objective:
    """Computes the terms of a model's loss.

    Args:
        model: compiled and built.

    Attributes:
        outputs: the losses of the outputs; none where the model overrides `compute_loss`.

    Raises:
        ConfigError: a loss is not reduced, so that there is nothing to add up.
    """

    def __init__(self, model: KerasLoop):
        self.model = model
        self.overridden = model.overrides("compute_loss")
        self.outputs = [] if self.overridden else output_losses(model)
        for output in self.outputs:
            if output.loss.reduction in (None, "none"):
                raise ConfigError(
                    f"loss {output.name!r} has reduction={output.loss.reduction!r}, and replicas"
                    " and micro-batches add up one number for each; give it reduction="
                    '"sum_over_batch_size" or "sum"'
                )

    def terms(self, part: Part, rules: Rules | None) -> list[Term]:
        """Returns the terms of the loss of some rows.

        Those of the outputs come first, in the order of `outputs`.

        Args:
            part: the rows.
            rules: how the terms add up; None where it was not measured, and is known of Keras's own
                losses of each row alone.

        Raises:
            ConfigError: the loss is not what was measured, or has to be measured and was not.
        """
        if self.overridden:
            if rules is None or rules.whole is None:
                raise ConfigError(
                    f"{type(self.model).__name__} overrides compute_loss, and how its number adds"
                    f" up was not measured; {ONE_DEVICE}, or give the loss to compile"
                )
            return [self.overridden_forms(part)[rules.whole]]
        terms = []
        for index, (output, forms) in enumerate(self.output_forms(part)):
            rule: Rule = "rows" if rules is None else rules.outputs[index]
            if rule not in forms:
                raise ConfigError(
                    f"loss {output.name!r} gives one number for a whole batch, and not for another"
                    f" one; return one for each row, (B,), or {ONE_DEVICE}"
                )
            terms.append(forms[rule])
        terms += self._added(part, rules)
        if not terms:
            raise ConfigError("there is no loss to compute: give compile a loss")
        return terms

    def output_forms(self, part: Part) -> list[tuple[OutputLoss, Forms]]:
        """Returns the losses of the outputs that have targets, each with its possible terms."""
        found: list[tuple[OutputLoss, Forms]] = []
        if self.overridden:
            return found

        def visit(index: int, targets: Nested, output: Nested, weights: Nested) -> None:
            loss = self.outputs[index]
            found.append((loss, self._forms(loss, targets, output, weights, part)))

        each_output(self.model, part.y, part.y_pred, part.sample_weight, visit)
        return found

    def _forms(
        self, output: OutputLoss, y_true: Nested, y_pred: Nested, weights: Nested, part: Part
    ) -> Forms:
        loss, weight = output.loss, 1.0 if output.weight is None else output.weight
        unreduced, rank = _watched(loss)
        with fitting_weights():
            values = tf.cast(unreduced(y_true, y_pred, weights), tf.float32)
        mask = mask_of(y_pred)
        if rank() == 0:
            if weights is not None or mask is not None:
                kind = "a mask" if weights is None else "sample weights"
                raise ConfigError(
                    f"loss {output.name!r} gives one number for a whole batch, and {kind} would"
                    f" weigh it anew for each part; return one for each row, (B,), or {ONE_DEVICE}"
                )
            return number_forms(values, part, weight)
        rows, total = row_count(part.x, tf.float32), tf.reduce_sum(values)
        if loss.reduction == "sum":
            return {"rows": Term(total * part.global_rows, rows, weight)}
        size = tf.cast(tf.size(values), tf.float32)
        if loss.reduction in MEANS and mask is None:
            mean = tf.math.divide_no_nan(total, size)
            return {
                "rows": Term(mean * rows, rows, weight),
                "elements": Term(total, size, weight, by_rows=False),
            }
        if loss.reduction in MEANS:
            counted = tf.reduce_sum(tf.cast(mask, tf.float32)) / tf.cast(tf.size(mask), tf.float32)
            return {"rows": Term(total, size * counted, weight, by_rows=False)}
        # The mean with sample weights: its denominator is the sum of weights times masks.
        counted = tf.reduce_sum(
            tf.cast(elementwise_weights(loss)(y_true, y_pred, weights), tf.float32)
        )
        return {"rows": Term(total, counted, weight, by_rows=False)}

    def overridden_forms(self, part: Part) -> Forms:
        """Returns the possible terms of what `compute_loss` of a subclass gives.

        Raises:
            ConfigError: it gives more than one number.
        """
        with undivided_losses(), outputs_tracked_alike(self.model):
            loss = self.model.compute_whole_loss(
                part.x, part.y, part.y_pred, part.sample_weight, part.training
            )
        loss = tf.cast(tf.convert_to_tensor(loss), tf.float32)
        if loss.shape.rank != 0:
            raise ConfigError(
                f"compute_loss of {type(self.model).__name__} gives numbers of shape {loss.shape};"
                " return one, the mean over the batch"
            )
        return number_forms(loss, part)

    def added_forms(self, part: Part) -> list[Forms]:
        """Returns the possible terms of each number that a layer adds to the loss."""
        numbers = [tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in part.scope.losses]
        return [number_forms(number, part) for number in numbers]

    def _added(self, part: Part, rules: Rules | None) -> list[Term]:
        """Returns what layers add to the loss, and the regularizers of weights."""
        forms = self.added_forms(part)
        regularized = [
            layer
            for layer in layers_of(self.model.network)
            if getattr(layer, "activity_regularizer", None) is not None
        ]
        if rules is None and forms and not regularized:
            raise ConfigError(
                "a layer calls add_loss, and whether its number is a mean or a sum over the rows"
                f" was not measured; {ONE_DEVICE}"
            )
        # Keras divides an activity regularizer by the rows.
        mean: Rule = "mean"
        chosen = [mean for _ in forms] if rules is None else rules.added
        if len(chosen) != len(forms):
            raise ConfigError(
                f"layers call add_loss {len(forms)} times in this batch, and {len(chosen)} times"
                f" where it was measured how their numbers add up (without dropout); {ONE_DEVICE}"
            )
        terms = [form[rule] for form, rule in zip(forms, chosen, strict=True)]
        # A regularizer is the same for any rows.
        weights = regularizations(self.model.network)
        return terms + [number_forms(value, part)["mean"] for value in weights]


def number_forms(value: tf.Tensor, part: Part, weight: float = 1.0) -> dict[Rule, Term]:
    """Returns the terms of one number for some rows: a mean over the rows, or a sum."""
    rows = row_count(part.x, tf.float32)
    return {
        "mean": Term(value * rows, rows, weight),
        "sum": Term(value * part.global_rows, rows, weight),
    }


def _watched(loss: keras.losses.Loss) -> tuple[keras.losses.Loss, Callable[[], int]]:
    """Returns a loss that does not reduce, and what gives the rank of its values afterwards.

    Weights make values of shape (B,) even of a single number.
    """
    ranks: list[int] = []
    unreduced = elementwise(loss)

    def call(y_true: Nested, y_pred: Nested) -> tf.Tensor:
        values = tf.convert_to_tensor(loss.call(y_true, y_pred))
        ranks.append(values.shape.rank)
        return values

    unreduced.call = call

    def rank() -> int:
        if not ranks:
            raise ConfigError(
                f"loss {loss.name!r} overrides __call__, of which replicas and micro-batches do not"
                f" see the values that they add up; override call(y_true, y_pred), or {ONE_DEVICE}"
            )
        return ranks[-1]

    return unreduced, rank


def row_count(x: Nested, dtype: tf.DType = tf.int32) -> tf.Tensor:
    """Returns the rows of a batch, as Keras counts them: those of its first tensor."""
    first = next(part for part in keras.tree.flatten(x) if part is not None)
    if isinstance(first, tf.RaggedTensor):
        return tf.cast(first.nrows(), dtype)
    if isinstance(first, tf.SparseTensor):
        return tf.cast(first.dense_shape[0], dtype)
    return tf.cast(tf.shape(first)[0], dtype)


def grouped(terms: Sequence[Term]) -> list[list[int]]:
    """Returns the indices of the terms whose denominators are the same, those by rows first.

    A gradient can be taken of the sum of the numerators of a group at once.
    """
    by_rows = [index for index, term in enumerate(terms) if term.by_rows]
    others = [[index] for index, term in enumerate(terms) if not term.by_rows]
    return ([by_rows] if by_rows else []) + others


def quotient(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    """Returns a term's value; 0 where nothing counts, as in Keras."""
    return tf.math.divide_no_nan(numerator, denominator)
