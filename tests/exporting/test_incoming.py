"""Models that people bring: right ones become files whatever they are made of, and others are refused in one line."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tfscale
import tfscale.device
from tests.slow import slow_but
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.keras_model import export_keras
from tfscale.text.tokenizers import train_tokenizer

T, V = 8, 257
TOKENIZER = train_tokenizer("byte", [], V)
IDS = TOKENIZER.encode("The quick brown fox jumps over it. " * 3)
LAYERS = keras.layers


def model(*parts, length=None, outputs=lambda x: LAYERS.Dense(V)(x)):
    keras.utils.set_random_seed(2)
    ids = x = keras.Input((length,), dtype="int32")
    for part in parts:
        x = part(x)
    return keras.Model(ids, outputs(x))


def larger(network):
    """Weights at which rounding and masks matter; without them all logits are near 0."""
    network.set_weights(
        [weight * 3 if weight.ndim > 1 else weight for weight in network.get_weights()]
    )
    return network


def export(network, tmp_path, **options):
    options = {
        "sequence_length": T,
        "held_out": IDS,
        "tokenizer": TOKENIZER,
        "output": str(tmp_path / "x"),
    } | options
    return export_keras(network, **options)


def positions_beyond_the_window():
    return model(
        keras_hub.layers.TokenAndPositionEmbedding(V, 512, 16),
        keras_hub.layers.TransformerDecoder(16, 2),
    )


class WithUnusedHead(keras.Model):
    def __init__(self):
        super().__init__()
        self.table, self.out, self.other = (
            LAYERS.Embedding(V, 16),
            LAYERS.Dense(V),
            LAYERS.Dense(1000),
        )

    def call(self, ids, training=False):
        x = self.table(ids)
        return (self.out(x), self.other(x)) if training else self.out(x)


def unused_head():
    network = WithUnusedHead()
    network(np.zeros((1, T), "int32"), training=True)
    return network


def with_lora():
    network = model(LAYERS.Embedding(V, 16), LAYERS.Dense(16))
    for layer in network.layers[1:]:
        layer.enable_lora(8)
    return network


FOLDED = {"positions": positions_beyond_the_window, "head": unused_head, "lora": with_lora}


@pytest.mark.parametrize("name", FOLDED)
def test_what_the_converter_folds_is_not_missing(name, tmp_path):
    report = export(FOLDED[name](), tmp_path, cached=False)
    assert report["passed"] and report["sizes"]["file_bytes"] > 16 * V * 4


@pytest.mark.parametrize(
    "policy, cached",
    [
        ("mixed_bfloat16", True),
        pytest.param("mixed_float16", False, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", False, marks=pytest.mark.slow),
        pytest.param("mixed_float16", True, marks=pytest.mark.slow),
    ],
)
def test_models_in_mixed_precision_are_written_in_float32(policy, cached, tmp_path):
    embedding = keras_hub.layers.TokenAndPositionEmbedding(V, T, 16, dtype=policy)
    network = larger(
        model(
            embedding,
            keras_hub.layers.TransformerDecoder(16, 2, dtype=policy),
            outputs=lambda x: LAYERS.Dense(V, dtype=policy)(x),
        )
    )
    plain = model(
        keras_hub.layers.TokenAndPositionEmbedding(V, T, 16),
        keras_hub.layers.TransformerDecoder(16, 2),
    )
    plain.set_weights(network.get_weights())
    assert export(network, tmp_path, cached=cached)["decodes"] == cached
    before, expected = (
        np.asarray(net(np.array([IDS[:T]])), np.float32)[0] for net in (network, plain)
    )
    device = tfscale.device.load(str(tmp_path / "x"))
    found = device.decoder().feed(IDS[:T]) if cached else device.logits(IDS[:T])[-1]
    np.testing.assert_allclose(found, expected[-1], atol=1e-4)
    # The model itself still computes in 16 bits.
    assert np.abs(
        before - expected
    ).max() > 1e-3 and embedding.compute_dtype == policy.removeprefix("mixed_")


# keras-hub's own layer drops the mask of its positions and says so.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_padding_masks_of_the_tutorial_decode(tmp_path):
    network = larger(
        model(
            keras_hub.layers.TokenAndPositionEmbedding(V, T, 16, mask_zero=True),
            keras_hub.layers.TransformerDecoder(16, 2),
        )
    )
    assert export(network, tmp_path)["decodes"]
    decoder = tfscale.device.load(str(tmp_path / "x")).decoder()
    expected = np.asarray(network(np.array([IDS[:T]])))[0]
    found = np.stack([decoder.feed([token]) for token in IDS[:T]])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("value", [-np.inf, -1e9])
def test_a_masked_vocabulary_is_compared_where_it_is_finite(value, tmp_path):
    mask = np.zeros(V, np.float32)
    mask[[3, 200]] = value

    @keras.saving.register_keras_serializable("tests")
    class Masked(LAYERS.Layer):
        def call(self, x):
            return x + mask

    def build():
        return larger(
            model(LAYERS.Embedding(V, 16), outputs=lambda x: Masked()(LAYERS.Dense(V)(x)))
        )

    report = export(build(), tmp_path, quantize="int8")
    error = next(row for row in report["checks"] if row["name"] == "relative_logit_error (xnnpack)")
    assert report["passed"] and 1e-4 < error["value"] < error["limit"] < 0.1


@pytest.mark.parametrize("units", [16, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layer", slow_but([LAYERS.LSTM, LAYERS.GRU], LAYERS.LSTM))
def test_narrow_recurrent_models_pass_in_int8(layer, units, tmp_path):
    network = model(LAYERS.Embedding(V, 16), layer(units, return_sequences=True))
    assert export(network, tmp_path, quantize="int8")["passed"]


class OwnVariable(keras.Model):
    def __init__(self):
        super().__init__()
        self.table = tf.Variable(tf.random.normal((V, V)))

    def call(self, ids, training=False):
        return tf.gather(self.table, ids)


def several_inputs():
    ids, mask = (
        keras.Input((T,), dtype="int32", name="token_ids"),
        keras.Input((T,), dtype="int32", name="padding_mask"),
    )
    x = LAYERS.Embedding(V, 16)(ids) * keras.ops.cast(mask, "float32")[..., None]
    return keras.Model({"token_ids": ids, "padding_mask": mask}, LAYERS.Dense(V)(x))


def quantized_by_keras():
    network = model(LAYERS.Embedding(V, 16))
    network.layers[-1].quantize("int8")
    return network


def mistaken(kind):
    embedding, rnn = LAYERS.Embedding(V, 16), LAYERS.LSTM(16)
    sequence, stated = (
        LAYERS.LSTM(16, return_sequences=True),
        LAYERS.LSTM(16, return_sequences=True, return_state=True),
    )
    return {
        "two outputs": lambda: model(embedding, outputs=lambda x: [LAYERS.Dense(V)(x), x]),
        "states": lambda: model(
            embedding, stated, outputs=lambda x: [LAYERS.Dense(V)(x[0]), *x[1:]]
        ),
        "dictionary": lambda: model(embedding, outputs=lambda x: {"logits": LAYERS.Dense(V)(x)}),
        "inputs": several_inputs,
        "last token": lambda: model(embedding, rnn),
        "label": lambda: model(embedding, rnn, outputs=lambda x: LAYERS.Dense(1, "sigmoid")(x)),
        "strings": lambda: keras.Sequential(
            [
                keras.Input((1,), dtype="string"),
                LAYERS.TextVectorization(vocabulary=["a", "b"]),
                embedding,
                LAYERS.Dense(V),
            ]
        ),
        "stateful": lambda: keras.Sequential(
            [
                keras.Input(batch_shape=(1, T), dtype="int32"),
                embedding,
                LAYERS.GRU(16, return_sequences=True, stateful=True),
                LAYERS.Dense(V),
            ]
        ),
        "variable": OwnVariable,
        "length": lambda: model(embedding, sequence, length=5),
        "few ids": lambda: model(LAYERS.Embedding(100, 16)),
        "few logits": lambda: model(embedding, outputs=lambda x: LAYERS.Dense(100)(x)),
        "sigmoid": lambda: model(embedding, outputs=lambda x: LAYERS.Dense(V, "sigmoid")(x)),
        "both sides": lambda: larger(model(embedding, LAYERS.Bidirectional(sequence))),
        "keras int8": quantized_by_keras,
        "bfloat16": lambda: model(LAYERS.Embedding(V, 16, dtype="bfloat16")),
    }[kind]()


MISTAKES = {
    "two outputs": "gives 2 outputs",
    "states": "gives 3 outputs",
    "dictionary": "gives a dict of logits",
    "inputs": "has 2 inputs",
    "last token": "return_sequences=True",
    "label": "return_sequences=True",
    "strings": "is of text, which no file of built-in operations reads",
    "stateful": "is stateful, and a file starts each call from nothing",
    "variable": "not a weight of a Keras layer",
    "length": "reads windows of 5 tokens",
    "few ids": "the end token is 256, and model .* knows ids from 0 to 99",
    "few logits": "the end token is 256, and model .* knows ids from 0 to 99",
    "sigmoid": "gives probabilities",
    "both sides": r"sees the future.* begins in layer 'bidirectional.*' \(Bidirectional\)",
    "keras int8": "was quantized by Keras .* give the float model",
    "bfloat16": "weights of layer 'embedding.*' are bfloat16",
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_one_line(kind, tmp_path):
    with pytest.raises((ConfigError, ExportError), match=MISTAKES[kind]) as raised:
        export(mistaken(kind), tmp_path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_never_called_is_built(tmp_path):
    network = keras.Sequential(
        [LAYERS.Embedding(V, 16), LAYERS.LSTM(16, return_sequences=True), LAYERS.Dense(V)]
    )
    assert export(network, tmp_path)["passed"]


def test_a_tokenizer_of_keras_hub_is_taken(tmp_path):
    words = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    theirs = keras_hub.tokenizers.GPT2Tokenizer(words, ["a b"])
    from tfscale.errors import TokenizerError

    # It spells only two bytes, which tfscale does not take: refused by what makes tokenizers of theirs.
    with pytest.raises(TokenizerError):
        export(model(LAYERS.Embedding(V, 16)), tmp_path, tokenizer=theirs)
