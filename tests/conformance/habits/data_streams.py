"""Datasets, generators and `PyDataset`."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Data: datasets and generators"
X, Y = samples.regression()
W = samples.weights_of()


def rows(*arrays: np.ndarray, batch: int = 8) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches once."""
    for start in range(0, len(arrays[0]), batch):
        yield tuple(array[start : start + batch] for array in arrays)


def forever(*arrays: np.ndarray, batch: int = 8) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields batches again and again."""
    while True:
        yield from rows(*arrays, batch=batch)


def unknown_length(*arrays: np.ndarray) -> tf.data.Dataset:
    """Returns batches whose number TensorFlow cannot know."""
    return samples.dataset(*arrays).filter(lambda *_: True)


COUNT = (
    "data of unknown length: Keras counts one step more at the end of each epoch, so schedules and"
    " Adam's corrections run ahead"
)


class Batches(keras.utils.PyDataset):
    """Batches by their index, in an order that changes at the end of an epoch."""

    def __init__(self, *arrays: object, endless: bool = False, **options: object) -> None:
        super().__init__(**options)
        self.arrays = arrays
        self.endless = endless
        self.ended = 0

    @property
    def num_batches(self) -> int | None:
        return None if self.endless else 3

    def __getitem__(self, index: int) -> tuple[object, ...]:
        # Threads read ahead of the end of an endless epoch, so all its batches are alike.
        start = 0 if self.endless else 8 * ((index + self.ended) % 3)
        return keras.tree.map_structure(lambda array: array[start : start + 8], self.arrays)

    def on_epoch_end(self) -> None:
        self.ended += 1


@habits(
    GROUP,
    {
        "a batched tf.data dataset": lambda: samples.dataset(X, Y),
        "a dataset with weights": lambda: samples.dataset(X, Y, W),
        "a dataset that shuffles": lambda: samples.dataset(X, Y).shuffle(3, seed=3),
        "a PyDataset": lambda: Batches(X, Y),
        "a PyDataset with weights": lambda: Batches(X, Y, W),
        "a PyDataset with two threads": lambda: Batches(X, Y, workers=2, max_queue_size=4),
    },
)
def streams(trial: Trial, make: Callable[[], object]) -> None:
    """`fit` of {}"""
    model = trial.compiled(samples.dense(), metrics=["mae"], weighted_metrics=["mse"])
    trial.fit(model, make(), epochs=2)


@habits(
    GROUP,
    {
        "a dataset of unknown length": lambda: unknown_length(X, Y),
        "a generator": lambda: rows(X, Y),
        "a generator with weights": lambda: rows(X, Y, W),
    },
    right=COUNT,
)
def streams_of_unknown_length(trial: Trial, make: Callable[[], object]) -> None:
    """`fit` of {}; the optimizer counts the batches"""
    model = trial.compiled(samples.dense(), metrics=["mae"], weighted_metrics=["mse"])
    trial.fit(model, make())
    trial.expect("iterations", 3)


@habit(GROUP, right=COUNT)
def adam_over_unknown_length(trial: Trial) -> None:
    """Adam on a dataset of unknown length gives the weights of one of known length"""
    plain = samples.dense()
    plain.compile("adam", "mse", jit_compile=False)
    network = samples.dense()
    plain.set_weights(network.get_weights())
    history = plain.fit(samples.dataset(X, Y), epochs=3, verbose=0)
    model = trial.compiled(network, optimizer="adam")
    history_found = model.fit(unknown_length(X, Y), epochs=3, verbose=0)
    trial.keep("history", history_found.history)
    trial.expect("history", history.history)
    trial.expect("weights", plain.get_weights())
    trial.expect("iterations", 9)
    trial.expect("slots", [variable.numpy() for variable in plain.optimizer.variables[1:]])


@habits(
    GROUP,
    {
        "a repeated dataset": lambda: samples.dataset(X, Y).repeat(),
        "a dataset of known length": lambda: samples.dataset(X, Y),
        "a dataset that goes on over epochs": lambda: samples.dataset(X, Y).repeat(3),
        "a dataset of unknown length": lambda: unknown_length(X, Y).repeat(),
        "an endless generator": lambda: forever(X, Y),
        "an endless PyDataset": lambda: Batches(X, Y, endless=True),
    },
)
def stepped(trial: Trial, make: Callable[[], object]) -> None:
    """{} with `steps_per_epoch`"""
    model = trial.compiled(samples.dense())
    trial.fit(model, make(), steps_per_epoch=2, epochs=3)


@habit(GROUP)
def data_that_runs_out(trial: Trial) -> None:
    """a dataset that ends before `steps_per_epoch` is reached"""
    model = trial.compiled(samples.dense())
    trial.fit(model, samples.dataset(X, Y), steps_per_epoch=5, epochs=2)


@habit(GROUP, right=COUNT, slow=True)
def generator_that_runs_out(trial: Trial) -> None:
    """a generator that ends in the middle of the second epoch"""
    model = trial.compiled(samples.dense())
    trial.fit(model, rows(X, Y), steps_per_epoch=2, epochs=2)
    trial.expect("iterations", 3)


@habit(GROUP, right=COUNT, slow=True)
def sequences_of_other_lengths(trial: Trial) -> None:
    """a generator whose sequences have another length in each batch"""

    def lengths() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for length in (2, 4, 3):
            yield np.full((3, length), length), np.ones((3, 1), "float32")

    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(6, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    trial.fit(trial.compiled(network), lengths())
    trial.expect("iterations", 3)


@habit(GROUP, right=COUNT, slow=True)
def batches_of_other_sizes(trial: Trial) -> None:
    """a dataset whose batches have 2, 3 and 4 rows in turn; the loss is the mean over rows"""
    signature = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 3)))

    def sizes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start, end in ((0, 2), (2, 5), (5, 9), (9, 11)):
            yield X[start:end], Y[start:end]

    model = trial.compiled(samples.dense(), metrics=["mae"])
    data = tf.data.Dataset.from_generator(sizes, output_signature=signature)
    trial.fit(model, data, epochs=2)
    trial.evaluate(model, data)
    trial.predict(model, data.map(lambda x, _: x))
    trial.expect("iterations", 8)


@habit(GROUP)
def dict_dataset(trial: Trial) -> None:
    """a dataset of dicts of inputs and of targets"""
    x, targets = samples.two_targets()
    first = samples.two_outputs()
    inputs = keras.Input((4,), name="features")
    model = trial.compiled(keras.Model({"features": inputs}, first(inputs)), samples.TWO_LOSSES)
    trial.fit(model, samples.dataset({"features": x}, targets), epochs=2)


@habit(GROUP, slow=True)
def dict_py_dataset(trial: Trial) -> None:
    """a PyDataset of dicts of inputs"""
    model = trial.compiled(samples.two_inputs())
    trial.fit(model, Batches({"left": X, "right": X[::-1]}, Y), epochs=2)


@habit(GROUP, slow=True)
def py_dataset_class_weight(trial: Trial) -> None:
    """a PyDataset with `class_weight`"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), "sparse_categorical_crossentropy")
    trial.fit(model, Batches(x, y), class_weight={0: 0.5, 1: 2.0, 2: 1.0})


