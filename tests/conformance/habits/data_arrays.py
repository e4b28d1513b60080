"""Arrays, in every form that Keras takes."""

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import scipy.sparse
import tensorflow as tf

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Data: arrays"
X, Y = samples.regression()


@habits(
    GROUP,
    {
        "float32 arrays": (X, Y),
        "float64 arrays": (X.astype("float64"), Y.astype("float64")),
        "integer arrays": ((X * 9).astype("int64"), (Y * 9).astype("int32")),
        "boolean inputs": (X > 0.5, Y),
        "TensorFlow tensors": (tf.constant(X), tf.constant(Y)),
        "pandas frames": (pd.DataFrame(X), pd.DataFrame(Y)),
    },
)
def arrays(trial: Trial, data: object) -> None:
    """`fit` of {}, with an uneven last batch"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    trial.fit(model, *data, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def series_target(trial: Trial) -> None:
    """a pandas frame as inputs and a pandas series as labels"""
    x, y = samples.labelled()
    model = trial.compiled(samples.classifier(), "sparse_categorical_crossentropy")
    trial.fit(model, pd.DataFrame(x), pd.Series(y), batch_size=8)


@habit(GROUP, slow=True)
def labels_of_one_axis(trial: Trial) -> None:
    """labels (N,) for a network of one output (N, 1), with `metrics=["accuracy"]`"""
    x, y = samples.binary()
    model = trial.compiled(samples.dense(1, "sigmoid"), "binary_crossentropy", metrics=["accuracy"])
    trial.fit(model, x, y[:, 0], batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def inputs_as_list(trial: Trial) -> None:
    """two inputs as a list of arrays"""
    left, right = keras.Input((4,)), keras.Input((4,))
    network = keras.Model([left, right], keras.layers.Dense(3)(left + 2 * right))
    model = trial.compiled(network)
    trial.fit(model, [X, X[::-1]], Y, batch_size=8)
    trial.predict(model, [X, X[::-1]], batch_size=8)


@habit(GROUP, slow=True)
def inputs_as_tuple(trial: Trial) -> None:
    """two inputs as a tuple of arrays, to a subclassed model"""

    class Both(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, inputs: object) -> object:
            first, second = inputs
            return self.dense(first - second)

    model = trial.compiled(Both())
    trial.fit(model, (X, X[::-1]), Y, batch_size=8)
    trial.predict(model, (X, X[::-1]), batch_size=8)


@habit(GROUP)
def inputs_as_dict(trial: Trial) -> None:
    """two inputs as a dict of arrays, for `fit`, `evaluate` and `predict`"""
    model = trial.compiled(samples.two_inputs())
    inputs = {"left": X, "right": X[::-1]}
    trial.fit(model, inputs, Y, batch_size=8, epochs=2)
    trial.evaluate(model, inputs, Y, batch_size=8)
    trial.predict(model, inputs, batch_size=8)


@habit(GROUP, slow=True)
def inputs_in_other_order(trial: Trial) -> None:
    """a dict of inputs in another order than the network's"""
    model = trial.compiled(samples.two_inputs())
    trial.fit(model, {"right": X[::-1], "left": X}, Y, batch_size=8)


@habit(GROUP, slow=True)
def inputs_more_than_needed(trial: Trial) -> None:
    """a dict of inputs with one more than the network has"""
    model = trial.compiled(samples.two_inputs())
    trial.fit(model, {"left": X, "other": X, "right": X[::-1]}, Y, batch_size=8)


@habit(GROUP)
def targets_as_dict(trial: Trial) -> None:
    """targets as a dict by the outputs' names"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(), samples.TWO_LOSSES)
    trial.fit(model, x, targets, batch_size=8, epochs=2)
    trial.evaluate(model, x, targets, batch_size=8)


@habit(GROUP, slow=True)
def targets_as_list(trial: Trial) -> None:
    """targets as a list, in the outputs' order"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(False), list(samples.TWO_LOSSES.values()))
    trial.fit(model, x, list(targets.values()), batch_size=8, epochs=2)
    trial.predict(model, x, batch_size=8)


@habit(GROUP)
def targets_by_name_outputs_as_list(trial: Trial) -> None:
    """targets and losses by name for a functional model of a list of outputs"""
    x, targets = samples.two_targets()
    model = trial.compiled(samples.two_outputs(False), samples.TWO_LOSSES)
    trial.fit(model, x, targets, batch_size=8)


@habit(GROUP)
def no_targets(trial: Trial) -> None:
    """no targets, because the network adds its loss itself"""

    class Cost(keras.layers.Layer):
        def call(self, inputs: object) -> object:
            self.add_loss(keras.ops.mean(keras.ops.square(inputs)))
            return inputs

    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Cost()])
    model = trial.compiled(network, loss=None)
    trial.fit(model, X, batch_size=8, epochs=2)


@habit(GROUP, slow=True)
def autoencoder(trial: Trial) -> None:
    """inputs that are the targets, too"""
    model = trial.compiled(samples.dense(4), metrics=["mse"])
    trial.fit(model, X, X, batch_size=8, epochs=2, validation_split=0.2)


@habit(GROUP, slow=True)
def scalar_inputs(trial: Trial) -> None:
    """inputs of one number a row, (N,)"""
    network = keras.Sequential([keras.Input(()), keras.layers.Reshape((1,)), keras.layers.Dense(1)])
    model = trial.compiled(network)
    trial.fit(model, X[:, 0], Y[:, :1], batch_size=8)


@habits(
    GROUP,
    {
        "TensorFlow": lambda: tf.sparse.from_dense(np.where(X > 0.5, X, 0)),
        "SciPy": lambda: scipy.sparse.csr_matrix(np.where(X > 0.5, X, 0)),
    },
)
def sparse_arrays(trial: Trial, make: Callable[[], object]) -> None:
    """sparse inputs of {}"""
    network = keras.Sequential([keras.Input((4,), sparse=True), keras.layers.Dense(3)])
    trial.fit(trial.compiled(network), make(), Y, batch_size=8, shuffle=False)


@habit(GROUP)
def ragged_tensors(trial: Trial) -> None:
    """`tf.RaggedTensor` inputs to a subclassed model"""

    class Mean(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs: object) -> object:
            return self.dense(tf.reduce_mean(inputs, axis=1, keepdims=True))

    rows = tf.ragged.constant([[1.0], [2.0, 3.0], [4.0, 5.0, 6.0], [7.0]])
    model = trial.compiled(Mean())
    trial.fit(model, rows, Y[:4, :1], batch_size=2, shuffle=False)


@habit(GROUP, slow=True)
def text_inputs(trial: Trial) -> None:
    """strings, which a `TextVectorization` in the model turns into ids"""
    texts = np.array(["a b", "b c", "c a", "a a", "b b"], dtype=object)
    vectorize = keras.layers.TextVectorization(output_sequence_length=3)
    vectorize.adapt(texts)
    network = keras.Sequential(
        [
            keras.Input((), dtype="string"),
            vectorize,
            keras.layers.Embedding(8, 4),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    model = trial.compiled(network)
    trial.fit(model, tf.constant(list(texts)), Y[:5, :1], batch_size=2)
