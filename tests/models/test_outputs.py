"""Networks that give no logits of a next token are refused in one line; those that do pass, with their vocabularies."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tfscale import models
from tfscale.config import BERTConfig, BiLSTMConfig, LSTMConfig
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.models.outputs import (
    Vocabulary,
    check_built,
    check_keras_model,
    check_logits,
    check_weight_types,
    probe_ids,
)

V, T = 16, 6
layers = keras.layers


def sequential(*rest, length=None, **embedding):
    return keras.Sequential(
        [layers.Input((length,), dtype="int32"), layers.Embedding(V, 8, **embedding), *rest]
    )


def positions_and_tokens():
    """As in Keras's tutorials: a table of 4 positions beside one of V + 1 tokens."""

    class Tokens(layers.Layer):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = layers.Embedding(V + 1, 8), layers.Embedding(4, 8)

        def call(self, ids):
            return self.tokens(ids) + self.positions(keras.ops.arange(keras.ops.shape(ids)[-1]))

    inputs = keras.Input((4,), dtype="int32")
    x = Tokens()(inputs)
    x = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    return keras.Model(inputs, layers.Dense(V)(layers.BatchNormalization()(layers.Dropout(0.5)(x))))


def own(config):
    return lambda: models.build_network(config)


@pytest.mark.parametrize(
    "make,expected",
    [
        (lambda: sequential(layers.Dense(V)), Vocabulary(V, V)),
        (
            lambda: sequential(
                layers.LSTM(4, return_sequences=True, stateful=False), layers.Dense(20)
            ),
            Vocabulary(V, 20),
        ),
        (
            lambda: sequential(
                layers.SimpleRNN(8, return_sequences=True), layers.Dense(V), mask_zero=True
            ),
            Vocabulary(V, V),
        ),
        (
            lambda: sequential(layers.Conv1D(8, 3, padding="causal"), layers.Dense(V)),
            Vocabulary(V, V),
        ),
        (lambda: sequential(layers.Dense(V), layers.Activation("log_softmax")), Vocabulary(V, V)),
        (lambda: sequential(layers.Dense(V), layers.Dense(V, "tanh")), Vocabulary(V, V)),
        (
            lambda: keras.Sequential(
                [layers.Embedding(V, 8), layers.GRU(4, return_sequences=True), layers.Dense(V)]
            ),
            Vocabulary(V, V),
        ),
        (positions_and_tokens, Vocabulary(V + 1, V)),
        (
            own(
                gpt2(vocabulary_size=V, sequence_length=T, hidden_dim=8, num_layers=1, num_heads=2)
            ),
            Vocabulary(V, V),
        ),
        (
            own(LSTMConfig(vocabulary_size=V, sequence_length=T, embedding_dim=4, hidden_dim=4)),
            Vocabulary(V, V),
        ),
        (
            own(BiLSTMConfig(vocabulary_size=V, sequence_length=T, embedding_dim=4, hidden_dim=4)),
            Vocabulary(V, V),
        ),
        (
            own(
                BERTConfig(
                    vocabulary_size=V, sequence_length=T, hidden_dim=8, num_layers=1, num_heads=2
                )
            ),
            Vocabulary(V + 1, V),
        ),
    ],
)
def test_networks_that_give_logits_pass(make, expected):
    network = make()
    assert check_logits(network, probe_ids(network)) == expected
    before = network.get_weights()
    assert check_logits(network, probe_ids(network)) == expected
    assert all((a == b).all() for a, b in zip(before, network.get_weights(), strict=True))
    assert not any("call" in vars(layer) for layer in network._flatten_layers())


def softmax_at_the_end():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.table, self.output_layer = layers.Embedding(V, 8), layers.Dense(V)

        def call(self, ids):
            return keras.ops.softmax(self.output_layer(self.table(ids)))

    return Own()


def diverged():
    network = sequential(layers.Dense(V, "softmax"))
    network.layers[-1].kernel.assign(np.full((8, V), np.nan))
    return network


def with_outputs(pack):
    inputs = keras.Input((None,), dtype="int32")
    logits = layers.Dense(V)(layers.Embedding(V, 8)(inputs))
    return lambda: keras.Model(inputs, pack(logits))


def two_inputs():
    a, b = keras.Input((None,), name="a"), keras.Input((None,), name="b")
    return keras.Model(
        [a, b], layers.Dense(V)(layers.Embedding(V, 8)(a) + layers.Embedding(V, 8)(b))
    )


