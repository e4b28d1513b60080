"""`tfscale.Model.compile(remat=True)` gives what the same model gives without it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfscale
from tfscale.compat.keras_graph import graph_of
from tfscale.errors import ConfigError
from tfscale.training.remat_blocks import blocks_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 6)).astype("float32")
IDS = np.where(np.arange(5) < RNG.integers(2, 6, (10, 1)), RNG.integers(1, 7, (10, 5)), 0)
Y = RNG.integers(0, 3, 10)
WEIGHTS = RNG.random(10).astype("float32")


def plain():
    """Dropout, normalization, regularizers of weights and activities."""
    layers = [keras.Input((6,))]
    for seed in range(4):
        layers.append(L.Dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2"))
        layers += [L.LayerNormalization(), L.Dropout(0.3, seed=seed)]
    return keras.Sequential([*layers, L.Dense(3)])


def recurrent():
    """A mask of an embedding, which goes through all layers, and to the loss."""
    layers = [keras.Input((5,), dtype="int32"), L.Embedding(7, 4, mask_zero=True)]
    layers += [L.LSTM(6, return_sequences=True), L.Dropout(0.2, seed=1)]
    layers += [L.Bidirectional(L.GRU(4)), L.Dense(3)]
    return keras.Sequential(layers)


def attention():
    """Residual connections, attention with a mask, and a small model within."""
    ids = keras.Input((5,), dtype="int32")
    x = L.Embedding(7, 8, mask_zero=True)(ids)
    for seed in range(3):
        normed = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(2, 4, dropout=0.2, seed=seed)(
            normed, normed, use_causal_mask=True
        )
        inner = keras.Sequential([L.Dense(16, "gelu"), L.Dropout(0.2, seed=seed), L.Dense(8)])
        x = L.Add()([x, inner(L.LayerNormalization()(x))])
    return keras.Model(ids, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


@keras.saving.register_keras_serializable("tests")
class Adding(L.Layer):
    """Adds to the loss, counts its calls, and has its own layers and random numbers."""

    def __init__(self, seed=0, **arguments):
        super().__init__(**arguments)
        self.dense, self.drop = L.Dense(6, "tanh"), L.Dropout(0.3, seed=seed)
        self.seeds = keras.random.SeedGenerator(seed)
        self.norm = L.BatchNormalization()
        self.mean = keras.metrics.Mean(name=f"size_{seed}")

    def call(self, x):
        # The dropout below gets `training` from the model, not from here.
        hidden = self.norm(self.drop(self.dense(x)))
        self.mean.update_state(keras.ops.mean(hidden))
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(hidden)))
        return x + hidden * keras.random.uniform(keras.ops.shape(x), seed=self.seeds)

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks, self.head = [Adding(seed) for seed in range(3)], L.Dense(3)
        self.inner = plain()
        self.frozen = L.Dense(6, trainable=False)

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training) if block is self.blocks[0] else block(x)
        return self.head(self.frozen(x)) + self.inner(x)


def stateful_layers():
    shared = Adding(5)
    inputs = keras.Input((6,))
    x = shared(L.Dense(6)(shared(inputs)))
    nested = keras.Sequential([keras.Input((6,)), *(L.Dense(6, "relu") for _ in range(4))])
    return keras.Model(inputs, L.Dense(3)(nested(x)))


def trained(make, x, remat, policy="float32", **options):
    """Losses, metrics and weights after two epochs of batches of 4, 4 and 2 rows."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    try:
        model = tfscale.Model(make())
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.5),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=["accuracy"],
            remat=remat,
            **options,
        )
        history = model.fit(
            x, Y, sample_weight=WEIGHTS, batch_size=4, epochs=2, shuffle=False, verbose=0
        ).history
        return history, [v.numpy() for v in model.network.variables]
    finally:
        keras.config.set_dtype_policy("float32")


def check_alike(make, x, atol=2e-6, **options):
    (logs, values), (wanted_logs, wanted) = (
        trained(make, x, remat, **options) for remat in (True, False)
    )
    assert logs.keys() == wanted_logs.keys()
    for name, numbers in logs.items():
        np.testing.assert_allclose(numbers, wanted_logs[name], rtol=1e-5, atol=atol, err_msg=name)
    # The last ones are seeds, moving averages and metrics, too.
    for value, other in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=atol)


CASES = {
    "plain": (plain, X),
    "recurrent": (recurrent, IDS),
    "attention": (attention, IDS),
    "subclassed": (Subclassed, X),
    "stateful_layers": (stateful_layers, X),
}


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_one_device(case, xla):
    check_alike(*CASES[case], xla=xla)
