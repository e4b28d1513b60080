"""Language models as people write them, one for each way to look at other tokens; tiny, with weights
large enough that their logits have clear winners."""

import keras
import keras_hub
import numpy as np
from keras import layers, ops

C, V, D = 16, 257, 16


def ids(length=None):
    return keras.Input((length,), dtype="int32")


def sequential(*inner, length=None, mask_zero=False, activation=None):
    return keras.Sequential(
        [
            ids(length),
            layers.Embedding(V, D, mask_zero=mask_zero),
            *inner,
            layers.Dense(V, activation=activation),
        ]
    )


def functional(build, length=None, mask_zero=False):
    """A functional model; `build` is called with the embedded tokens."""
    tokens = ids(length)
    x = layers.Embedding(V, D, mask_zero=mask_zero)(tokens)
    return keras.Model(tokens, layers.Dense(V)(build(x)))


class TokenAndPosition(layers.Layer):
    """An embedding of the positions beside that of the tokens."""

    def __init__(self, positions=C):
        super().__init__()
        self.tokens, self.places = layers.Embedding(V, D), layers.Embedding(positions, D)

    def call(self, x):
        return self.tokens(x) + self.places(ops.arange(0, ops.shape(x)[-1], 1))


class SinesAdded(layers.Layer):
    """A constant table of positions, added in the layer's own code."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(V, D)
        angles = np.arange(64)[:, None] / 100 ** (np.arange(D // 2) / (D / 2))
        self.table = np.concatenate([np.sin(angles), np.cos(angles)], -1).astype("float32")

    def call(self, x):
        return self.tokens(x) * D**0.5 + self.table[None, : ops.shape(x)[1]]


class Block(layers.Layer):
    """A block of a small GPT whose causal mask is made by its own code."""

    def __init__(self):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 8)
        self.feed_forward = keras.Sequential([layers.Dense(24, "relu"), layers.Dense(D)])
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]
        self.dropout = layers.Dropout(0.1)

    def call(self, x):
        length = ops.shape(x)[1]
        sees = ops.arange(length)[:, None] >= ops.arange(length)
        attended = self.attention(x, x, attention_mask=sees[None])
        x = self.norms[0](x + self.dropout(attended))
        return self.norms[1](x + self.feed_forward(x))


class SharedLayer(keras.Model):
    """A subclassed model that calls one recurrent layer twice."""

    def __init__(self):
        super().__init__()
        self.embedding, self.output_layer = layers.Embedding(V, D), layers.Dense(V)
        self.recurrent = layers.LSTM(D, return_sequences=True)

    def call(self, x, training=False):
        x = self.embedding(x)
        for _ in range(2):
            x = x + self.recurrent(x)
        return self.output_layer(x)


class RunningMean(layers.Layer):
    """Looks back, and nobody knows how."""

    def call(self, x):
        counts = ops.arange(1, ops.shape(x)[1] + 1, dtype="float32")
        return ops.cumsum(x, axis=1) / counts[None, :, None]


class Doubling(layers.Layer):
    """A cell of one's own, which remembers."""

    state_size = D

    def call(self, inputs, states):
        new = ops.tanh(inputs + 0.5 * states[0])
        return 2 * new, [new]


def attention(window=None, gate=False, rounds=1, **options):
    def build(x):
        x = keras_hub.layers.PositionEmbedding(C)(x) + x
        for _ in range(rounds):
            attend = layers.MultiHeadAttention(
                2, 8, dropout=0.1, sliding_window=window, use_gate=gate, **options
            )
            x = layers.LayerNormalization()(layers.Add()([x, attend(x, x, use_causal_mask=True)]))
        return x

    return functional(build)


def grouped(x):
    x = x + keras_hub.layers.RotaryEmbedding()(x)
    attend = layers.GroupQueryAttention(8, 4, 2, sliding_window=5)
    return x + attend(x, x, use_causal_mask=True)


