"""The one array in each part of the data: ids, targets and weights that come in a list or a dict.

Keras's `fit` takes a list or a dictionary of arrays where a model has several inputs. A language
model has one, and what is given as a list or a dictionary of one is that.
"""

from typing import Any

import keras
import tensorflow as tf

from tfscale.errors import DataError


def one_array(value: Any) -> Any:
    """Returns the array in a list, tuple or dictionary of one; anything else as it is.

    Rows of ids in lists of Python are no list of arrays: `[[1, 2, 3]]` is one row.

    Example:
        one_array({"ids": ids}), one_array([ids])  # ids, ids
    """
    if isinstance(value, dict) and len(value) == 1:
        return next(iter(value.values()))
    if isinstance(value, list | tuple) and len(value) == 1 and _is_array(value[0]):
        return value[0]
    return value


def _is_array(value: object) -> bool:
    shape = getattr(value, "shape", None)
    return shape is not None and len(shape) >= 2


def one_tensor_each(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset of (ids, targets[, weights]), each one tensor.

    A dataset that is like this is returned as it is, and so is one of several tensors in a part,
    which the checks that come after it refuse. Weights that are None are left out.

    Raises:
        DataError: a part has a number of tensors other than one.
    """
    spec = dataset.element_spec
    if not isinstance(spec, tuple | list):
        return dataset
    if all(isinstance(part, tf.TypeSpec) and not _is_none(part) for part in spec):
        return dataset
    for name, part in zip(("ids", "targets", "weights"), spec, strict=False):
        count = len([leaf for leaf in keras.tree.flatten(part) if not _is_none(leaf)])
        if count > 1:
            raise DataError(
                f"the dataset's {name} are {count} tensors, {part}; a language model reads one: ids"
                " (B, T), targets (B, T)"
            )

    def single(*parts: object) -> tuple:
        flat = [
            [leaf for leaf in keras.tree.flatten(part) if not _is_empty(leaf)] for part in parts
        ]
        return tuple(leaves[0] for leaves in flat if leaves)

    return dataset.map(single, num_parallel_calls=tf.data.AUTOTUNE)


def _is_none(spec: object) -> bool:
    return spec is None or isinstance(spec, tf.OptionalSpec | tf.NoneTensorSpec)


def _is_empty(leaf: object) -> bool:
    return leaf is None or isinstance(leaf, tf.experimental.Optional)
