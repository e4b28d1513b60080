"""Muon: Keras's own steps in less work, and the role of every weight of every family."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tests.training.tiny import CONFIGS, TWO_BLOCKS, VOCABULARY, gru_network
from tfscale import models
from tfscale.config import BERTConfig, TrainConfig
from tfscale.errors import ConfigError
from tfscale.models.roles import hidden_matrices
from tfscale.training.muon import SHORTER, Muon, orthogonalized
from tfscale.training.optimizers import build_optimizer

KERAS = (3.4445, -4.7750, 2.0315)
SMALL = {
    "vocabulary_size": VOCABULARY,
    "sequence_length": 12,
    "hidden_dim": 16,
    "num_layers": 1,
    "num_heads": 2,
}


def matrix(rng, shape, least=0.05):
    """A random matrix with singular values from `least` to 1."""
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return ((u * np.geomspace(1, least, min(shape))) @ v).astype("float32")


def nearest(x):
    u, _, v = np.linalg.svd(x.astype(float), full_matrices=False)
    return u @ v


@pytest.mark.parametrize("shape", [(24, 24), (24, 30), (24, 36), (24, 96), (1, 5)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_iteration_is_that_of_keras(shape, steps):
    rng = np.random.default_rng(0)
    x = np.stack([scale * matrix(rng, shape) for scale in (1e-4, 1.0, 1e3)])
    theirs = keras.optimizers.Muon()
    expected = [theirs.zeropower_via_newtonschulz5(tf.constant(one), steps) for one in x]
    found = orthogonalized(tf.constant(x), [KERAS] * steps, tight=False)
    # Keras adds 1e-7 to the norm, which the smallest of the three feels.
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(48, 48), (48, 192)])
@pytest.mark.parametrize("least", [1.0, 0.3, 0.05, 0.01, 1e-3, 1e-4])
def test_the_shorter_iteration_is_no_farther_from_orthogonal(shape, least):
    rng = np.random.default_rng(1)
    x = matrix(rng, shape, least)
    theirs = keras.optimizers.Muon().zeropower_via_newtonschulz5(tf.constant(x), 5)
    ours = orthogonalized(tf.constant(x[None]), SHORTER, tight=True)[0]
    ours, theirs = (np.linalg.norm(found - nearest(x)) for found in (ours, theirs))
    assert ours <= theirs


def test_a_gradient_of_zeros_moves_nothing():
    assert not orthogonalized(tf.zeros((2, 3, 4)), SHORTER, tight=True).numpy().any()
    assert not orthogonalized(tf.zeros((2, 3, 9)), SHORTER, tight=True).numpy().any()


def test_a_step_is_that_of_keras_muon():
    rng = np.random.default_rng(2)
    values = [
        matrix(rng, (8, 12)),
        matrix(rng, (12, 8)),
        rng.normal(size=(5, 4)),
        rng.normal(size=9),
    ]
    options = {
        "weight_decay": 0.3,
        "momentum": 0.8,
        "adam_beta_2": 0.9,
        "ns_steps": 5,
        "epsilon": 1e-8,
    }
    theirs = keras.optimizers.Muon(
        0.1, **options, adam_weight_decay=0.3, adam_beta_1=0.9, exclude_layers=["table"]
    )
    ours = Muon(0.1, **options, matrices=[[1, [12]], [1, [8]], None, None])
    weights = [
        [
            keras.Variable(v, name=f"{name}{i}")
            for i, (v, name) in enumerate(zip(values, ["a", "b", "table", "c"], strict=True))
        ]
        for _ in (theirs, ours)
    ]
    for optimizer, variables in zip((theirs, ours), weights, strict=True):
        optimizer.exclude_from_weight_decay(var_list=[variables[3]])
        for step in range(3):
            rng = np.random.default_rng(step)
            optimizer.apply(
                [rng.normal(size=v.shape).astype("float32") for v in variables], variables
            )
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=1e-4)
    # A momentum for each weight, a mean square for those of AdamW.
    assert [tuple(v.shape) for v in ours.variables[2:]] == [
        tuple(v.shape) for v in theirs.variables[2:]
    ]


def test_parts_of_a_fused_kernel_are_orthogonalized_apart():
    rng = np.random.default_rng(3)
    gradient = rng.normal(size=(8, 20)) * np.repeat([1.0, 100.0], [8, 12])
    gradient = gradient.astype("float32")
    whole = Muon(1.0, matrices=[[1, [8, 12]]], ns_steps=5, nesterov=False)
    apart = [keras.optimizers.Muon(1.0, weight_decay=None, nesterov=False) for _ in range(2)]
    fused = keras.Variable(np.zeros((8, 20), "float32"), name="fused")
    parts = [keras.Variable(np.zeros((8, size), "float32"), name="part") for size in (8, 12)]
    whole.apply([gradient], [fused])
    for optimizer, part, its in zip(apart, parts, (gradient[:, :8], gradient[:, 8:]), strict=True):
        optimizer.apply([tf.constant(its, tf.float32)], [part])
    np.testing.assert_allclose(
        fused.numpy(), np.concatenate([part.numpy() for part in parts], 1), atol=1e-4
    )


def roles(network):
    """Weights of matrices by the ends of their paths, with the outputs of their parts."""
    weights = network.trainable_variables
    return {
        "/".join(weights[index].path.split("/")[-2:]): matrix.parts
        for index, matrix in hidden_matrices(network).items()
    }


EXPECTED = {
    "transformer": {
        "query_key_value/kernel": (8,) * 6,
        "output_projection/kernel": (16,),
        "expand/kernel": (64,),
        "contract/kernel": (16,),
    },
    "lstm": {"lstm_cell/kernel": (16,) * 4, "lstm_cell/recurrent_kernel": (16,) * 4},
    "gru": {"gru_cell/kernel": (16,) * 3, "gru_cell/recurrent_kernel": (16,) * 3},
    "rnn": {"simple_rnn_cell/kernel": (16,), "simple_rnn_cell/recurrent_kernel": (16,)},
    "nnlm": {"hidden/kernel": (16,)},
    "bilstm": {
        "lstm_cell/kernel": (16,) * 4,
        "lstm_cell/recurrent_kernel": (16,) * 4,
        "join/kernel": (8,),
    },
}


@pytest.mark.parametrize("family", EXPECTED)
def test_matrices_of_each_family(family):
    network = models.build_network({**CONFIGS, "transformer": TWO_BLOCKS}[family])
    assert roles(network) == EXPECTED[family]
    # Both blocks, both directions.
    assert len(hidden_matrices(network)) == {"transformer": 8, "bilstm": 5}.get(
        family, len(EXPECTED[family])
    )


@pytest.mark.parametrize(
    "config,expected",
    [
        (BERTConfig(**SMALL), EXPECTED["transformer"]),
        (
            gpt2(**SMALL, tie_embeddings=False, positions="rope", use_bias=True),
            EXPECTED["transformer"],
        ),
        (
            gpt2(
                **SMALL, activation="swiglu", feed_forward_dim=24, num_kv_heads=1, embedding_rank=4
            ),
            {
                "query_key_value/kernel": (8,) * 4,
                "output_projection/kernel": (16,),
                "expand/kernel": (24, 24),
                "contract/kernel": (16,),
                "widen/kernel": (16,),
                "narrow/kernel": (4,),
            },
        ),
    ],
)
def test_matrices_of_other_transformers(config, expected):
    assert roles(models.build_network(config)) == expected


def test_matrices_of_keras_networks():
    assert roles(gru_network()) == {
        "gru_cell/kernel": (8,) * 3,
        "gru_cell/recurrent_kernel": (8,) * 3,
    }
    layers, inputs = keras.layers, keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8)(inputs)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x, use_causal_mask=True)
    x = layers.Dense(8, name="between")(x)
    # The output is found through what has no weights, and inside of a model or a wrapper.
    head = keras.Sequential(
        [keras.Input((None, 8)), layers.Dense(8, name="first"), layers.Dense(20, name="last")]
    )
    network = keras.Model(inputs, layers.Activation("linear")(head(x)))
    assert roles(network) == {
        "query/kernel": (3, 3),
        "key/kernel": (3, 3),
        "value/kernel": (3, 3),
        "attention_output/kernel": (8,),
        "between/kernel": (8,),
        "first/kernel": (8,),
    }
    optimizer = build_optimizer(TrainConfig(optimizer="muon", learning_rate=0.1), network)
    optimizer.build(network.trainable_variables)
    queries = next(w for w in network.trainable_variables if w.path.endswith("query/kernel"))
    rng = np.random.default_rng(0)
    before = queries.numpy()
    optimizer.apply(
        [tf.constant(rng.normal(size=w.shape), tf.float32) for w in network.trainable_variables]
    )
    moved = before * (1 - 0.1 / 101 * 0.1) - queries.numpy()
    for head in (0, 1):
        values = np.linalg.svd(moved[:, head], compute_uv=False)
        assert values[-1] / values[0] > 0.5


def test_networks_that_muon_is_not_for_are_refused():
    class Subclass(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.embedding, self.dense = keras.layers.Embedding(20, 8), keras.layers.Dense(20)

        def call(self, ids):
            return self.dense(self.embedding(ids))

    network = Subclass()
    network(np.zeros((1, 2), "int32"))
    config = TrainConfig(optimizer="muon", learning_rate=0.1)
    with pytest.raises(ConfigError, match="model 'own' is a subclass .* property output_variables"):
        build_optimizer(config, network)
    Subclass.output_variables = property(lambda self: self.dense.weights)
    with pytest.raises(ConfigError, match="model 'own' has no trainable matrix of a hidden layer"):
        build_optimizer(config, network)


def test_weights_that_were_frozen_after_it_was_made_are_noticed():
    network = models.build_network(CONFIGS["lstm"])
    optimizer = build_optimizer(TrainConfig(optimizer="muon"), network)
    network.token_embedding.trainable = False
    with pytest.raises(
        ConfigError, match="made for 6 trainable weights of other shapes than the 5"
    ):
        optimizer.build(network.trainable_variables)


def test_muon_is_saved_and_made_again():
    network = models.build_network(CONFIGS["transformer"])
    optimizer = build_optimizer(TrainConfig(optimizer="muon", ns_steps=3), network)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, Muon)
    assert (again.matrices, again.ns_steps) == (optimizer.matrices, 3)
    assert again.get_config() == optimizer.get_config()