def noncausal_attention():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(V, 8)(inputs)
    return keras.Model(inputs, layers.Dense(V)(x + layers.MultiHeadAttention(2, 4)(x, x)))


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: sequential(layers.Dense(V, "softmax")), "ends in softmax: it gives probabilities"),
        (lambda: sequential(layers.Dense(V), layers.Softmax()), "ends in softmax"),
        (lambda: sequential(layers.TimeDistributed(layers.Dense(V, "softmax"))), "ends in softmax"),
        (lambda: sequential(layers.Dense(V, "sigmoid")), "ends in sigmoid"),
        (softmax_at_the_end, r"gives rows that lie in 0..1 and sum to 1: it gives probabilities"),
        (diverged, "ends in softmax"),
        (
            lambda: sequential(layers.GRU(4), layers.Dense(V)),
            r"gives \(2, 16\) for ids \(2, 4\); return_sequences=True",
        ),
        (
            lambda: sequential(layers.Conv1D(4, 3), layers.Dense(V)),
            r"gives \(2, 2, 16\) for ids \(2, 4\)",
        ),
        (with_outputs(lambda x: {"logits": x, "more": x}), "gives a dict of logits, more"),
        (with_outputs(lambda x: [x, x]), "gives 2 outputs"),
        (two_inputs, r"has 2 inputs \(a, b\)"),
        (
            lambda: sequential(
                layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Dense(V)
            ),
            "sees the future: its first 2 logits change with later tokens",
        ),
        (
            lambda: sequential(layers.Conv1D(8, 3, padding="same"), layers.Dense(V)),
            "sees the future",
        ),
        (noncausal_attention, "sees the future"),
    ],
)
def test_networks_that_give_something_else_are_refused(make, message):
    network = make()
    for _ in range(2):  # A refusal is not forgotten.
        with pytest.raises(ConfigError, match=message) as caught:
            check_logits(network, probe_ids(network))
        assert "\n" not in str(caught.value)


def test_a_network_that_declares_itself_a_cloze_may_read_both_sides():
    network = noncausal_attention()
    network.cloze = True
    assert check_logits(network, probe_ids(network)) == Vocabulary(V, V)


def test_windows_of_another_length_are_refused():
    network = sequential(layers.Dense(V), length=6)
    assert probe_ids(network).shape == (2, 6)
    with pytest.raises(
        ConfigError, match="reads windows of 6 tokens, and the data has windows of 7"
    ):
        check_logits(network, np.zeros((2, 7), "int32"))


def test_windows_longer_than_the_positions_are_refused():
    config = gpt2(vocabulary_size=V, sequence_length=T, hidden_dim=8, num_layers=1, num_heads=2)
    with pytest.raises(
        ConfigError, match=r"cannot read ids of shape \(2, 9\): Expected size\[0\] in \[0, 6\]"
    ):
        check_logits(models.build_network(config), np.tile(np.arange(9), (2, 1)))


def test_states_are_left_as_they_are():
    inputs = keras.Input(batch_shape=(3, None), dtype="int32")
    x = layers.LSTM(4, return_sequences=True, stateful=True)(layers.Embedding(V, 8)(inputs))
    network = keras.Model(inputs, layers.Dense(V)(x))
    check_logits(network, probe_ids(network, T))
    assert probe_ids(network, T).shape == (3, T)
    assert all(not np.asarray(state).any() for state in network.layers[2].states)


def test_under_a_mirrored_strategy():
    with strategy("mirrored").scope():
        network = sequential(layers.GRU(4, return_sequences=True), layers.Dense(V))
        both = sequential(
            layers.Bidirectional(layers.GRU(4, return_sequences=True)), layers.Dense(V)
        )
    assert check_logits(network, probe_ids(network, T)) == Vocabulary(V, V)
    with pytest.raises(ConfigError, match="sees the future"):
        check_logits(both, probe_ids(both, T))


def test_what_is_checked_before_any_batch():
    unbuilt = keras.Sequential([layers.Embedding(V, 8), layers.Dense(V)], name="mine")
    with pytest.raises(
        ConfigError, match="model 'mine' is not built yet: call it once on a batch of ids"
    ):
        check_built(unbuilt)
    with pytest.raises(ConfigError, match="received builtins.dict"):
        check_keras_model({})
    half = keras.Sequential([layers.Input((None,)), layers.Embedding(V, 8, dtype="float16")])
    with pytest.raises(ConfigError, match=r"embedding\w*/embeddings of model .* is float16"):
        check_weight_types(half)
    mixed = keras.Sequential(
        [layers.Input((None,)), layers.Embedding(V, 8, dtype="mixed_bfloat16")]
    )
    check_weight_types(mixed)
    assert check_logits(mixed, tf.constant([[1, 2]])) == Vocabulary(V, 8)
