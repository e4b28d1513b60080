"""Real inputs of a model, which its file is compared on: arrays, several inputs, or a dataset.

They also say what no Keras model says reliably: the shape and the type of each input.

Shapes: B rows of a call of the file, N rows of the samples.
"""

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import KerasTree
from tfscale.device.signature import ElementType, InputTensor
from tfscale.errors import DataError
from tfscale.exporting.incoming import of_text

MOST_ROWS = 1000
"""Rows that are taken of a dataset, which may have no end."""
Given: TypeAlias = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray] | tf.data.Dataset
"""Samples and targets as users give them."""


@dataclass(frozen=True)
class Samples:
    """Inputs of a model.

    Attributes:
        structure: what the model is called with, with the names of arrays in their places.
        arrays: name in the file -> the rows (N, ...), in the type that the file reads.
        targets: what is right for the rows, as it was given; None if it was not.
        origin: where they come from, in words.
    """

    structure: KerasTree
    arrays: dict[str, np.ndarray]
    targets: KerasTree | None
    origin: str

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.arrays.values())))

    def tensors(self, batch: int) -> list[InputTensor]:
        """Returns the inputs of a file that reads `batch` rows at a time."""
        return [
            InputTensor(name=name, shape=[batch, *array.shape[1:]], dtype=_element_type(array))
            for name, array in self.arrays.items()
        ]

    def batches(self, batch: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields all rows, `batch` at a time; the last ones are filled up with the last one."""
        for start in range(0, self.count, batch):
            places = np.minimum(np.arange(start, start + batch), self.count - 1)
            yield {name: array[places] for name, array in self.arrays.items()}

    def call(self, network: keras.Model, arrays: Mapping[str, tf.Tensor]) -> KerasTree:
        """Returns the outputs of a network for arrays by name."""
        given = keras.tree.map_structure(lambda name: arrays[name], self.structure)
        return network(given, training=False)


def read_samples(network: keras.Model, samples: Given, targets: KerasTree | None) -> Samples:
    """Returns the inputs of a network as arrays.

    Args:
        network: the network, which may declare names and shapes.
        samples: one array, a list, tuple or dict of them, or a batched dataset of inputs, (inputs,
            targets) or (inputs, targets, weights), as Keras's `fit` takes it.
        targets: what is right for arrays.

    Raises:
        DataError: no rows, unequal numbers of them, texts, or another number, other names or
            other shapes of inputs than the model has.
    """
    origin = "the samples that were given"
    if isinstance(samples, tf.data.Dataset):
        samples, in_dataset = _rows_of_dataset(samples)
        if targets is not None and in_dataset is not None:
            raise DataError("the dataset of samples has targets, and targets= gives others")
        targets = in_dataset if targets is None else targets
        origin = "the dataset that was given"
    if isinstance(samples, list | tuple) and len(samples) == 1 and _is_array(samples[0]):
        samples = samples[0]
    declared = _declared(network)
    _check_number(network, samples, declared)
    names = _names(samples, declared)
    leaves = keras.tree.flatten(samples)
    arrays = {
        name: _array(name, leaf, known)
        for name, leaf, known in zip(
            names, leaves, _in_order(network, samples, declared), strict=True
        )
    }
    counts = sorted({len(array) for array in arrays.values()})
    if len(counts) > 1 or not counts[0]:
        raise DataError(f"samples must have one or more rows, as many for each input; has {counts}")
    structure = keras.tree.pack_sequence_as(samples, list(arrays))
    return Samples(structure, arrays, targets, origin)


def clean_name(name: str) -> str:
    """Returns a name as an argument of a Python function can have it, which a signature takes."""
    cleaned = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not cleaned or cleaned[0].isdigit():
        return f"_{cleaned}"
    return f"{cleaned}_" if keyword.iskeyword(cleaned) else cleaned


def numbered(names: Sequence[str], noun: str) -> list[str]:
    """Returns names for a signature: those that somebody chose, and numbers for the others.

    Args:
        names: "" where nobody chose one.
        noun: what they are of: "input".

    Example:
        numbered(["", "mask"], "input")    # ["input_0", "mask"]
    """
    cleaned = [clean_name(name) if name else "" for name in names]
    if len(names) == 1:
        return [cleaned[0] or noun]
    result = [name or f"{noun}_{place}" for place, name in enumerate(cleaned)]
    if len(set(result)) < len(result):
        return [f"{noun}_{place}" for place in range(len(result))]
    return result


def _declared(network: keras.Model) -> list[keras.KerasTensor]:
    """Returns the inputs that a functional or sequential model declares; none for another."""
    return list(getattr(network, "inputs", None) or [])


def _in_order(
    network: keras.Model, samples: KerasTree, declared: Sequence[keras.KerasTensor]
) -> list[keras.KerasTensor | None]:
    """Returns the declared input of each array of the flattened samples."""
    if not declared:
        return [None] * len(keras.tree.flatten(samples))
    if not isinstance(samples, Mapping):
        return [*declared]
    known = network.input
    by_key = known if isinstance(known, Mapping) else {tensor.name: tensor for tensor in declared}
    if set(samples) != set(by_key):
        raise DataError(
            f"model {network.name!r} has the inputs {', '.join(by_key)}, and samples has"
            f" {', '.join(map(str, samples))}"
        )
    return keras.tree.flatten({key: by_key[key] for key in samples})


def _check_number(
    network: keras.Model, samples: KerasTree, declared: Sequence[keras.KerasTensor]
) -> None:
    leaves = keras.tree.flatten(samples)
    if not leaves or not all(map(_is_array, leaves)):
        wrong = next((type(leaf).__name__ for leaf in leaves if not _is_array(leaf)), "nothing")
        raise DataError(
            "samples must be an array (N, ...), a list, tuple or dict of arrays for several"
            f" inputs, or a batched tf.data.Dataset; received {wrong} in a"
            f" {type(samples).__name__}"
        )
    if declared and len(leaves) != len(declared):
        hint = ""
        if len(declared) == 1 and len(leaves) == 2:
            hint = "; what is right for the inputs goes to targets="
        raise DataError(
            f"model {network.name!r} has {len(declared)} input{'s'[: len(declared) > 1]}, and"
            f" samples has {len(leaves)} arrays{hint}"
        )


def _names(samples: KerasTree, declared: Sequence[keras.KerasTensor]) -> list[str]:
    """Returns the names of the inputs in the file, in the order of the flattened samples."""
    if isinstance(samples, Mapping):
        paths = [path for path, _ in keras.tree.flatten_with_path(samples)]
        return numbered(["_".join(map(str, path)) for path in paths], "input")
    leaves = keras.tree.flatten(samples)
    # Keras numbers the inputs that nobody named, differently in each process.
    numbers = re.compile(r"(keras_tensor|input_layer|inputs?)(_\d+)?")
    given = ["" if numbers.fullmatch(tensor.name) else tensor.name for tensor in declared]
    return numbered(given or [""] * len(leaves), "input")


def _is_array(leaf: object) -> TypeGuard[np.ndarray]:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") or hasattr(leaf, "to_numpy")


def _array(name: str, leaf: np.ndarray, declared: keras.KerasTensor | None) -> np.ndarray:
    array = np.asarray(leaf)
    if array.dtype.kind in "OSUT":
        raise DataError(of_text(name))
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DataError(f"input {name!r} is of {array.dtype}, which no file reads")
    if not array.ndim:
        raise DataError(f"input {name!r} is one number; expected rows (N, ...)")
    if declared is not None:
        _check_shape(name, array, declared)
    wanted = _element_type(array)
    if declared is not None and declared.dtype == "bool":
        wanted = "bool"
    elif declared is not None and "int" in declared.dtype and wanted == "float32":
        wanted = "int32"
    converted = array.astype(wanted)
    if wanted != "float32" and not np.array_equal(converted, array):
        raise DataError(
            f"input {name!r} is {array.dtype} with values that {wanted} does not hold, which is"
            " what the file reads"
        )
    if not np.isfinite(converted).all():
        raise DataError(f"input {name!r} of the samples has values that are not finite")
    return converted


def _check_shape(name: str, array: np.ndarray, declared: keras.KerasTensor) -> None:
    expected, found = tuple(declared.shape), array.shape
    # Keras adds a last axis of one to rows that lack it.
    fits = len(expected) - len(found) in (0, 1) and all(
        size in (None, own)
        for size, own in zip(expected[1:], (*found, 1)[1 : len(expected)], strict=True)
    )
    if not fits:
        raise DataError(
            f"input {name!r} of the model has shape {expected}, and the samples have {found}"
        )


def _element_type(array: np.ndarray) -> ElementType:
    """Returns the type in which a file reads such numbers."""
    if array.dtype == np.uint8:
        return "uint8"
    kinds: dict[str, ElementType] = {"b": "bool", "i": "int32", "u": "int32"}
    return kinds.get(array.dtype.kind, "float32")


def _rows_of_dataset(dataset: tf.data.Dataset) -> tuple[KerasTree, KerasTree | None]:
    """Returns the inputs and targets of the first batches."""
    batches, rows = [], 0
    for element in dataset:
        batches.append(keras.utils.unpack_x_y_sample_weight(element)[:2])
        leaves = keras.tree.flatten(batches[-1][0])
        if any(isinstance(leaf, tf.RaggedTensor | tf.SparseTensor) for leaf in leaves):
            raise DataError("the dataset of samples has ragged or sparse rows: make them dense")
        rows += int(leaves[0].shape[0]) if leaves and leaves[0].shape.rank else 1
        if rows >= MOST_ROWS:
            break
    if not batches:
        raise DataError("the dataset of samples is empty")

    def joined(*parts: tf.Tensor) -> np.ndarray:
        if not parts[0].shape.rank:
            raise DataError("the dataset of samples is not batched: add .batch(32)")
        return np.concatenate([part.numpy() for part in parts])[:MOST_ROWS]

    inputs, targets = zip(*batches, strict=True)
    has_targets = targets[0] is not None
    try:
        return (
            keras.tree.map_structure(joined, *inputs),
            keras.tree.map_structure(joined, *targets) if has_targets else None,
        )
    except ValueError as error:
        raise DataError(
            "the dataset of samples has rows of different shapes; pad them to one length"
        ) from error
