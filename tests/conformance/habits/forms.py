"""Forms of models."""

from collections.abc import Callable

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import habit, habits
from tests.conformance.trial import Trial

GROUP = "Forms of models"
X, Y = samples.regression()
IMAGES = np.random.RandomState(2).random_sample((12, 6, 6, 2)).astype("float32")
layers = keras.layers
FAST = {"class_name": "SGD", "config": {"learning_rate": 0.5, "momentum": 0.5}}
FIT = {"batch_size": 8, "epochs": 2, "batches": False}


class TwoLayers(keras.Model):
    """A subclassed model."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(5, activation="tanh")
        self.second = layers.Dense(3)

    def call(self, inputs: object) -> object:
        return self.second(self.first(inputs))


class WithTraining(TwoLayers):
    """A subclassed model that behaves otherwise in training."""

    def call(self, inputs: object, training: bool = False) -> object:
        outputs = super().call(inputs)
        return 2 * outputs if training else outputs


class OwnFunctional(keras.Model):
    """A class that makes a functional model of itself."""

    def __init__(self) -> None:
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(3)(layers.Dense(5)(inputs)))


def functional() -> keras.Model:
    """Returns a functional model with a skip connection."""
    inputs = keras.Input((4,))
    hidden = layers.Dense(4, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Add()([hidden, inputs])))


def nested() -> keras.Model:
    """Returns a functional model of a Sequential and a subclassed one."""
    inputs = keras.Input((4,))
    inner = keras.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(4)])
    return keras.Model(inputs, TwoLayers()(inner(inputs)))


def shared() -> keras.Model:
    """Returns a functional model that uses a layer twice."""
    inputs = keras.Input((4,))
    layer = layers.Dense(4, activation="tanh")
    return keras.Model(inputs, layers.Dense(3)(layer(layer(inputs))))


def sequential_of_models() -> keras.Model:
    """Returns a Sequential whose parts are models."""
    tail = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    return keras.Sequential([keras.Input((4,)), functional(), tail])


def with_ops() -> keras.Model:
    """Returns a functional model with operations between its layers."""
    inputs = keras.Input((4,))
    hidden = keras.ops.tanh(layers.Dense(6)(inputs))
    return keras.Model(inputs, layers.Dense(3)(hidden[:, :3] * hidden[:, 3:]))


@habits(
    GROUP,
    {
        "functional": functional,
        "Sequential": samples.dense,
        "Sequential, not built": lambda: keras.Sequential([layers.Dense(5), layers.Dense(3)]),
        "subclassed, not built": TwoLayers,
        "subclassed with training": WithTraining,
        "a class of a functional model": OwnFunctional,
        "nested": nested,
        "with a shared layer": shared,
        "a Sequential of models": sequential_of_models,
        "with operations": with_ops,
    },
)
def form(trial: Trial, make: Callable[[], keras.Model]) -> None:
    """a model: {}"""
    model = trial.compiled(make(), metrics=["mae"])
    trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
    trial.predict(model, X, batch_size=8)


@habits(
    GROUP,
    {
        "convolutions and pooling": [
            layers.Conv2D(3, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
        ],
        "separable convolutions": [
            layers.SeparableConv2D(3, 2),
            layers.DepthwiseConv2D(2),
            layers.GlobalAveragePooling2D(),
        ],
        "a normalization of groups": [
            layers.Conv2D(4, 2),
            layers.GroupNormalization(2),
            layers.GlobalMaxPooling2D(),
        ],
        "a transposed convolution": [layers.Conv2DTranspose(2, 2, strides=2), layers.Flatten()],
    },
)
def images(trial: Trial, hidden: list[keras.layers.Layer]) -> None:
    """images with {}"""
    copies = [type(layer).from_config(layer.get_config()) for layer in hidden]
    network = keras.Sequential([keras.Input((6, 6, 2)), *copies, layers.Dense(3)])
    model = trial.compiled(network, optimizer="adam")
    trial.fit(model, IMAGES, Y[:12], **FIT)


@habits(
    GROUP,
    {
        "LSTM": lambda: layers.LSTM(3),
        "GRU": lambda: layers.GRU(3),
        "SimpleRNN": lambda: layers.SimpleRNN(3),
        "bidirectional LSTM": lambda: layers.Bidirectional(layers.LSTM(3)),
        "stacked cells": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)]),
        "pooling": lambda: layers.GlobalAveragePooling1D(),
    },
)
def sequences(trial: Trial, make: Callable[[], keras.layers.Layer]) -> None:
    """`Embedding(mask_zero=True)` and {}"""
    network = samples.reader(make())
    model = trial.compiled(
        network, "sparse_categorical_crossentropy", optimizer=FAST, metrics=["accuracy"]
    )
    trial.fit(model, *samples.sentences(), **FIT)


@habit(GROUP, slow=True)
def transformer(trial: Trial) -> None:
    """a Transformer block: attention, skip connections, layer normalization"""
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(9, 4)(inputs)
    attended = layers.MultiHeadAttention(2, 2)(hidden, hidden, use_causal_mask=True)
    hidden = layers.LayerNormalization()(hidden + attended)
    outputs = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(hidden))
    model = trial.compiled(
        keras.Model(inputs, outputs), "sparse_categorical_crossentropy", optimizer=FAST
    )
    trial.fit(model, *samples.sentences(), **FIT)


@habit(GROUP, slow=True)
def token_labels(trial: Trial) -> None:
    """one label for each token, (N, T), with `TimeDistributed`"""
    ids, _ = samples.sentences()
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(9, 4),
            layers.LSTM(4, return_sequences=True),
            layers.TimeDistributed(layers.Dense(9, activation="softmax")),
        ]
    )
    model = trial.compiled(network, "sparse_categorical_crossentropy", metrics=["accuracy"])
    trial.fit(model, ids, np.roll(ids, -1, axis=1), **FIT)


class Structured(keras.Model):
    """A subclassed model of a dict of inputs and a nested structure of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(3), layers.Dense(3)

    def call(self, inputs: dict[str, object]) -> dict[str, object]:
        return {"one": self.one(inputs["left"]), "two": self.two(inputs["right"])}


