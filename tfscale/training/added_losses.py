"""Checks that what layers add to the loss of a language model is a mean over the rows.

Each replica and each micro-batch adds its own number by the share of the tokens that it has. A sum
over the rows would come out smaller the more parts there are, without a word.

Shapes: B rows, T tokens.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.training.additivity import ONE_DEVICE

TOLERANCE = 2e-2
"""Largest difference between a number and the mean of those of single rows, relative to them:
layers may compute in 16 bits."""


def check_added_losses(network: keras.Model, ids: np.ndarray, random: bool) -> None:
    """Refuses numbers of `add_loss` and of activity regularizers that are no means over the rows.

    It takes a small forward pass, and one of each row if layers add something. No state changes.

    Args:
        network: ids (B, T) int32 -> logits, for any B.
        ids: (B, T), which the network can read.
        random: whether layers draw at random in training; they are then called without it.

    Raises:
        ConfigError: names the number, with its values.
    """
    whole = _numbers(network, ids, not random)
    if not whole:
        return
    each = [_numbers(network, row[None], not random) for row in ids]
    for place, value in enumerate(whole):
        of_rows = [numbers[place] for numbers in each if len(numbers) == len(whole)]
        largest = max(abs(number) for number in (value, *of_rows))
        mean = sum(of_rows) / len(of_rows) if len(of_rows) == len(each) else float("inf")
        if not np.isfinite([value, *of_rows]).all() or abs(mean - value) <= TOLERANCE * largest:
            continue
        rows = " and ".join(f"{number:.4g}" for number in of_rows)
        raise ConfigError(
            f"number {place + 1} that layers of model {network.name!r} add to the loss is"
            f" {value:.4g} for {len(ids)} rows, and {rows or 'not there'} for each of them alone,"
            " which is not their mean; replicas and micro-batches take means: make it the mean of a"
            f" value of each row, or {ONE_DEVICE}"
        )


def _numbers(network: keras.Model, ids: np.ndarray, training: bool) -> list[float]:
    values = [(weight, tf.convert_to_tensor(weight.value)) for weight in network.variables]
    with keras.StatelessScope(state_mapping=values, collect_losses=True) as scope:
        network(tf.constant(ids), training=training)
    return [float(tf.reduce_sum(tf.cast(loss, tf.float32))) for loss in scope.losses]
