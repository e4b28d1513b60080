"""Layers of a language model's regularization that Keras has not: whole words dropped, and
penalties on the output.

Shapes: B batch, T tokens, E embedding_dim, U hidden_dim (units).
"""

import keras
import tensorflow as tf
from keras import ops

from tfscale.models.dropout import dropped


@keras.saving.register_keras_serializable("tfscale")
class WordDropout(keras.layers.Layer):
    """Drops the vectors of words, all occurrences in a batch at once: (B, T, E) and ids (B, T) ->
    (B, T, E)."""

    def __init__(self, vocabulary_size: int, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.rate = vocabulary_size, rate
        self.seed_generator = keras.random.SeedGenerator()

    def compute_output_shape(self, x_shape, ids_shape):
        return x_shape

    def call(self, x, ids, training=False):
        if not training:
            return x
        ones = tf.ones((self.vocabulary_size, 1), self.compute_dtype)
        return x * tf.gather(dropped(ones, self.rate, self.seed_generator.next()), ids)

    def get_config(self):
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "rate": self.rate}


@keras.saving.register_keras_serializable("tfscale")
class ActivationRegularization(keras.layers.Layer):
    """Adds a mean square of the dropped output, and one of the whole output's change, to the
    training loss.

    Both outputs are (B, T, U); the first comes back unchanged (Merity et al. 2018, section 4.5).
    Where `begins` (B, T) bool is true, there is no change from another document.
    """

    def __init__(self, activation: float, temporal: float, **kwargs):
        super().__init__(**kwargs)
        self.activation, self.temporal = activation, temporal

    def compute_output_shape(self, dropped_shape, whole_shape):
        return dropped_shape

    def call(self, dropped, whole, training=False, begins=None):
        if training:
            dropped32, whole32 = ops.cast(dropped, "float32"), ops.cast(whole, "float32")
            loss = self.activation * ops.mean(ops.square(dropped32))
            if (
                whole.shape[1] != 1
            ):  # One token has no change, and the mean of nothing is not a number.
                change = ops.mean(ops.square(whole32[:, 1:] - whole32[:, :-1]), axis=-1)
                counted = 1.0 if begins is None else 1.0 - ops.cast(begins[:, 1:], "float32")
                mean = ops.divide_no_nan(
                    ops.sum(change * counted), ops.sum(ops.ones_like(change) * counted)
                )
                loss += self.temporal * mean
            self.add_loss(loss)
        return dropped

    def get_config(self):
        return {**super().get_config(), "activation": self.activation, "temporal": self.temporal}
