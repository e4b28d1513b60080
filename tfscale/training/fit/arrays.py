"""Arrays that `fit` is given: ids, targets and weights, checked as a whole before the first step.

Shapes: N rows, T tokens.
"""

from typing import Any

import numpy as np

from tfscale.errors import ConfigError, DataError
from tfscale.models.outputs import Vocabulary
from tfscale.training.fit.parts import one_array

LEAVE_OUT = "; a target to leave out is negative, such as -100"


def as_arrays(x: object, y: object, sample_weight: object = None) -> tuple[np.ndarray, ...]:
    """Returns ids and targets (N, T) int32 and, where they are given, weights (N, T) float32.

    Args:
        x: ids (N, T): an array, a tensor or lists.
        y: targets (N, T).
        sample_weight: weights (N,) or (N, 1), one a row, or (N, T), one a token.

    Raises:
        ConfigError: there are no targets, or `x` is an iterator over batches.
        DataError: no rows, rows of different lengths, shapes that do not belong together, ids that
            are no whole numbers, or weights that are negative or not finite.

    Example:
        ids, targets, weights = as_arrays([[1, 2]], [[2, 3]], [0.5])  # weights [[0.5, 0.5]]
    """
    x, y, sample_weight = one_array(x), one_array(y), one_array(sample_weight)
    _check_no_iterator(x)
    if y is None:
        raise ConfigError("fit needs targets: give a dataset of (ids, targets), or arrays x and y")
    ids, targets = _whole_numbers("ids", x), _whole_numbers("targets", y)
    if ids.ndim != 2 or ids.shape != targets.shape:
        raise DataError(
            f"ids and targets must be (N, T) alike; received {ids.shape} and {targets.shape}"
        )
    if not ids.size:
        raise DataError(f"there is nothing to read: ids and targets are {ids.shape}")
    if sample_weight is None:
        return ids, targets
    weights = _rectangular("weights", sample_weight)
    if weights.dtype.kind not in "biuf":
        raise DataError(f"weights must be numbers; received {weights.dtype}")
    rows, length = ids.shape
    shape = weights.shape
    if shape not in ((rows,), (rows, 1), (rows, length)):
        raise DataError(
            f"weights must be (N,), (N, 1) or (N, T); received ids {ids.shape}, targets"
            f" {targets.shape} and weights {shape}"
        )
    weights = weights.reshape(rows, -1).astype(np.float32)
    if (bad := ~(np.isfinite(weights) & (weights >= 0))).any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"weights must be finite and not negative; that of row {row} is {weights[row, column]}"
        )
    return ids, targets, np.broadcast_to(weights, ids.shape)


def cleaned_arrays(
    arrays: tuple[np.ndarray, ...], vocabulary: Vocabulary
) -> tuple[np.ndarray, ...]:
    """Returns arrays whose negative targets have become 0, with a weight of 0.

    Args:
        arrays: as `as_arrays` gives them.
        vocabulary: what the network reads and predicts.

    Raises:
        DataError: an id or a target outside of the vocabulary, or no target that counts.
    """
    ids, targets, *weights = arrays
    for name, values, low, size in (
        ("id", ids, 0, vocabulary.inputs),
        ("target", targets, None, vocabulary.targets),
    ):
        bad = values >= size if low is None else (values < low) | (values >= size)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise DataError(
                f"{name} {values[row, column]} in row {row}, column {column} is outside of the"
                f" model's vocabulary, 0 to {size - 1}{LEAVE_OUT if name == 'target' else ''}"
            )
    ignored = targets < 0
    if ignored.any():
        before = weights[0] if weights else np.ones(ids.shape, np.float32)
        weights = [np.where(ignored, np.float32(0), before)]
        targets = np.where(ignored, 0, targets)
    if weights and not weights[0].any():
        raise DataError("no target counts: every weight is 0 or its target is negative")
    return ids, targets, *weights


def _check_no_iterator(x: object) -> None:
    if not (isinstance(x, list | tuple) or hasattr(x, "shape") or hasattr(x, "__array__")):
        raise ConfigError(
            "fit and evaluate take a tf.data.Dataset, arrays, a generator or a"
            f" keras.utils.PyDataset, no {type(x).__name__};"
            " tf.data.Dataset.from_generator(function, output_signature=...) makes a dataset of"
            " whatever a function yields"
        )


def _rectangular(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):  # NumPy's "inhomogeneous shape", and ragged tensors
        array = np.empty(0, object)
    if array.dtype == object:
        raise DataError(
            f"the {name} are rows of different lengths, or no numbers; pad them to one length, with"
            " targets of -100"
        )
    return array


def _whole_numbers(name: str, values: Any) -> np.ndarray:
    array = _rectangular(name, values)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} must be whole numbers; received {array.dtype}")
    with np.errstate(invalid="ignore"):  # what is cast is compared
        numbers = array.astype(np.int32)
    if (bad := numbers != array).any():
        first = array[tuple(np.argwhere(bad)[0])]
        raise DataError(f"{name} must be whole numbers of 32 bits; received {first}")
    return numbers