def hub_decoder(x):
    x = x + keras_hub.layers.SinePositionEncoding()(x)
    return keras_hub.layers.TransformerDecoder(24, 2)(x)


def mixed(x):
    x = layers.LSTM(12, return_sequences=True)(x)
    x = layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    return layers.Conv1D(10, 3, padding="causal")(x)


def nested():
    inner = keras.Sequential(
        [keras.Input((None, D)), layers.GRU(12, return_sequences=True), layers.Dense(D)]
    )
    return functional(lambda x: x + inner(x))


def tied():
    tokens, table = ids(), keras_hub.layers.ReversibleEmbedding(V, D)
    hidden = layers.SimpleRNN(D, return_sequences=True)(table(tokens))
    return keras.Model(tokens, table(hidden, reverse=True))


def small_gpt(length=C):
    tokens = ids(length)
    return keras.Model(tokens, layers.Dense(V)(Block()(TokenAndPosition()(tokens))))


def over(positions, build, length=None):
    """A model that begins with a layer of one's own."""
    tokens = ids(length)
    return keras.Model(tokens, layers.Dense(V)(build(positions(tokens))))


def called_once():
    model = keras.Sequential(
        [layers.Embedding(V, D), layers.GRU(D, return_sequences=True), layers.Dense(V)]
    )
    model(np.zeros((4, 7), "int32"))
    return model


def lstm(units=D, **options):
    return layers.LSTM(units, return_sequences=True, **options)


def causal_attention(x):
    return layers.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)


BY_STATE = {
    "lstm": lambda: sequential(lstm()),
    "windows of one length": lambda: sequential(lstm(), length=C),
    "two lstm": lambda: sequential(
        lstm(recurrent_dropout=0.2),
        layers.Dropout(0.1),
        lstm(12, use_bias=False, activation="relu"),
    ),
    "gru": lambda: sequential(layers.GRU(D, return_sequences=True)),
    "gru of cuDNN": lambda: sequential(layers.GRU(D, return_sequences=True, reset_after=False)),
    "simple rnn": lambda: sequential(layers.SimpleRNN(D, return_sequences=True)),
    "stacked cells": lambda: sequential(
        layers.RNN([layers.LSTMCell(D), layers.GRUCell(12)], return_sequences=True), mask_zero=True
    ),
    "cell of one's own": lambda: sequential(layers.RNN(Doubling(), return_sequences=True)),
    "masked lstm": lambda: sequential(lstm(), mask_zero=True),
    "masked gru of zeros": lambda: sequential(
        layers.GRU(D, return_sequences=True, zero_output_for_mask=True), mask_zero=True
    ),
    "convolutions": lambda: sequential(
        layers.Conv1D(D, 3, padding="causal", dilation_rate=2, activation="relu"),
        layers.Conv1D(12, 2, padding="causal", use_bias=False, groups=2),
        layers.Conv1D(D, 1),
    ),
    "one layer twice": SharedLayer,
    "model in a model": nested,
    "tied table": tied,
    "built by a call": called_once,
}
BY_CACHE = {
    "attention": lambda: attention(rounds=2),
    "gated window": lambda: attention(window=3, gate=True, value_dim=5),
    "grouped": lambda: functional(grouped),
    "decoder of keras-hub": lambda: functional(hub_decoder),
    "masked attention": lambda: functional(causal_attention, mask_zero=True),
    "small gpt": small_gpt,
    "small gpt of any length": lambda: small_gpt(None),
    "sines added": lambda: over(SinesAdded(), causal_attention, C),
    "state beside a cache": lambda: functional(mixed),
    "state beside positions": lambda: over(TokenAndPosition(), lstm(12)),
}


def randomized(model):
    if not model.built:
        model(np.zeros((1, 4), "int32"))
    rng = np.random.default_rng(3)
    for weight in model.weights:
        drawn = rng.normal(0, 0.3, weight.shape)
        weight.assign(drawn if len(weight.shape) > 1 else weight + drawn)
    return model
