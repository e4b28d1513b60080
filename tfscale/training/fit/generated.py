"""Batches that Python code makes while it trains: generators, iterators, `keras.utils.PyDataset`.

They are read as Keras reads them. A `PyDataset` begins anew in each epoch, and its methods for the
beginning and the end of an epoch are called. What an iterator has given does not come back.

Shapes: B rows and T tokens of the first batch; a later batch may have fewer rows.
"""

import tensorflow as tf

from tfscale.compat.keras import one_line
from tfscale.compat.keras_data import GeneratedData, first_rows, is_generated
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError, DataError
from tfscale.training.fit.dataset_checks import check_ids, check_spec
from tfscale.training.fit.parts import one_tensor_each

__all__ = ["Generated", "is_generated"]


class Generated:
    """A generator, iterator or `PyDataset` as a dataset, with the shape that its batches get.

    Args:
        x: the source.
        y: must be None.
        sample_weight: must be None.
        shuffle: whether the batches of a `PyDataset` come in random order.
        workers: the processes that read it.

    Attributes:
        dataset: (ids, targets[, weights]); one pass, or what is left of an iterator.
        shape: (B, T) of the first batch.
        count: batches of a pass; None where it is not known.
        once: whether what was read does not come back.

    Raises:
        ConfigError: targets or weights beside it, or parameter servers.
        DataError: no batch, or batches that are no (ids, targets[, weights]).
    """

    def __init__(
        self, x: object, y: object, sample_weight: object, shuffle: bool, workers: Workers
    ):
        kind = type(x).__name__
        if y is not None or sample_weight is not None:
            raise ConfigError(
                f"y and sample_weight are part of what the {kind} gives: batches of (ids, targets[,"
                " weights])"
            )
        if is_asynchronous(workers.strategy):
            raise ConfigError(
                f"under parameter servers the workers read the data, and a {kind} is in this"
                " process alone; give a function of tf.distribute.InputContext -> tf.data.Dataset"
            )
        try:
            self._data = GeneratedData(x, shuffle)
        except (ValueError, TypeError, IndexError) as error:
            raise DataError(
                f"the {kind} gives no batches (ids, targets): {one_line(error)}"
            ) from error
        self.dataset = one_tensor_each(self._data.dataset)
        check_spec(self.dataset.element_spec)
        shape = first_rows(self._data.first)
        check_ids(tf.TensorShape(shape))
        rows, length = shape
        if not rows * length:
            raise DataError(
                f"the {kind}'s first ids are {(rows, length)}: there is nothing to read"
            )
        self.shape = (rows, self.dataset.element_spec[0].shape[1] or length)
        self.count, self.once = self._data.count, self._data.once
        # Keras calls it before the first epoch, too, and a `PyDataset` may shuffle its rows there.
        self.end_epoch()

    def begin_epoch(self) -> None:
        """Tells a `PyDataset` that an epoch begins."""
        self._data.begin_epoch()

    def end_epoch(self) -> None:
        """Tells a `PyDataset` that an epoch has ended."""
        self._data.end_epoch()