@habit(GROUP, slow=True)
def dict_in_dict_out(trial: Trial) -> None:
    """a subclassed model from a dict of inputs to a dict of outputs"""
    model = trial.compiled(Structured(), {"one": "mse", "two": "mae"}, metrics={"one": ["mae"]})
    inputs, targets = {"left": X, "right": -X}, {"one": Y, "two": 1 - Y}
    trial.fit(model, inputs, targets, **FIT)
    trial.predict(model, inputs, batch_size=8)


@habit(GROUP, slow=True)
def tuple_out(trial: Trial) -> None:
    """a subclassed model that returns a tuple"""

    class Pair(TwoLayers):
        def call(self, inputs: object) -> tuple[object, object]:
            hidden = self.first(inputs)
            return self.second(hidden), hidden

    model = trial.compiled(Pair(), ["mse", "mae"])
    targets = (Y, np.zeros((samples.ROWS, 5), "float32"))
    trial.fit(model, X, targets, **FIT)
    trial.predict(model, X, batch_size=8)


@habit(GROUP, slow=True)
def nested_outputs(trial: Trial) -> None:
    """a functional model whose outputs are a dict of lists"""
    inputs = keras.Input((4,))
    heads = [layers.Dense(3, name=name)(inputs) for name in ("a", "b", "c")]
    network = keras.Model(inputs, {"pair": heads[:2], "single": heads[2]})
    model = trial.compiled(network, {"pair": ["mse", "mae"], "single": "mse"})
    trial.fit(model, X, {"pair": [Y, -Y], "single": 2 * Y}, **FIT)
    trial.predict(model, X, batch_size=8)


@habit(GROUP, slow=True)
def optional_input(trial: Trial) -> None:
    """a functional model with an optional input that is None"""
    first, second = keras.Input((4,), name="first"), keras.Input((4,), optional=True, name="second")

    class AddIf(layers.Layer):
        def call(self, one: object, other: object = None) -> object:
            return one if other is None else one + other

    outputs = layers.Dense(3)(AddIf()(first, second))
    model = trial.compiled(keras.Model({"first": first, "second": second}, outputs))
    trial.fit(model, {"first": X, "second": None}, Y, **FIT)


@habit(GROUP, slow=True)
def transferred(trial: Trial) -> None:
    """a trained model below a new head, frozen first, then trained (`trainable = True`)"""
    base = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.BatchNormalization()])
    base.trainable = False
    inputs = keras.Input((4,))
    network = keras.Model(inputs, layers.Dense(3)(base(inputs, training=False)))
    model = trial.compiled(network, optimizer="adam")
    trial.fit(model, X, Y, **FIT)
    base.trainable = True
    model.compile("adam", "mse", jit_compile=False)
    trial.fit(model, X, Y, **FIT)


@habit(GROUP, slow=True)
def cloned(trial: Trial) -> None:
    """`keras.models.clone_model` of a network, with its weights"""
    network = samples.dense()
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    trial.fit(trial.compiled(copy), X, Y, **FIT)
    trial.keep("untouched", network.get_weights())


@habit(GROUP)
def counted(trial: Trial) -> None:
    """`count_params`, the number of weights, `metrics_names` and `summary` of a compiled model"""
    model = trial.compiled(samples.dense(), metrics=["mae"])
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    trial.keep("parameters", model.count_params())
    trial.keep("weights of the model", [tuple(weight.shape) for weight in model.weights])
    trial.keep("trainable", len(model.trainable_weights))
    text = "\n".join(lines)
    trial.keep("in summary", [line for line in text.splitlines() if "rainable params" in line])
