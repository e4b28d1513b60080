"""Batches of a dataset of one's own: checked in its map function, and padded to one shape.

The checks run where the dataset runs, beside the train step, and cost it nothing: no number leaves
the device for them.

Shapes: B rows and T tokens of the batches that are given out, b <= B and t <= T those of a batch as
it is read.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfscale.errors import DataError
from tfscale.models.outputs import Vocabulary
from tfscale.training.fit.arrays import LEAVE_OUT
from tfscale.training.fit.input_errors import plain_errors, refuse_where

_NAMES = ("ids", "targets", "weights")


def check_spec(spec: object) -> None:
    """Refuses a dataset whose elements cannot be batches, as far as its spec says.

    Raises:
        DataError: says what it gives.
    """
    wanted = (
        "the dataset must give (ids, targets) or (ids, targets, weights), each one tensor of a"
        " batch"
    )
    if not isinstance(spec, tuple | list) or len(spec) not in (2, 3):
        raise DataError(f"{wanted}; it gives {spec}")
    for name, part in zip(_NAMES, spec, strict=False):
        if isinstance(part, tf.RaggedTensorSpec):
            raise DataError(
                f"the dataset's {name} are ragged: map it by lambda *parts: [part.to_tensor() for"
                " part in parts], with default_value=-100 for the targets"
            )
        if not isinstance(part, tf.TensorSpec):
            raise DataError(f"{wanted}; its {name} are {part}")
        is_mask = name == "weights" and part.dtype == tf.bool
        if not (part.dtype.is_integer or part.dtype.is_floating or is_mask):
            raise DataError(f"the dataset's {name} must be numbers; they are {part.dtype.name}")
    check_ids(spec[0].shape)


def is_fixed(spec: Sequence[tf.TensorSpec]) -> bool:
    """Returns whether all batches have the shapes and types that a step takes.

    The targets of a task may be fewer than its ids: a label of a whole text is one target.
    """
    wanted = zip(spec, (tf.int32, tf.int32, tf.float32), strict=False)
    fixed = all(
        part.shape.rank == 2 and part.shape.is_fully_defined() and part.dtype == kind
        for part, kind in wanted
    )
    return fixed and spec[-1].shape == spec[1].shape


def check_ids(shape: tf.TensorShape) -> None:
    """Refuses ids that are not a batch of rows.

    Raises:
        DataError: names their shape.
    """
    if not shape.is_compatible_with([None, None]):
        raise DataError(f"ids must be (B, T); the dataset gives {shape}; has it been batched?")


def check_alike(shapes: Sequence[tf.TensorShape]) -> None:
    """Refuses shapes of ids, targets and perhaps weights that cannot belong together.

    Sizes that are not known are not compared.

    Raises:
        DataError: names all of them.
    """
    ids, targets, *weights = shapes
    fits = ids.is_compatible_with(targets)
    if weights and ids.rank == 2:
        rows, length = ids.as_list()
        weight_shapes = ([rows], [rows, 1], [rows, length])
        fits &= any(weights[0].is_compatible_with(shape) for shape in weight_shapes)
    if not fits:
        named = ", ".join(f"{name} {shape}" for name, shape in zip(_NAMES, shapes, strict=False))
        raise DataError(
            "ids and targets must be (B, T) alike, and weights (B,), (B, 1) or (B, T); the dataset"
            f" gives {named}"
        )


def largest_shape(dataset: tf.data.Dataset) -> tuple[int, int, tuple[int, ...]]:
    """Rows and length (B, T) of a dataset's batches, and the rank of each of its parts.

    They come from its spec; or, where that is open, from its first batch; or, where the length is
    open and the number of batches is known, from the longest one, which reads the dataset once.

    Raises:
        DataError: it is empty, or its ids are not (B, T).
    """
    spec = dataset.element_spec
    check_alike([part.shape for part in spec])
    shape = spec[0].shape
    ranks = tuple(part.shape.rank for part in spec)
    if shape.is_fully_defined() and None not in ranks:
        return int(shape[0]), int(shape[1]), ranks
    with plain_errors():
        first = next(iter(dataset.take(1)), None)
    if first is None:
        raise DataError("the dataset is empty: there is nothing to train on")
    check_ids(first[0].shape)
    check_alike([part.shape for part in first])
    rows, length = (int(size) for size in first[0].shape)
    if (shape.rank is None or shape[1] is None) and int(dataset.cardinality()) >= 0:
        sizes = dataset.map(lambda ids, *_: tf.shape(ids)).reduce(
            tf.zeros((2,), tf.int32), tf.maximum
        )
        rows, length = (int(size) for size in sizes)
    if not rows * length:
        raise DataError(f"the dataset's ids are {(rows, length)}: there is nothing to train on")
    return rows, length, tuple(part.shape.rank for part in first)


def cleaned(
    number: tf.Tensor,
    batch: tuple[tf.Tensor, ...],
    shape: tuple[int, int],
    ranks: tuple[int, ...],
    vocabulary: Vocabulary | None,
) -> tuple[tf.Tensor, ...]:
    """Returns one batch, checked: each tensor (B, T), with weights of 0 for what does not count.

    Negative targets do not count, nor does the padding.

    Args:
        number: of the batch, from 1.
        batch: ids (b, t), targets (b, t) and perhaps weights (b,), (b, 1) or (b, t).
        shape: (B, T).
        ranks: of the parts, where the dataset's spec does not say them.
        vocabulary: the ids that exist; None takes all.
    """
    ranked = zip(batch, ranks, strict=True)
    batch = tuple(tf.ensure_shape(tensor, [None] * rank) for tensor, rank in ranked)
    with tf.control_dependencies(_shape_checks(number, batch, shape)):
        ids, targets, *weights = (tf.identity(part) for part in batch)
    ids, targets = _whole(number, "ids", ids), _whole(number, "targets", targets)
    size = tf.shape(ids)
    counted = _per_token(number, weights[0], size) if weights else tf.ones(size)
    if vocabulary is not None:
        wrong = (ids < 0) | (ids >= vocabulary.inputs)
        too_high = targets >= vocabulary.targets
        checks = [
            _range_check(number, "id", ids, wrong, vocabulary.inputs),
            _range_check(number, "target", targets, too_high, vocabulary.targets),
        ]
        with tf.control_dependencies(checks):
            counted = tf.where(targets < 0, 0.0, counted)
            targets = tf.maximum(targets, 0)
    padding = [[0, shape[0] - size[0]], [0, shape[1] - size[1]]]
    tensors = (ids, targets, counted)
    return tuple(tf.ensure_shape(tf.pad(tensor, padding), shape) for tensor in tensors)


def _shape_checks(
    number: tf.Tensor, batch: tuple[tf.Tensor, ...], shape: tuple[int, int]
) -> list[tf.Tensor]:
    sizes = [tf.shape(part) for part in batch]
    rows, length = sizes[0][0], sizes[0][1]

    def described() -> tf.Tensor:
        places = ", ".join(f"{name} {{}}" for name, _ in zip(_NAMES, sizes, strict=False))
        return tf.strings.format("batch {} does not fit together: " + places, (number, *sizes))

    alike = tf.reduce_all(sizes[0] == sizes[1])
    if len(batch) == 3:
        alike &= sizes[2][0] == rows
        if batch[2].shape.rank == 2:
            alike &= (sizes[2][1] == length) | (sizes[2][1] == 1)
    return [
        refuse_where(~alike, described),
        refuse_where(
            rows > shape[0],
            lambda: tf.strings.format(
                f"batch {{}} has {{}} rows, and the first one {shape[0]}; give batches of one size,"
                " the last one may be smaller",
                (number, rows),
            ),
        ),
        refuse_where(
            length > shape[1],
            lambda: tf.strings.format(
                f"batch {{}} has windows of {{}} tokens, and the first one of {shape[1]}; pad all"
                " to one length, as by padded_batch(..., padded_shapes=...), with targets of -100",
                (number, length),
            ),
        ),
    ]


def _whole(number: tf.Tensor, name: str, values: tf.Tensor) -> tf.Tensor:
    numbers = tf.cast(values, tf.int32)
    if values.dtype != tf.int32:
        same = tf.cast(numbers, values.dtype) == values
        check = refuse_where(
            ~tf.reduce_all(same),
            lambda: tf.strings.format(
                f"{name} must be whole numbers of 32 bits; batch {{}} has {{}}",
                (number, _first(values, ~same)),
            ),
        )
        with tf.control_dependencies([check]):
            return tf.identity(numbers)
    return numbers


def _per_token(number: tf.Tensor, weights: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    weights = tf.cast(weights, tf.float32)
    wrong = ~tf.math.is_finite(weights) | (weights < 0)
    check = refuse_where(
        tf.reduce_any(wrong),
        lambda: tf.strings.format(
            "weights must be finite and not negative; batch {} has {}",
            (number, _first(weights, wrong)),
        ),
    )
    with tf.control_dependencies([check]):
        weights = weights[:, tf.newaxis] if weights.shape.rank == 1 else weights
        return tf.broadcast_to(weights, shape)


def _range_check(
    number: tf.Tensor, name: str, values: tf.Tensor, wrong: tf.Tensor, size: int
) -> tf.Tensor:
    hint = LEAVE_OUT if name == "target" else ""

    def described() -> tf.Tensor:
        place = tf.where(wrong)[0]
        return tf.strings.format(
            f"{name} {{}} in row {{}}, column {{}} of batch {{}} is outside of the model's"
            f" vocabulary, 0 to {size - 1}{hint}",
            (tf.gather_nd(values, place), place[0], place[1], number),
        )

    return refuse_where(tf.reduce_any(wrong), described)


def _first(values: tf.Tensor, wrong: tf.Tensor) -> tf.Tensor:
    return tf.boolean_mask(values, wrong)[0]
