"""Private names of Keras that read `keras.utils.PyDataset` and generators, as its own `fit` does.

A `PyDataset` may have workers that make its batches ahead, an order that is shuffled by batches,
and methods that are called between epochs; Keras's data adapters know all that, and nothing public
does.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

BatchTree = object
"""A batch as a generator gives it: a tuple of arrays, or of lists or dictionaries of them."""


class GeneratedData:
    """Batches of a `PyDataset` or of an iterator as a `tf.data.Dataset`.

    Args:
        x: a `keras.utils.PyDataset`, a generator or another iterator over batches.
        shuffle: whether the batches of a `PyDataset` come in random order, anew in each epoch.

    Attributes:
        dataset: one pass over a `PyDataset`; of an iterator what is left of it.
        first: the first batch, which is still among those of the dataset.
        count: batches of a pass; None where it is not known or has no end.
        once: whether what was read does not come back.

    Raises:
        ValueError: there is no batch, or a batch is no tuple; a line of Keras's says so.
    """

    def __init__(self, x: Any, shuffle: bool):
        from keras.src.trainers.data_adapters import get_data_adapter

        self.once = not isinstance(x, keras.utils.PyDataset)
        if isinstance(x, Iterator):
            # Keras takes generators alone, and of these tuples alone.
            given = x
            x = (keras.tree.lists_to_tuples(batch) for batch in given)
        endless = not self.once and x.num_batches is None
        self._adapter = get_data_adapter(x, shuffle=shuffle and not self.once and not endless)
        self.first: BatchTree = (
            self._adapter._first_batches[0]
            if self.once
            else self._adapter._standardize_batch(self._adapter.py_dataset[0])
        )
        self.dataset: tf.data.Dataset = self._adapter.get_tf_dataset()
        self.count: int | None = self._adapter.num_batches

    def begin_epoch(self) -> None:
        """Calls the `PyDataset`'s method for it, and starts its workers."""
        self._adapter.on_epoch_begin()

    def end_epoch(self) -> None:
        """Calls the `PyDataset`'s method for it, and stops its workers."""
        self._adapter.on_epoch_end()


def is_generated(x: object) -> bool:
    """Returns whether Python code makes the batches: a `PyDataset`, or an iterator that is no
    dataset's."""
    others = (tf.data.Iterator, tf.distribute.DistributedIterator)
    return isinstance(x, keras.utils.PyDataset) or (
        isinstance(x, Iterator) and not isinstance(x, others)
    )


def first_rows(batch: BatchTree) -> tuple[int, ...]:
    """Returns the shape of the first array of a batch."""
    return np.shape(next(part for part in keras.tree.flatten(batch) if part is not None))
