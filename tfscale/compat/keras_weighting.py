"""How Keras's losses meet weights of samples, where their shapes differ.

`keras.losses.Loss` multiplies values by weights as TensorFlow broadcasts shapes. One weight a row,
(B,), and values of time steps, (B, T), fail within the compiled step with 50 lines; where B is T,
Keras takes the weights of rows for those of time steps, without a word.

Shapes: B rows of a batch, T time steps.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from keras.src.losses import loss as loss_module

from tfscale.errors import ConfigError


@contextlib.contextmanager
def fitting_weights() -> Iterator[None]:
    """Refuses weights that are not one for each value of a loss, for the block.

    Raises:
        ConfigError: names both shapes.
    """
    reduce = loss_module.reduce_weighted_values

    def checked(values, sample_weight=None, *args, **kwargs):
        if sample_weight is not None:
            check_fit(tf.convert_to_tensor(values), tf.convert_to_tensor(sample_weight))
        return reduce(values, sample_weight, *args, **kwargs)

    loss_module.reduce_weighted_values = checked
    try:
        yield
    finally:
        loss_module.reduce_weighted_values = reduce


def check_fit(values: tf.Tensor, weights: tf.Tensor) -> None:
    """Refuses weights whose axes are not those of the values; a last axis of 1 may be missing.

    Raises:
        ConfigError: names both shapes.
    """
    if values.shape.rank is None or weights.shape.rank is None or not values.shape.rank:
        return
    longer, shorter = sorted((values.shape, weights.shape), key=len, reverse=True)
    same = len(longer) == len(shorter)
    if same or not len(shorter) or (len(longer) == len(shorter) + 1 and longer[-1] == 1):
        return
    raise ConfigError(
        f"sample_weight (or what class_weight makes) has shape {weights.shape} in a batch, and the"
        f" loss has values of shape {values.shape}: give one weight for each value; one a row, w"
        " (N,), for T time steps is sample_weight=np.repeat(w[:, None], T, axis=1)"
    )
