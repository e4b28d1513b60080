"""The small arrays and networks that the habits share. Every call makes new ones, always equal."""

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers
Arrays = tuple[np.ndarray, np.ndarray]

ROWS, WIDTH, OUTPUTS, CLASSES = 22, 4, 3, 3
"""22 rows make uneven last batches of 8 and of 5."""
VOCABULARY, LENGTH = 9, 5


def regression(rows: int = ROWS, seed: int = 0) -> Arrays:
    """Returns inputs (rows, WIDTH) and targets (rows, OUTPUTS), float32."""
    random = np.random.RandomState(seed)
    return _floats(random, rows, WIDTH), _floats(random, rows, OUTPUTS)


def labelled(rows: int = ROWS, seed: int = 0) -> Arrays:
    """Returns inputs (rows, WIDTH) and classes (rows,)."""
    random = np.random.RandomState(seed)
    return _floats(random, rows, WIDTH), random.randint(0, CLASSES, rows)


def binary(rows: int = ROWS) -> Arrays:
    """Returns inputs (rows, WIDTH) and labels 0 or 1 (rows, 1)."""
    x, y = labelled(rows)
    return x, (y[:, None] > 0).astype("float32")


def one_hot(rows: int = ROWS) -> Arrays:
    """Returns inputs (rows, WIDTH) and classes as rows of 0 and 1 (rows, CLASSES)."""
    x, y = labelled(rows)
    return x, np.eye(CLASSES, dtype="float32")[y]


def sentences(rows: int = ROWS) -> Arrays:
    """Returns ids (rows, LENGTH), 0 where a sentence has ended, and classes (rows,)."""
    random = np.random.RandomState(1)
    ids = random.randint(1, VOCABULARY, (rows, LENGTH))
    lengths = random.randint(1, LENGTH + 1, rows)
    ids[np.arange(LENGTH) >= lengths[:, None]] = 0
    return ids, random.randint(0, CLASSES, rows)


def weights_of(rows: int = ROWS, *more: int) -> np.ndarray:
    """Returns weights between 0 and 2."""
    return 2 * _floats(np.random.RandomState(5), rows, *more)


def dataset(*arrays: object, batch: int = 8) -> tf.data.Dataset:
    """Returns batches of the arrays, one after the other."""
    return tf.data.Dataset.from_tensor_slices(tuple(arrays)).batch(batch)


def dense(outputs: int = OUTPUTS, activation: str | None = None) -> keras.Model:
    """Returns a hidden layer and an output layer, inputs (B, WIDTH)."""
    return keras.Sequential(
        [
            keras.Input((WIDTH,)),
            layers.Dense(5, activation="tanh"),
            layers.Dense(outputs, activation=activation),
        ]
    )


def classifier() -> keras.Model:
    """Returns a network that ends in probabilities of CLASSES classes."""
    return dense(CLASSES, "softmax")


def reader(layer: keras.layers.Layer, mask_zero: bool = True) -> keras.Model:
    """Returns embedding, a layer from (B, T, 4) to (B, C), and probabilities of classes."""
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(VOCABULARY, 4, mask_zero=mask_zero),
            layer,
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def two_inputs() -> keras.Model:
    """Returns a network of inputs `left` and `right`, each (B, WIDTH), and one output."""
    left, right = keras.Input((WIDTH,), name="left"), keras.Input((WIDTH,), name="right")
    both = layers.Concatenate()([layers.Dense(3)(left), layers.Dense(3)(right)])
    return keras.Model({"left": left, "right": right}, layers.Dense(OUTPUTS)(both))


def two_outputs(as_dict: bool = True) -> keras.Model:
    """Returns a network of the outputs `value` (B, OUTPUTS) and `kind` (B, CLASSES)."""
    inputs = keras.Input((WIDTH,))
    hidden = layers.Dense(5, activation="tanh")(inputs)
    value = layers.Dense(OUTPUTS, name="value")(hidden)
    kind = layers.Dense(CLASSES, activation="softmax", name="kind")(hidden)
    return keras.Model(inputs, {"value": value, "kind": kind} if as_dict else [value, kind])


def two_targets(rows: int = ROWS) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns inputs (rows, WIDTH), and targets of `two_outputs` by name."""
    x, value = regression(rows)
    return x, {"value": value, "kind": labelled(rows)[1]}


TWO_LOSSES = {"value": "mse", "kind": "sparse_categorical_crossentropy"}


def _floats(random: np.random.RandomState, *shape: int) -> np.ndarray:
    return random.random_sample(shape).astype("float32")
