"""The loss of any Keras model that learns from a teacher besides its targets.

Shapes: B rows, C classes; "..." stands for further axes, such as time.
"""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras_losses import output_losses, replace_loss, takes_logits
from tfscale.compat.keras_trainer import KerasLoop, Nested
from tfscale.errors import ConfigError
from tfscale.training.distillation import Teacher

PROBABLE = 1e-7
"""The least probability whose logarithm is taken, as in Keras's losses."""


class DistilledLoss(keras.losses.Loss):
    """Blends a loss with the divergence from a teacher's outputs, value by value.

    Keras weighs, masks and averages the blended values as it does those of the loss. Outside of
    `lesson` it is the loss itself.

    Args:
        loss: of the student's outputs and the targets.
        teacher: what the student learns from.
        from_logits: whether both networks' outputs are logits, or probabilities.
    """

    def __init__(self, loss: keras.losses.Loss, teacher: Teacher, from_logits: bool):
        super().__init__(name=loss.name, reduction=loss.reduction, dtype=loss.dtype)
        self.loss, self.teacher, self.from_logits = loss, teacher, from_logits
        self._taught: tf.Tensor | None = None

    @contextlib.contextmanager
    def lesson(self, x: Nested) -> Iterator[None]:
        """Blends the loss for the block with what the teacher says of inputs."""
        # Nothing that the teacher's layers count or add to a loss is the student's.
        with keras.StatelessScope(collect_losses=True):
            taught = self.teacher.network(x, training=False)
        self._taught = tf.stop_gradient(taught)
        try:
            yield
        finally:
            self._taught = None

    def call(self, y_true: Nested, y_pred: tf.Tensor) -> tf.Tensor:
        """Outputs (B, ..., C) -> values (B, ...).

        Raises:
            ConfigError: the loss does not give one value for each prediction of a class.
        """
        values = self.loss.call(y_true, y_pred)
        if self._taught is None:
            return values
        if values.shape.rank != y_pred.shape.rank - 1:
            raise ConfigError(
                f"loss {self.name!r} gives values of shape {values.shape} for outputs of shape"
                f" {y_pred.shape}, and a teacher is compared by one value for each prediction of a"
                " class; take a cross-entropy over the last axis"
            )
        logits, taught = (self._as_logits(one) for one in (y_pred, self._taught))
        return self.teacher.blend(values, logits, taught)

    def _as_logits(self, outputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(outputs, tf.float32)
        return outputs if self.from_logits else tf.math.log(tf.maximum(outputs, PROBABLE))

    def check_outputs(self, student: tf.Tensor, taught: tf.Tensor) -> None:
        """Refuses outputs of a few rows that do not belong together or are not what is said.

        Raises:
            ConfigError: other shapes, or probabilities where logits are said, or the other way.
        """
        if not (tf.is_tensor(student) and tf.is_tensor(taught)):
            raise ConfigError("a teacher and its student need one output each, logits of classes")
        if student.shape != taught.shape or student.shape.rank < 2 or student.shape[-1] < 2:
            raise ConfigError(
                f"the student gives outputs of shape {student.shape} and its teacher"
                f" {taught.shape}; distillation compares the logits of two or more classes, the"
                " last axis of both"
            )
        for name, outputs in (("student", student), ("teacher", taught)):
            numbers = np.asarray(tf.cast(outputs, tf.float32))
            sums = numbers.sum(-1)
            probable = bool((numbers >= 0).all() and np.allclose(sums, 1, atol=1e-2))
            if probable == self.from_logits:
                seen = "add up to 1 in each row" if probable else "do not add up to 1 in each row"
                said = "logits" if self.from_logits else "probabilities"
                raise ConfigError(
                    f"the outputs of the {name} {seen}, and are said to be {said} (by the loss's"
                    " from_logits, or distill's); student and teacher must both give the one or the"
                    " other"
                )


def without_teacher(loss: keras.losses.Loss) -> keras.losses.Loss:
    """Returns the loss that `compile` was given."""
    return loss.loss if isinstance(loss, DistilledLoss) else loss


def distilled(model: KerasLoop, teacher: Teacher) -> DistilledLoss:
    """Gives a model that is compiled and built its loss with a teacher.

    Raises:
        ConfigError: several outputs, or a loss that does not say whether it takes logits.
    """
    losses = output_losses(model)
    if len(losses) != 1 or model.overrides("compute_loss"):
        raise ConfigError(
            "distillation needs a model with one output and one loss, which compile is given;"
            f" {model.network.name!r} has {len(losses)}, or overrides compute_loss"
        )
    loss = losses[0].loss
    if isinstance(loss, DistilledLoss):
        return loss
    from_logits = teacher.from_logits
    if from_logits is None:
        from_logits = takes_logits(loss)
    if from_logits is None:
        raise ConfigError(
            f"loss {loss.name!r} does not say whether the outputs are logits or probabilities; give"
            " tfscale.compress.distill from_logits=True or False"
        )
    blended = DistilledLoss(loss, teacher, from_logits)
    replace_loss(model, blended)
    return blended
