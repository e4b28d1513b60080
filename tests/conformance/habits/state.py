"""State of the forward pass, masks, precision and XLA."""

from collections.abc import Callable

import keras
import numpy as np

from tests.conformance import samples
from tests.conformance.habit import Tolerance, habit, habits
from tests.conformance.trial import Trial

GROUP = "State, masks, precision and XLA"
X, Y = samples.regression()
layers = keras.layers
FIT = {"batch_size": 8, "epochs": 2, "batches": False}
HALF = Tolerance(relative=2e-2, absolute=2e-2)


@habits(
    GROUP,
    {
        "batch normalization": lambda: layers.BatchNormalization(momentum=0.5),
        "dropout": lambda: layers.Dropout(0.5, seed=3),
        "dropout without a seed": lambda: layers.Dropout(0.5),
        "Gaussian noise": lambda: layers.GaussianNoise(0.3, seed=3),
        "alpha dropout": lambda: layers.AlphaDropout(0.3, seed=3),
        "spectral normalization": lambda: layers.SpectralNormalization(layers.Dense(5)),
        "layer normalization": lambda: layers.LayerNormalization(),
        "unit normalization": lambda: layers.UnitNormalization(),
    },
    refused=("spectral normalization",),
)
def layer_with_state(trial: Trial, make: Callable[[], keras.layers.Layer]) -> None:
    """{} in the network"""
    network = keras.Sequential([keras.Input((4,)), layers.Dense(5), make(), layers.Dense(3)])
    model = trial.compiled(network, optimizer="adam")
    trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
    trial.evaluate(model, X, Y, batch_size=8)
    trial.keep("state", [variable.numpy() for variable in network.non_trainable_variables])


@habit(GROUP)
def own_counter(trial: Trial) -> None:
    """a layer that counts its calls in a weight that is not trained"""

    class Counter(layers.Layer):
        def build(self, shape: tuple[int, ...]) -> None:
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, inputs: object, training: bool = False) -> object:
            if training:
                self.calls.assign_add(1.0)
            return inputs

    network = keras.Sequential([keras.Input((4,)), Counter(), layers.Dense(3)])
    model = trial.compiled(network)
    trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
    trial.keep("calls of the layer", network.layers[0].calls)


@habit(GROUP, slow=True)
def adapted(trial: Trial) -> None:
    """`Normalization` that was adapted before"""
    scale = layers.Normalization()
    scale.adapt(X)
    network = keras.Sequential([keras.Input((4,)), scale, layers.Dense(3)])
    trial.fit(trial.compiled(network), X, Y, **FIT)


@habit(GROUP)
def stateful_lstm(trial: Trial) -> None:
    """`LSTM(stateful=True)` carries its state over batches; `reset_state` empties it"""
    network = keras.Sequential(
        [
            keras.Input(batch_shape=(4, 3, 2)),
            layers.LSTM(3, stateful=True),
            layers.Dense(1),
        ]
    )
    random = np.random.RandomState(4)
    inputs = random.random_sample((12, 3, 2)).astype("float32")
    model = trial.compiled(network)
    trial.fit(model, inputs, Y[:12, :1], batch_size=4, shuffle=False)
    network.layers[0].reset_state()
    trial.predict(model, inputs, batch_size=4)


@habit(GROUP, slow=True)
def noise_in_predict(trial: Trial) -> None:
    """dropout that is on in `predict`, too, draws anew at each batch and call"""
    inputs = keras.Input((20,))
    network = keras.Model(inputs, layers.Dropout(0.5, seed=3)(inputs, training=True))
    model = trial.model(network)
    for _ in range(2):
        trial.predict(model, np.ones((6, 20), "float32"), batch_size=4)


@habits(
    GROUP,
    {
        "mask_zero": lambda: [layers.Embedding(9, 4, mask_zero=True)],
        "Masking": lambda: [
            layers.Reshape((5, 1)),
            layers.Lambda(lambda ids: keras.ops.cast(ids, "float32")),
            layers.Masking(0.0),
        ],
    },
    slow=True,
)
def masked_loss(trial: Trial, make: Callable[[], list[keras.layers.Layer]]) -> None:
    """`{}` up to the loss of each time step, with and without weights"""
    ids, _ = samples.sentences()
    network = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            *make(),
            layers.LSTM(4, return_sequences=True),
            layers.Dense(9, activation="softmax"),
        ]
    )
    model = trial.compiled(
        network,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
    )
    trial.fit(model, ids, ids, **FIT)
    weights = samples.weights_of(samples.ROWS, 5)
    trial.fit(model, ids, ids, sample_weight=weights, **FIT)
    trial.evaluate(model, ids, ids, batch_size=8)


