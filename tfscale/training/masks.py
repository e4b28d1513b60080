"""Masks of Keras layers (`Embedding(mask_zero=True)`, `Masking`), which leave tokens out of the
loss.

Keras's own losses read the mask that layers hand on with a tensor; so do the train step and the
evaluation.
"""

import tensorflow as tf
from keras.src.backend import get_keras_mask, set_keras_mask


def as_float32(outputs: tf.Tensor) -> tf.Tensor:
    """Returns a network's outputs as float32, with the mask that they carry."""
    if outputs.dtype == tf.float32:
        return outputs
    logits = tf.cast(outputs, tf.float32)
    set_keras_mask(logits, get_keras_mask(outputs))
    return logits


def unmasked(weights: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the weights (B, T) of the tokens, 0 where a network's outputs (B, T, ...) are
    masked."""
    mask = get_keras_mask(outputs)
    return weights if mask is None else weights * tf.cast(mask, weights.dtype)
