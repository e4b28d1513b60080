"""Masks of Keras layers (`mask_zero=True`, `Masking`), which exclude tokens from the loss.

Keras's own losses read the mask that layers hand on with a tensor; so do the train step and the
evaluation.
"""

import tensorflow as tf

from tfscale.compat.keras import mask_of, with_mask


def as_float32(outputs: tf.Tensor) -> tf.Tensor:
    """Returns a network's outputs as float32, with the mask that they carry."""
    if outputs.dtype == tf.float32:
        return outputs
    return with_mask(tf.cast(outputs, tf.float32), mask_of(outputs))


def unmasked(weights: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the weights (B, T) of the tokens, 0 where outputs (B, T, ...) are masked."""
    mask = mask_of(outputs)
    return weights if mask is None else weights * tf.cast(mask, weights.dtype)
