"""The networks that `make equivalence` trains with `tfscale.Model` and with stock Keras, and their
data.

No network draws random numbers while it trains.

Shapes: N rows of the data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

BATCH_SIZE = 48
"""Rows of a batch: 4 replicas x 4 micro-batches divide it."""
ROWS = 3 * BATCH_SIZE
FEATURES, CLASSES, LENGTH, VOCABULARY = 6, 3, 7, 20

Arrays = np.ndarray | list[np.ndarray]
layers = keras.layers


@dataclass(frozen=True)
class Rows:
    """Inputs, targets and perhaps weights (N, ...), alone or in lists."""

    x: Arrays
    y: Arrays
    sample_weight: Arrays | None = None

    def reordered(self, seed: int) -> "Rows":
        """Returns the rows with those of each batch in another order; the batches stay.

        Every loss and gradient is then the same sum in another order.
        """
        first = self.x[0] if isinstance(self.x, list) else self.x
        rng = np.random.default_rng(seed)
        starts = range(0, len(first), BATCH_SIZE)
        order = np.concatenate(
            [s + rng.permutation(min(BATCH_SIZE, len(first) - s)) for s in starts]
        )
        take = keras.tree.map_structure
        weights = self.sample_weight
        return Rows(
            take(lambda array: array[order], self.x),
            take(lambda array: array[order], self.y),
            None if weights is None else take(lambda array: array[order], weights),
        )


def labelled(rows: int = ROWS) -> Rows:
    """Returns rows of numbers (N, FEATURES) and labels (N,) that depend on them."""
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (rows, FEATURES)).astype("float32")
    scores = x @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(rows, CLASSES))
    return Rows(x, scores.argmax(-1))


def measured(rows: int = ROWS) -> Rows:
    """Returns rows of numbers (N, FEATURES), and two numbers (N, 2) that depend on them."""
    x = labelled(rows).x
    assert isinstance(x, np.ndarray)
    return Rows(x, np.stack([np.tanh(x[:, 0]), x[:, 1] - x[:, 2]], -1).astype("float32"))


def texts() -> Rows:
    """Returns ids (N, LENGTH), 0 behind the end of each text, and whether id 1 is among them."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCABULARY, (ROWS, LENGTH))
    ids[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, (ROWS, 1))] = 0
    ids[rng.random(ROWS) < 0.4, 0] = 1
    return Rows(ids.astype("int32"), (ids == 1).any(-1).astype("int32"))


def images() -> Rows:
    """Returns images (N, 8, 8, 1) and labels (N,): the quarter with the bright spot."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, ROWS)
    x = rng.normal(0, 0.5, (ROWS, 8, 8, 1)).astype("float32")
    for row, quarter in enumerate(y):
        top, left = 4 * (quarter // 2), 4 * (quarter % 2)
        x[row, top + 1 : top + 3, left + 1 : left + 3] += 2
    return Rows(x, y)


def texts_and_numbers() -> Rows:
    """Returns two inputs and two targets, one a number for each id, and weights for both."""
    ids, numbers = texts().x, labelled()
    rng = np.random.default_rng(1)
    tags = np.stack([ids == 1, ids], -1).astype("float32") / VOCABULARY
    shapes = (ROWS, LENGTH), (ROWS,)
    weights = [rng.random(shape).astype("float32") for shape in shapes]
    return Rows([ids, numbers.x], [tags, numbers.y], weights)


def classifier() -> keras.Model:
    """A classifier of numbers; its layers' state comes from the data before training, or from a row
    by itself."""
    normalization = layers.Normalization()
    normalization.adapt(labelled().x)
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            normalization,
            layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.LayerNormalization(),
            layers.Dense(CLASSES, "softmax"),
        ]
    )


def regression() -> keras.Model:
    """Two numbers from several."""
    return keras.Sequential([keras.Input((FEATURES,)), layers.Dense(16, "tanh"), layers.Dense(2)])


def text_classifier() -> keras.Model:
    """Embedding, bidirectional LSTM and sigmoid, with a mask."""
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(VOCABULARY, 8, mask_zero=True),
            layers.Bidirectional(layers.LSTM(8)),
            layers.Dense(1, "sigmoid"),
        ]
    )


def two_outputs() -> keras.Model:
    """Two inputs, and two outputs of which one is masked."""
    ids, numbers = keras.Input((LENGTH,), dtype="int32"), keras.Input((FEATURES,))
    hidden = layers.Embedding(VOCABULARY, 8, mask_zero=True)(ids)
    tags = layers.GRU(8, return_sequences=True)(hidden)
    tags = layers.Dense(2, name="tags")(tags)
    text = layers.GlobalAveragePooling1D()(hidden)
    both = layers.Concatenate()([text, layers.Dense(8, "relu")(numbers)])
    return keras.Model([ids, numbers], [tags, layers.Dense(CLASSES, name="label")(both)])


def cnn(normalization: Callable[[], keras.layers.Layer] | None = None) -> keras.Model:
    """Two convolutions and a softmax, with a normalization in between."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(6, 3, padding="same"),
            *([normalization()] if normalization else []),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4, "softmax"),
        ]
    )
