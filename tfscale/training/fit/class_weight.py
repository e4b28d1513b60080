"""`class_weight` of `fit`: a weight for each token that is predicted.

Keras looks at one class a row, and takes the place of the largest entry for it where targets have
two dimensions, which is no class here. A language model has a class at each token: its weight is
that of its target.

Shapes: B rows, T tokens.
"""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError


def check_class_weight(class_weight: object, vocabulary_size: int | None) -> np.ndarray:
    """Returns the weights of the tokens up to the last one that was given, float32.

    Args:
        class_weight: token id -> weight; a token that is not named has weight 1.
        vocabulary_size: V, above all ids; None where it is not known.

    Raises:
        ConfigError: no dictionary, an id that does not exist, or a weight that is negative or not
            finite.
    """
    if not isinstance(class_weight, Mapping) or not class_weight:
        raise ConfigError(
            "class_weight is a dictionary of token id -> weight; received"
            f" {type(class_weight).__name__} {class_weight!r:.60}"
        )
    for key, value in class_weight.items():
        is_id = isinstance(key, int | np.integer) and not isinstance(key, bool) and key >= 0
        if not is_id or (vocabulary_size is not None and key >= vocabulary_size):
            known = f", 0 to {vocabulary_size - 1}" if vocabulary_size is not None else ""
            raise ConfigError(f"class_weight names {key!r}, which is no token id{known}")
        number = isinstance(value, int | float | np.integer | np.floating)
        if not number or not math.isfinite(value) or value < 0:
            raise ConfigError(
                f"weights must be finite and not negative; class_weight[{key}] is {value!r}"
            )
    table = np.ones(max(class_weight) + 1, np.float32)
    for key, value in class_weight.items():
        table[key] = value
    return table


def with_class_weight(dataset: tf.data.Dataset, table: np.ndarray) -> tf.data.Dataset:
    """Returns batches (ids, targets, weights) whose weights are multiplied by those of the targets.

    Args:
        dataset: batches (ids, targets[, weights]), each (B, T), with targets of 0 or more.
        table: weights of the tokens 0, 1, ...; those after them have weight 1.
    """
    size = len(table)

    def weigh(ids: tf.Tensor, targets: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        places = tf.minimum(targets, size - 1)
        own = tf.where(targets < size, tf.gather(tf.constant(table), places), 1.0)
        return ids, targets, own * weights[0] if weights else own

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)