@habit(GROUP)
def py_dataset_order(trial: Trial) -> None:
    """a PyDataset without `shuffle`, whose `on_epoch_end` changes the order"""
    data = Batches(X, Y)
    trial.fit(trial.compiled(samples.dense()), data, shuffle=False, epochs=3)
    trial.keep("ended", data.ended)


@habit(GROUP, slow=True)
def padded_batches(trial: Trial) -> None:
    """a dataset of batches made by `padded_batch`"""
    ids, y = samples.sentences()
    lengths = (ids != 0).sum(axis=1)
    data = tf.data.Dataset.from_tensor_slices((tf.RaggedTensor.from_tensor(ids, lengths), y))
    dense = data.map(lambda row, label: (row[:], label)).padded_batch(6, ([5], []))
    network = samples.reader(keras.layers.LSTM(3))
    trial.fit(trial.compiled(network, "sparse_categorical_crossentropy"), dense)


@habit(GROUP, slow=True)
def prefetched(trial: Trial) -> None:
    """a dataset with `cache`, `map` in parallel and `prefetch`"""
    data = samples.dataset(X, Y).map(lambda x, y: (2 * x, y), num_parallel_calls=2)
    trial.fit(trial.compiled(samples.dense()), data.cache().prefetch(2), epochs=2)


@habit(GROUP, right=COUNT, slow=True)
def sparse_generator(trial: Trial) -> None:
    """a generator of `tf.SparseTensor` batches"""

    def batches() -> Iterator[tuple[tf.SparseTensor, np.ndarray]]:
        for x, y in rows(np.where(X > 0.5, X, 0), Y):
            yield tf.sparse.from_dense(x), y

    network = keras.Sequential([keras.Input((4,), sparse=True), keras.layers.Dense(3)])
    trial.fit(trial.compiled(network), batches())
    trial.expect("iterations", 3)
