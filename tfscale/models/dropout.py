"""Dropout whose mask is cheap to draw (Srivastava et al. 2014).

Keras draws it by the Philox generator, which XLA on a CPU computes slowly, and again in every
operation that it joins the mask with: an LSTM with dropout took three times as long as one without.
Here a number is a hash of its place and of the seed: two multiplications and three shifts, which
cost next to nothing wherever they are computed.
"""

import keras
import tensorflow as tf

from tfscale.data.hashing import seeded, threshold


@keras.saving.register_keras_serializable("tfscale")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` with a mask of its own; the seeds are Keras's, so a step can be taken
    again.

    Example:
        Dropout(0.1)(x, training=True)   # a tenth of the numbers 0, the others divided by 0.9
    """

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        shape = list(inputs.shape)
        dynamic = tf.shape(inputs)
        noise = self.noise_shape or (None,) * len(shape)
        sizes = [
            wanted if wanted is not None else size if size is not None else dynamic[axis]
            for axis, (wanted, size) in enumerate(zip(noise, shape, strict=True))
        ]
        return dropped(inputs, self.rate, self.seed_generator.next(), sizes)


def dropped(x: tf.Tensor, rate: float, seed: tf.Tensor, mask_shape=None) -> tf.Tensor:
    """Returns a tensor with some numbers 0 and the others divided by 1 - rate.

    Args:
        x: any shape; sizes must be known, or given as `mask_shape`.
        rate: probability of 0, 0 to 1.
        seed: (2,) integers.
        mask_shape: shape of the mask, that of `x` or with ones where it is repeated.

    Example:
        dropped(kernel, 0.5, seed_generator.next())
    """
    kept = keep_mask(x.shape if mask_shape is None else mask_shape, rate, seed)
    return tf.where(kept, x * tf.cast(1 / (1 - rate), x.dtype), tf.zeros((), x.dtype))


def keep_mask(shape, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns booleans of a shape, each true with probability 1 - rate, that depend on place and
    seed alone.

    Args:
        shape: sizes, integers or scalar tensors.
        rate: probability of false, 0 to 1.
        seed: (2,) integers.
    """
    count = tf.reduce_prod(tf.stack([tf.cast(size, tf.int32) for size in shape]))
    return tf.reshape(
        seeded(tf.cast(tf.range(count), tf.uint32), seed[0], seed[1]) >= threshold(rate), shape
    )
