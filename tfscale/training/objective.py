"""The loss of a compiled Keras model as sums that can be added over any parts of a batch.

Keras reduces a loss to one number, with a denominator of its own: the number of elements, of
elements that are not masked, or the sum of the weights. The mean over a batch is not the mean of
its parts' means unless all denominators are alike. So each term of the loss is kept as numerator
and denominator, both sums over rows; what is added up over replicas and micro-batches is divided
once.

Shapes: B rows of the global batch, b those of a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of, mask_of
from tfscale.compat.keras_trainer import (
    KerasLoop,
    Nested,
    OutputLoss,
    each_output,
    elementwise,
    elementwise_weights,
    output_losses,
)
from tfscale.errors import ConfigError
from tfscale.training.loss import penalties

MEANS = ("sum_over_batch_size", "mean")
ONE_DEVICE = "train on one device with micro_batches=1"


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


class Objective:
    """Computes the terms of a model's loss.

    Args:
        model: compiled and built.

    Attributes:
        outputs: the losses of the outputs.

    Raises:
        ConfigError: a loss is not reduced, so that there is nothing to add up.
    """

    def __init__(self, model: KerasLoop):
        self.model = model
        self.outputs = output_losses(model)
        for output in self.outputs:
            if output.loss.reduction in (None, "none"):
                raise ConfigError(
                    f"loss {output.name!r} has reduction={output.loss.reduction!r}, and replicas"
                    " and micro-batches add up one number for each; give it reduction="
                    '"sum_over_batch_size" or "sum"'
                )

    def rows(self, x: Nested) -> tf.Tensor:
        """Returns the number of rows of a batch as a scalar float32."""
        return tf.cast(row_count(x), tf.float32)

    def terms(
        self,
        x: Nested,
        y: Nested,
        y_pred: Nested,
        sample_weight: Nested,
        scope: keras.StatelessScope,
        training: bool,
        global_rows: tf.Tensor,
    ) -> list[Term]:
        """Returns the terms of the loss of some rows.

        Those of the outputs come first, in the order of `outputs`.

        Args:
            x: inputs (b, ...).
            y: targets.
            y_pred: outputs of the model, made within the scope.
            sample_weight: weights, or None.
            scope: the scope of the forward pass, with what layers added to the loss.
            training: whether the model was called for training.
            global_rows: B.
        """
        rows = self.rows(x)
        if self.model.overrides("compute_loss"):
            raise ConfigError(
                f"{type(self.model).__name__} overrides compute_loss, which gives one number for a"
                f" whole batch; {ONE_DEVICE}, or give the loss to compile"
            )
        terms = []

        def visit(index: int, targets: Nested, output: Nested, weights: Nested) -> None:
            found = self.outputs[index]
            terms.append(self._of_output(found, targets, output, weights, rows, global_rows))

        each_output(self.model, y, y_pred, sample_weight, visit)
        terms += [Term(tf.reduce_sum(value) * rows, rows) for value in self._added(scope)]
        if not terms:
            raise ConfigError("there is no loss to compute: give compile a loss")
        return terms

    def _of_output(
        self,
        output: OutputLoss,
        y_true: Nested,
        y_pred: Nested,
        weights: Nested,
        rows: tf.Tensor,
        global_rows: tf.Tensor,
    ) -> Term:
        loss, weight = output.loss, 1.0 if output.weight is None else output.weight
        values = tf.cast(elementwise(loss)(y_true, y_pred, weights), tf.float32)
        if values.shape.rank == 0:
            raise ConfigError(
                f"loss {output.name!r} gives one number for a whole batch, which replicas and"
                f" micro-batches cannot add up; return one for each row, (B,), or {ONE_DEVICE}"
            )
        total = tf.reduce_sum(values)
        if loss.reduction == "sum":
            return Term(total * global_rows, rows, weight)
        size = tf.cast(tf.size(values), tf.float32)
        mask = mask_of(y_pred)
        if loss.reduction in MEANS and mask is None:
            return Term(tf.math.divide_no_nan(total, size) * rows, rows, weight)
        if loss.reduction in MEANS:
            counted = tf.reduce_sum(tf.cast(mask, tf.float32)) / tf.cast(tf.size(mask), tf.float32)
            return Term(total, size * counted, weight, by_rows=False)
        # The mean with sample weights: its denominator is the sum of weights times masks.
        counted = tf.reduce_sum(
            tf.cast(elementwise_weights(loss)(y_true, y_pred, weights), tf.float32)
        )
        return Term(total, counted, weight, by_rows=False)

    def _added(self, scope: keras.StatelessScope) -> list[tf.Tensor]:
        """Returns what is added to the loss: means over the rows, or alike for all rows.

        Keras divides an activity regularizer by the rows. What a layer's own `add_loss` is nobody
        knows.
        """
        regularized = [
            layer
            for layer in layers_of(self.model.network)
            if getattr(layer, "activity_regularizer", None) is not None
        ]
        if scope.losses and not regularized:
            raise ConfigError(
                "a layer calls add_loss, and its number may be a mean, a sum or neither over the"
                f" rows; {ONE_DEVICE}"
            )
        return penalties(self.model.network, scope)


def row_count(x: Nested) -> tf.Tensor:
    """Returns the rows of a batch, as Keras counts them: those of its first tensor."""
    first = next(part for part in keras.tree.flatten(x) if part is not None)
    if isinstance(first, tf.RaggedTensor):
        return tf.cast(first.nrows(), tf.int32)
    if isinstance(first, tf.SparseTensor):
        return tf.cast(first.dense_shape[0], tf.int32)
    return tf.shape(first)[0]


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
