"""The dynamic loss scale of float16 training (Micikevicius et al. 2018).

Gradients of float16 layers would vanish below 6e-8; they are taken of the loss times a scale and
divided by it after the all-reduce. A step whose gradients overflow is skipped and halves the scale;
after enough steps without one it doubles. An overflow on one replica counts for all. If a step is
not finite although the scale is 1, halving cannot help: the training has diverged.
"""

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of
from tfscale.training.variables import replicated

GROWTH_STEPS = 2000
"""Steps without overflow after which the scale doubles."""
FIRST_SCALE = 2.0**15


class LossScale:
    """Scales the loss before its gradient is taken. Make it inside `strategy.scope()`.

    Args:
        network: the model that is trained; without a layer that computes in float16 the scale is 1
            and stays 1.

    Example:
        scale = LossScale(network)
        gradients = tape.gradient(loss * scale.value, weights)
        scale.adjust(finite)
    """

    def __init__(self, network: keras.Model):
        self.on = any(
            getattr(layer.dtype_policy, "compute_dtype", None) == "float16"
            for layer in layers_of(network)
        )
        self.first = FIRST_SCALE if self.on else 1.0
        self.value = replicated(self.first, tf.float32)
        self.steps_since_overflow = replicated(0, tf.int64)

    def adjust(self, finite: tf.Tensor) -> None:
        """Halves the scale after a step that was not finite, doubles it when it is time."""
        if not self.on:
            return
        since = tf.where(finite, self.steps_since_overflow + 1, tf.zeros((), tf.int64))
        grow = since >= GROWTH_STEPS
        factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
        self.value.assign(tf.maximum(self.value * factor, 1.0))
        self.steps_since_overflow.assign(tf.where(grow, tf.zeros((), tf.int64), since))

    def at_its_least(self) -> tf.Tensor:
        """Returns whether the scale is 1 and cannot be halved; without float16 it always is."""
        return tf.identity(self.value) <= 1.0

    def state(self) -> dict[str, tf.Variable]:
        """Returns the variables that a checkpoint must hold."""
        return {"loss_scale": self.value, "steps_since_overflow": self.steps_since_overflow}
