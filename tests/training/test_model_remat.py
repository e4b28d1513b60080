"""`tfscale.Model.compile(remat=True)` gives what the same model gives without it."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfscale
from benchmarks.rounds import measure
from tfscale.compat.keras import layers_of
from tfscale.compat.keras_graph import graph_of
from tfscale.errors import ConfigError
from tfscale.training.layer_remat import rematerialized_blocks
from tfscale.training.remat_blocks import blocks_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 6)).astype("float32")
IDS = np.where(np.arange(5) < RNG.integers(2, 6, (10, 1)), RNG.integers(1, 7, (10, 5)), 0)
Y = RNG.integers(0, 3, 10)
WEIGHTS = RNG.random(10).astype("float32")


def plain():
    """Dropout, normalization, regularizers of weights and activities."""
    layers = [keras.Input((6,))]
    for seed in range(3):
        layers.append(L.Dense(8, "tanh", kernel_regularizer="l2", activity_regularizer="l2"))
        layers += [L.LayerNormalization(), L.Dropout(0.3, seed=seed)]
    return keras.Sequential([*layers, L.Dense(3)])


def recurrent():
    """A mask of an embedding, which goes through all layers, and to the loss."""
    layers = [keras.Input((5,), dtype="int32"), L.Embedding(7, 4, mask_zero=True)]
    layers += [L.LSTM(6, return_sequences=True), L.Dropout(0.2, seed=1)]
    layers += [L.Bidirectional(L.SimpleRNN(4)), L.Dense(3)]
    return keras.Sequential(layers)


def masked():
    """As `recurrent`, and quickly compiled, with a penalty."""
    layers = [keras.Input((5,), dtype="int32"), L.Embedding(7, 4, mask_zero=True)]
    layers += [L.Dropout(0.2, seed=1), L.SimpleRNN(6, activity_regularizer="l2"), L.Dense(3)]
    return keras.Sequential(layers)


def attention(blocks=2):
    """Residual connections, attention with a mask, and a small model within."""
    ids = keras.Input((5,), dtype="int32")
    x = L.Embedding(7, 8, mask_zero=True)(ids)
    for seed in range(blocks):
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
        self.blocks, self.head = [Adding(seed) for seed in range(2)], L.Dense(3)
        self.inner = plain()
        self.frozen = L.Dense(6, trainable=False)

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training) if block is self.blocks[0] else block(x)
        return self.head(self.frozen(x)) + self.inner(x)


def calling_twice():
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


@pytest.mark.slow
def test_dropout_norms_and_penalties():
    check_alike(plain, X, xla=True)


@pytest.mark.slow
def test_masks_of_an_embedding_with_recurrent_layers():
    check_alike(recurrent, IDS, xla=False)


@pytest.mark.slow
def test_attention():
    check_alike(attention, IDS, xla=False)


@pytest.mark.slow
def test_attention_with_xla():
    check_alike(attention, IDS, xla=True)


@pytest.mark.slow
def test_attention_in_bfloat16():
    check_alike(lambda: attention(1), IDS, 2e-3, policy="mixed_bfloat16", xla=False)


def test_a_subclassed_model_whose_layers_have_state():
    """Losses and metrics of layers count once, averages and seeds advance once."""
    check_alike(Subclassed, X, xla=False)


@pytest.mark.slow
def test_a_layer_that_is_called_twice_and_a_model_within():
    check_alike(calling_twice, X, xla=False)


def test_an_eager_step_is_refused():
    with pytest.raises(ConfigError, match="run_eagerly=True"):
        trained(plain, X, True, run_eagerly=True)


@pytest.mark.slow
def test_micro_batches():
    check_alike(plain, X, micro_batches=2, xla=False)


@pytest.mark.slow
def test_two_replicas_with_micro_batches():
    """The last batch of each epoch has one row for each replica, and so an empty micro-batch."""
    with tfscale.strategy("mirrored").scope():
        check_alike(masked, IDS, micro_batches=2, xla=False)


def test_the_backward_pass_uses_no_activation_of_the_forward_pass():
    """All its products are in loops, one for each block, which get what crosses the cuts."""
    network = plain()
    graph = graph_of(network)
    blocks = [block for block in blocks_of(graph) if block.again]
    assert 2 < len(blocks) < len(graph.nodes) / 2
    assert [node for block in blocks for node in block.nodes] == graph.nodes
    assert all(len(block.inputs) == len(block.outputs) == 1 for block in blocks)

    def gradients(x, remat):
        around = rematerialized_blocks(network) if remat else contextlib.nullcontext()
        with tf.GradientTape() as tape, keras.StatelessScope(collect_losses=True), around:
            loss = tf.reduce_sum(network(x, training=True))
        return tape.gradient(loss, [v.value for v in network.trainable_variables])

    def kinds(remat):
        traced = tf.function(gradients).get_concrete_function(tf.constant(X), remat)
        names = [operation.type for operation in traced.graph.get_operations()]
        return names.count("MatMul"), names.count("StatelessWhile") + names.count("While")

    products = sum(isinstance(layer, L.Dense) for layer in network.layers)
    assert kinds(True) == (products, len(blocks))
    # Without: besides, one by the weights and one by the inputs, but for the first layer's.
    assert kinds(False) == (3 * products - 1, 0)


class Foreign(L.Layer):
    def call(self, x):
        return x * keras.random.uniform(keras.ops.shape(x))


class Drawing(L.Layer):
    def call(self, x):
        return tf.nn.dropout(x, 0.5)


class DrawingInALoop(L.Layer):
    def call(self, x):
        def body(index, x):
            return index + 1, tf.function(lambda x: tf.nn.dropout(x, 0.5))(x)

        return tf.while_loop(lambda index, x: index < 2, body, (0, x))[1]


class Uncalled(keras.Model):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(6, 3))

    def call(self, x):
        return x @ self.scale


@pytest.mark.parametrize(
    "network, says",
    [
        (lambda: keras.Sequential([keras.Input((6,)), Foreign(), L.Dense(3)]), "foreign.*not the"),
        (lambda: keras.Sequential([keras.Input((6,)), Drawing(), L.Dense(3)]), "RandomUniform"),
        (
            lambda: keras.Sequential([keras.Input((6,)), DrawingInALoop(), L.Dense(3)]),
            "RandomUniform",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((6,)), L.SpectralNormalization(L.Dense(8)), L.Dense(3)]
            ),
            "kernel.*is trained",
        ),
        (Uncalled, "found nothing to compute again"),
        (
            lambda: keras.Sequential(
                [keras.Input((6,)), L.BatchNormalization(synchronized=True), L.Dense(3)]
            ),
            "synchronized batch normalization",
        ),
    ],
)
def test_what_cannot_be_computed_again_is_refused_in_a_line(network, says):
    with pytest.raises(ConfigError, match=says) as error:
        trained(network, X, True)
    assert "\n" not in str(error.value)


def test_the_layers_are_left_as_they_were():
    model = tfscale.Model(plain())
    model.compile("sgd", loss="mse", remat=True, xla=False)
    model.fit(X, np.zeros((10, 3)), verbose=0)
    assert all("call" not in vars(layer) for layer in layers_of(model))
    assert model.get_compile_config()["remat"] is True


@pytest.mark.slow
def test_it_takes_less_memory():
    """What XLA gives a step of a Transformer of Keras's own layers."""
    plain_step, again = (
        measure("memory_side", "layers", "--size", "quick", "--xla", *option)
        for option in ([], ["--remat"])
    )
    assert again["xla_bytes"] < 0.5 * plain_step["xla_bytes"]
    np.testing.assert_allclose(again["losses"], plain_step["losses"], rtol=1e-5)
