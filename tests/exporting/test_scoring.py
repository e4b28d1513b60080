"""Keras models of a user's own as scoring files: what converts, what is fused, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale.device
import tfscale.exporting.scoring as scoring
from tests.slow import slow_but
from tfscale.device.scorer import ScoringModel
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.evaluation.evaluate import evaluate_file
from tfscale.exporting.flatbuffer import operations
from tfscale.exporting.keras_model import export_keras
from tfscale.exporting.scoring import fused_lstm, scoring_file
from tfscale.files.description import Description
from tfscale.text.score import token_nll
from tfscale.text.tokenizers import train_tokenizer

T, V = 12, 257


def attention(x):
    mixed = keras.layers.MultiHeadAttention(2, 16)(x, x, use_causal_mask=True)
    return keras.layers.LayerNormalization()(x + mixed)


KINDS = {
    "lstm": lambda x: keras.layers.LSTM(48, return_sequences=True)(x),
    "two lstms": lambda x: keras.layers.LSTM(32, return_sequences=True)(
        keras.layers.LSTM(40, return_sequences=True)(x)
    ),
    "bilstm": lambda x: keras.layers.Bidirectional(keras.layers.LSTM(24, return_sequences=True))(x),
    "gru": lambda x: keras.layers.GRU(40, return_sequences=True)(x),
    "rnn": lambda x: keras.layers.SimpleRNN(40, return_sequences=True)(x),
    "attention": attention,
}
FUSED = {"lstm": 1, "two lstms": 2, "bilstm": 2, "gru": 0, "rnn": 0, "attention": 0}


def network_of(kind):
    keras.utils.set_random_seed(3)
    ids = keras.Input((T,), dtype="int32")
    x = KINDS[kind](keras.layers.Embedding(V, 32)(ids))
    network = keras.Model(ids, keras.layers.Dense(V)(x))
    network.cloze = kind == "bilstm"  # It reads both sides.
    network.set_weights([weight * 3 for weight in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def text():
    return train_tokenizer("byte", [], 257), "The quick brown fox jumps over the lazy dog. " * 3


@pytest.mark.parametrize("kind", slow_but(list(KINDS), "gru", "attention"))
def test_a_model_of_ones_own(tmp_path, kind, text):
    tokenizer, words = text
    network = network_of(kind)
    stream = [*tokenizer.encode(words), tokenizer.end_id]
    report = export_keras(
        network,
        output=str(tmp_path / "export"),
        sequence_length=T,
        held_out=stream,
        tokenizer=tokenizer,
        cached=False,
    )
    assert report["passed"]
    names = [name for counts in report["operations"].values() for name in counts]
    found = sum(
        counts.get("UNIDIRECTIONAL_SEQUENCE_LSTM", 0) for counts in report["operations"].values()
    )
    assert found == FUSED[kind] and not any(name.startswith("Flex") for name in names)
    assert ("WHILE" in names) == (kind in ("gru", "rnn"))
    model = tfscale.device.load(str(tmp_path / "export"))
    inputs = np.array([tokenizer.end_id, *stream[: T - 1]])
    expected = np.asarray(network(inputs[None]))[0]
    np.testing.assert_allclose(model.logits(inputs), expected, atol=1e-4)
    np.testing.assert_allclose(
        model.logits(inputs), expected, atol=1e-4
    )  # nothing is kept between calls
    if kind != "bilstm":  # a backward layer sees what fills the window up
        np.testing.assert_allclose(model.logits(inputs[:5]), expected[:5], atol=1e-4)
    by_hand = 0.0
    for start in range(0, len(stream), T):
        targets = np.array(stream[start : start + T])
        before = np.array([([tokenizer.end_id, *stream])[start : start + len(targets)]])
        padded = np.pad(
            before, [(0, 0), (0, T - before.shape[1])], constant_values=tokenizer.end_id
        )
        logits = np.asarray(network(padded), np.float64)[0, : before.shape[1]]
        by_hand += float(
            (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(targets)), targets]).sum()
        )
    score = model.score(words)
    assert score.tokens == len(stream) and score.nll == pytest.approx(by_hand, rel=1e-5)
    # The layers compute by themselves again.
    np.testing.assert_allclose(np.asarray(network(inputs[None]))[0], expected, atol=1e-6)


@pytest.mark.slow
def test_a_layer_that_gives_its_state_keeps_its_loop(tmp_path, text):
    keras.utils.set_random_seed(3)
    ids = keras.Input((T,), dtype="int32")
    x, *state = keras.layers.LSTM(24, return_sequences=True, return_state=True)(
        keras.layers.Embedding(V, 32)(ids)
    )
    x = keras.layers.LSTM(24, return_sequences=True)(x, initial_state=state)
    network = keras.Model(ids, keras.layers.Dense(V)(x))
    network.cloze = True  # The first state of the second layer has seen the whole window.
    report = export_keras(
        network,
        output=str(tmp_path / "x"),
        sequence_length=T,
        held_out=text[0].encode(text[1]),
        tokenizer=text[0],
    )
    assert report["passed"]


def test_the_fused_operation_keeps_state_which_the_runner_resets(text):
    content = scoring_file(network_of("lstm"), T, "none")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner("score")
    ids = np.arange(T, dtype=np.int32)[None] + 65
    first, second = (runner(tokens=ids)["logits"] for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    interpreter.reset_all_variables()
    np.testing.assert_array_equal(runner(tokens=ids)["logits"], first)


@pytest.mark.slow
def test_the_cell_state_grows_as_in_keras(tmp_path):
    """Over equal tokens the state of this layer grows by almost 1 a step; the converter would stop it at 10."""
    ids = keras.Input((30,), dtype="int32")
    layer = keras.layers.LSTM(4, return_sequences=True)
    network = keras.Model(ids, keras.layers.Dense(5)(layer(keras.layers.Embedding(5, 3)(ids))))
    bias = np.repeat([6.0, 6.0, 3.0, 0.0], 4)
    layer.set_weights([np.zeros((3, 16)), np.zeros((4, 16)), bias])
    content = scoring_file(network, 30, "none")
    (tmp_path / "model.tflite").write_bytes(content)
    model = ScoringModel(str(tmp_path / "model.tflite"), None, Description(end_id=0), 1)
    model.logits(np.zeros(30, np.int32))
    interpreter = model._score._interpreter
    largest = max(
        float(np.abs(interpreter.get_tensor(t["index"])).max())
        for t in interpreter.get_tensor_details()
        if tuple(t["shape"]) == (1, 4)
    )
    assert largest > 25


@pytest.mark.parametrize(
    "quantize, largest", slow_but([("float16", 0.55), ("int8", 0.4)], ("int8", 0.4))
)
def test_smaller_files(tmp_path, text, quantize, largest):
    tokenizer, words = text
    network = network_of("lstm")
    stream = tokenizer.encode(words)
    whole = len(scoring_file(network, T, "none"))
    report = export_keras(
        network,
        output=str(tmp_path / "x"),
        sequence_length=T,
        held_out=stream,
        tokenizer=tokenizer,
        cached=False,
        quantize=quantize,
    )
    assert report["sizes"]["file_bytes"] < largest * whole
    assert report["perplexity"]["file"] != report["perplexity"]["keras"]


def test_layers_that_cannot_be_fused_keep_their_loop():
    for options in (
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"activation": "relu"},
    ):
        ids = keras.Input((T,), dtype="int32")
        x = keras.layers.LSTM(16, return_sequences=True, **options)(
            keras.layers.Embedding(V, 16)(ids)
        )
        network = keras.Model(ids, keras.layers.Dense(V)(x))
        with fused_lstm(network, tf.Module()) as count:
            assert count == 0


@pytest.mark.slow
def test_a_masked_layer_keeps_its_loop(text):
    ids = keras.Input((T,), dtype="int32")
    x = keras.layers.Embedding(V, 16, mask_zero=True)(ids)
    network = keras.Model(
        ids, keras.layers.Dense(V)(keras.layers.LSTM(16, return_sequences=True)(x))
    )
    names = [
        name for counts in operations(scoring_file(network, T, "none")).values() for name in counts
    ]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" not in names and "WHILE" in names


def test_a_file_that_computes_something_else_is_not_written(tmp_path, text, monkeypatch):
    tokenizer, words = text
    other = network_of("gru")
    other.set_weights([weight + 0.3 for weight in other.get_weights()])
    original = scoring.scoring_file
    monkeypatch.setattr(
        scoring, "scoring_file", lambda network, length, quantize: original(other, length, quantize)
    )
    with pytest.raises(ExportError, match="fails its parity check: max_logit_difference"):
        export_keras(
            network_of("gru"),
            output=str(tmp_path / "x"),
            sequence_length=T,
            held_out=tokenizer.encode(words),
            tokenizer=tokenizer,
            cached=False,
        )
    assert not (tmp_path / "x").exists()


def test_an_operation_that_tflite_lacks(text):
    ids = keras.Input((T,), dtype="int32")

    @keras.saving.register_keras_serializable("tests")
    class Inverse(keras.layers.Layer):
        def call(self, x):
            return x + tf.reduce_sum(tf.linalg.inv(tf.eye(3) * (2 + x[0, 0, 0])))

    network = keras.Model(ids, keras.layers.Dense(V)(Inverse()(keras.layers.Embedding(V, 16)(ids))))
    with pytest.raises(ExportError, match="TFLite cannot express this network: .*MatrixInverse"):
        scoring_file(network, T, "none")


def test_mistakes(tmp_path, text):
    tokenizer, words = text
    network, stream = network_of("gru"), text[0].encode(text[1])
    common = {"output": str(tmp_path / "x"), "held_out": stream}
    with pytest.raises(
        ConfigError,
        match="quantize: expected one of none, float16, int8; received 'int4'",
    ):
        export_keras(
            network,
            sequence_length=T,
            tokenizer=tokenizer,
            quantize="int4",
            cached=False,
            **common,
        )
    with pytest.raises(ConfigError, match="sequence_length=1 is out of range"):
        export_keras(network, sequence_length=1, tokenizer=tokenizer, **common)
    with pytest.raises(
        ConfigError, match="sequence_length=1000000 is out of range; expected .* 2 to 32,768"
    ):
        export_keras(network, sequence_length=10**6, tokenizer=tokenizer, **common)
    with pytest.raises(
        ConfigError, match="quantize: expected one of .*int4_all.*; received 'int9'"
    ):
        export_keras(network, sequence_length=T, tokenizer=tokenizer, quantize="int9", **common)
    for wrong in ("tokenizer.model", keras.layers.TextVectorization()):
        with pytest.raises(
            ConfigError, match=f"tokenizer must be one of tfscale, .* a {type(wrong).__name__}"
        ):
            export_keras(network, sequence_length=T, tokenizer=wrong, **common)
    for wrong, found in (
        ([], "; received 0"),
        ([3, V], f" to {V - 1}; received 2 from 3 to {V}"),
        ([-1], "; received 1 from -1 to -1"),
        (words, ", and is a text; give tokenizer.encode"),
        (np.ones((2, T), int), r"received an array of shape \(2, 12\)"),
        ([1.5], "; received float64 of shape"),
        ([[1], [2, 3]], "a list of unequal parts"),
    ):
        with pytest.raises(DataError, match=f"held_out must be one or more ids from 0.*{found}"):
            export_keras(
                network, sequence_length=T, tokenizer=tokenizer, **common | {"held_out": wrong}
            )
    with pytest.raises(ConfigError, match="give a tokenizer, or the end_id"):
        export_keras(network, sequence_length=T, **common)
    export_keras(network, sequence_length=T, end_id=256, **common)
    model = tfscale.device.load(str(tmp_path / "x"))
    assert model.score(stream).tokens == len(stream)
    # Another token before a text: the first input is that one, and the end token only ends.
    export_keras(network, sequence_length=T, end_id=256, start_id=7, **common)
    begun = tfscale.device.load(str(tmp_path / "x"))
    rows = [begun.logits([7])[0], begun.logits([7, stream[0]])[1]]
    expected = sum(
        float(token_nll(row, np.array(token))) for row, token in zip(rows, stream[:2], strict=True)
    )
    assert begun.score(stream[:2]).nll == pytest.approx(expected, rel=1e-6)
    assert begun.score([256, 3]).nll == pytest.approx(
        float(token_nll(begun.logits([7, 7]), np.array([256, 3])).sum())
    )
    with pytest.raises(ConfigError, match="has no tokenizer beside it; give ids"):
        model.score("text")
    with pytest.raises(ConfigError, match="scores texts and does not write them"):
        model.generate("text")
    with pytest.raises(ConfigError, match="has no tokenizer beside it and scores ids alone"):
        evaluate_file(model, text_files=[__file__])
    with pytest.raises(DataError, match="a window has 1 to 12 tokens; received 13"):
        model.logits(range(13))