@habit(GROUP)
def masked_loss_by_hand(trial: Trial) -> None:
    """a masked loss is the mean over the steps that are not masked, by a sum in NumPy"""
    ids, _ = samples.sentences()
    network = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(9, 9, mask_zero=True),
            layers.Activation("softmax"),
        ]
    )
    model = trial.compiled(network, "sparse_categorical_crossentropy")
    table = network.layers[0].embeddings.numpy()
    trial.keep("loss", model.evaluate(ids, ids, batch_size=samples.ROWS, verbose=0))
    logits = table[ids].astype("float64")
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    losses = -np.log(np.take_along_axis(probabilities, ids[..., None], -1))[..., 0]
    trial.expect("loss", float(losses[ids != 0].mean()))


@habits(
    GROUP,
    {"mixed_bfloat16": "mixed_bfloat16", "mixed_float16": "mixed_float16", "float64": "float64"},
    refused=("float64",),
    tolerance=HALF,
)
def precision(trial: Trial, policy: str) -> None:
    """layers of the policy {}"""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = trial.compiled(samples.dense(), optimizer="adam", metrics=["mae"])
        trial.fit(model, X, Y, validation_data=(X, Y), **FIT)
        trial.ignored.add("slots")  # Keras keeps the loss scale in the optimizer.
    finally:
        keras.config.set_dtype_policy(before)


@habit(GROUP, refused=True, slow=True)
def scaled_float16(trial: Trial) -> None:
    """mixed_float16 with an explicit `LossScaleOptimizer`"""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))
        trial.fit(trial.compiled(samples.dense(), optimizer=scaled), X, Y, **FIT)
    finally:
        keras.config.set_dtype_policy(before)


@habits(
    GROUP,
    {
        "a dense network": lambda: samples.dense(),
        "dropout and normalization": lambda: keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(5),
                layers.BatchNormalization(),
                layers.Dropout(0.3, seed=2),
                layers.Dense(3),
            ]
        ),
    },
    slow=True,
)
def xla(trial: Trial, make: Callable[[], keras.Model]) -> None:
    """`jit_compile=True` of {}"""
    x, y = X[:16], Y[:16]
    model = trial.compiled(make(), optimizer="adam", jit_compile=True, metrics=["mae"])
    trial.fit(model, x, y, validation_data=(x, y), **FIT)
    trial.predict(model, x, batch_size=8)


@habit(GROUP, slow=True)
def xla_with_a_smaller_batch(trial: Trial) -> None:
    """`jit_compile=True` with an uneven last batch"""
    model = trial.compiled(samples.dense(), optimizer="adam", jit_compile=True)
    trial.fit(model, X, Y, **FIT)


@habit(GROUP)
def xla_by_itself(trial: Trial) -> None:
    """`jit_compile` left out"""
    model = trial.compiled(samples.dense(), jit_compile="auto")
    trial.fit(model, X, Y, **FIT)


@habits(GROUP, {"a dense network": False, "dropout and normalization": True})
def eagerly(trial: Trial, noisy: bool) -> None:
    """`run_eagerly=True` of {}"""
    hidden = [layers.BatchNormalization(), layers.Dropout(0.3, seed=2)] if noisy else []
    network = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3)])
    model = trial.compiled(network, run_eagerly=True, metrics=["mae"])
    trial.fit(model, X, Y, batch_size=8, epochs=2, validation_data=(X, Y))
    trial.predict(model, X, batch_size=8)


@habit(GROUP, refused=True)
def scaling_switched_off(trial: Trial) -> None:
    """`compile(auto_scale_loss=False)`"""
    trial.fit(trial.compiled(samples.dense(), auto_scale_loss=False), X, Y, **FIT)


@habit(GROUP, tolerance=HALF, slow=True)
def small_gradients(trial: Trial) -> None:
    """a deep float16 network whose gradients vanish where the loss is not scaled"""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        ones = {"use_bias": False, "kernel_initializer": "ones", "activation": "sigmoid"}
        network = keras.Sequential(
            [keras.Input((1,)), *(layers.Dense(1, **ones) for _ in range(8))]
        )
        model = trial.compiled(network, optimizer=keras.optimizers.SGD(1e4))
        trial.keep("loss", model.train_on_batch(np.ones((1, 1)), np.ones((1, 1))))
        trial.keep("moved", float(network.layers[0].kernel.numpy()[0, 0]) != 1.0)
        trial.ignored.add("slots")
    finally:
        keras.config.set_dtype_policy(before)
