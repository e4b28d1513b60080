"""The loss in chunks: against sums in NumPy's float64, and against the whole logits under TensorFlow's own gradient."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training.tiny import CONFIGS, LENGTH, VOCABULARY, compiled_program
from tfscale import models
from tfscale.training.language_model import LanguageModel
from tfscale.training.loss import (
    TokenLoss,
    Tokens,
    _cut,
    chunked_loss,
    chunked_loss_and_gradients,
    token_losses,
)
from tfscale.training.validation import EvaluationStep

ROWS = 5
NETWORKS = {
    "tied": CONFIGS["transformer"],
    "untied": dataclasses.replace(CONFIGS["transformer"], tie_embeddings=False),
    "bias": CONFIGS["lstm"],
    "tied_projected": dataclasses.replace(CONFIGS["lstm"], tie_embeddings=True),
}


def randomized(config, precision="float32"):
    """A network whose weights, biases too, are large enough for sharp probabilities."""
    network = models.build_network(config, precision)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return network


def batch():
    rng = np.random.default_rng(1)
    ids, targets = (rng.integers(0, VOCABULARY, (ROWS, LENGTH)).astype("int32") for _ in range(2))
    weights = rng.random((ROWS, LENGTH)).astype("float32")
    weights[0, :5] = 0
    return ids, targets, weights


def whole(network, hidden, targets, weights, scale, smoothing):
    """Loss sum and gradients with all logits at once, by TensorFlow's own differentiation."""
    variables = [v.value for v in network.output_variables]
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        loss, nll = token_losses(network.project(hidden), targets, smoothing)
        scaled = tf.reduce_sum(loss * weights) * scale
    of_hidden, *of_variables = tape.gradient(scaled, [hidden, *variables])
    return tf.reduce_sum(nll * weights), of_hidden, of_variables


def chunked(network, hidden, targets, weights, scale, smoothing, chunk_tokens, xla):
    variables = [v.value for v in network.output_variables]

    @tf.function(jit_compile=xla)
    def run():
        return chunked_loss_and_gradients(
            network,
            Tokens(hidden, targets, weights),
            scale,
            variables,
            TokenLoss(smoothing),
            chunk_tokens,
        )

    return run()


CHUNKS = [(7, 0.1), (20, 0.0), (1000, 0.2)]
CASES = [
    *((name, *chunks, False) for name in NETWORKS for chunks in CHUNKS),
    # The same function, compiled.
    ("tied", *CHUNKS[0], True),
    ("bias", *CHUNKS[0], True),
    *(
        pytest.param(name, *chunks, True, marks=pytest.mark.slow)
        for name in NETWORKS
        for chunks in CHUNKS
        if (name, chunks) not in (("tied", CHUNKS[0]), ("bias", CHUNKS[0]))
    ),
]


@pytest.mark.parametrize("name,chunk_tokens,smoothing,xla", CASES)
def test_chunks_equal_the_whole(name, chunk_tokens, smoothing, xla):
    """60 tokens in chunks of 7 (the last one is filled up), of 20, and in one."""
    network = randomized(NETWORKS[name])
    ids, targets, weights = batch()
    hidden, scale = network.hidden_states(ids), tf.constant(0.03)
    nll, of_hidden, of_variables = whole(network, hidden, targets, weights, scale, smoothing)
    got_nll, got_hidden, got_variables = chunked(
        network, hidden, targets, weights, scale, smoothing, chunk_tokens, xla
    )
    assert float(got_nll) == pytest.approx(float(nll), rel=1e-6)
    for got, expected in zip([got_hidden, *got_variables], [of_hidden, *of_variables], strict=True):
        assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_for_xla_is_that_of_tensorflow(compiled, smoothing):
    """Also where logits are far apart, and in their gradient."""
    rng = np.random.default_rng(5)
    logits = np.concatenate(
        [rng.normal(0, 2, (2, 3, 11)), rng.normal(0, 3e4, (2, 3, 11))], 1
    ).astype("float32")
    targets, weights = (
        rng.integers(0, 11, (2, 6)).astype("int32"),
        rng.random((2, 6)).astype("float32"),
    )

    def losses(logits, xla):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss, nll = token_losses(logits, targets, smoothing, xla)
            total = tf.reduce_sum(loss * weights)
        return loss, nll, tape.gradient(total, logits)

    expected = losses(tf.constant(logits), False)
    found = tf.function(lambda x: losses(x, True), jit_compile=compiled)(tf.constant(logits))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=2e-6)


def test_gradients_by_hand():
    """The gradient of the logits is weight x scale x (p - y), with y = 0.8 at the target and 0.2 / V everywhere."""
    network = randomized(NETWORKS["bias"])
    ids, targets, weights = batch()
    hidden = network.hidden_states(ids)
    nll, of_hidden, (of_kernel, of_bias) = chunked(
        network, hidden, targets, weights, tf.constant(0.5), 0.2, 7, xla=False
    )
    states = np.asarray(hidden, "float64").reshape(ROWS * LENGTH, -1)
    kernel, bias = (np.asarray(v, "float64") for v in network.output_variables)
    logits = states @ kernel + bias
    logits -= logits.max(-1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen, w = np.eye(VOCABULARY)[targets.reshape(-1)], weights.reshape(-1).astype("float64")
    of_logits = 0.5 * w[:, None] * (p - 0.8 * chosen - 0.2 / VOCABULARY)
    assert float(nll) == pytest.approx(-(w * np.log((p * chosen).sum(-1))).sum(), rel=1e-6)
    np.testing.assert_allclose(of_hidden, (of_logits @ kernel.T).reshape(hidden.shape), atol=2e-6)
    np.testing.assert_allclose(of_kernel, states.T @ of_logits, atol=2e-6)
    np.testing.assert_allclose(of_bias, of_logits.sum(0), atol=2e-6)


@pytest.mark.parametrize("name", ["tied", "bias"])
@pytest.mark.parametrize("precision,xla", [("mixed_bfloat16", False), ("mixed_float16", True)])
def test_mixed_precision_is_as_near_to_float32_as_the_whole(name, precision, xla):
    """From the same hidden states; the sums over chunks are in float32, and so often nearer."""
    ids, targets, weights = batch()
    exact_network, network = randomized(NETWORKS[name]), randomized(NETWORKS[name], precision)
    hidden, scale = network.hidden_states(ids), tf.constant(0.03)
    assert hidden.dtype == precision.removeprefix("mixed_")
    exact = whole(exact_network, tf.cast(hidden, tf.float32), targets, weights, scale, 0.1)
    plain = whole(network, hidden, targets, weights, scale, 0.1)
    ours = chunked(network, hidden, targets, weights, scale, 0.1, 7, xla)
    epsilon = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}[precision]
    for e, p, o in zip(*(tf.nest.flatten(x) for x in (exact, plain, ours)), strict=True):
        e, p, o = (np.asarray(tf.cast(x, tf.float32)) for x in (e, p, o))
        largest = np.abs(e).max()
        assert np.abs(o - e).max() <= np.abs(p - e).max() + 2 * epsilon * largest
    assert {g.dtype for g in ours[2]} == {tf.float32}


def test_float16_gradients_do_not_vanish():
    """The scale is inside: of a single token that is almost certain, p - y is below float16's smallest number."""
    network = randomized(NETWORKS["bias"], "mixed_float16")
    network.output_variables[1].assign(np.where(np.arange(VOCABULARY) == 3, 17.0, 0.0))
    network.output_variables[0].assign(np.zeros((16, VOCABULARY)))
    hidden, ones = tf.ones((1, 1, 16), tf.float16), tf.ones((1, 1))
    _, _, (_, of_bias) = chunked(
        network, hidden, np.array([[3]]), ones, tf.constant(2.0**15), 0.0, 1, xla=False
    )
    others = np.delete(of_bias.numpy(), 3)
    np.testing.assert_allclose(others, 2.0**15 * np.exp(-17) / (1 + 49 * np.exp(-17)), rtol=1e-3)


@pytest.mark.parametrize(
    "rows,length,chunk_tokens,shape", [(5, 12, 7, (9, 7)), (5, 12, 59, (2, 30)), (2, 3, 64, (1, 6))]
)
def test_chunks_are_even_and_filled_with_zeros(rows, length, chunk_tokens, shape):
    tensor = tf.reshape(tf.range(1, rows * length + 1), (rows, length))
    [chunks] = _cut([tensor], chunk_tokens)
    assert chunks.shape == shape
    flat = np.asarray(chunks).reshape(-1)
    np.testing.assert_array_equal(flat[: rows * length], np.arange(1, rows * length + 1))
    assert not flat[rows * length :].any()


@pytest.mark.parametrize("name", ["tied", "bias"])
def test_evaluation_in_chunks_equals_the_whole(name):
    network = randomized(NETWORKS[name])
    ids, targets, weights = batch()
    batches = [(ids, targets, weights)]
    nll, tokens = EvaluationStep(network, tf.distribute.get_strategy(), False)(batches)
    eager = chunked_loss(network, network.hidden_states(ids), targets, tf.constant(weights), 7)
    assert float(eager) == pytest.approx(nll, rel=1e-6)
    for xla in (False, True):
        got = EvaluationStep(network, tf.distribute.get_strategy(), xla, loss_chunk_tokens=7)(
            batches
        )
        assert got == pytest.approx((nll, tokens), rel=1e-6)


def test_no_program_holds_the_logits(windows):
    """The whole logits have a shape of their own in the step's program; in chunks it is not there."""
    for chunk_tokens, there in ((0, True), (32, False)):
        model = LanguageModel(models.build_network(CONFIGS["transformer"]))
        model.compile(keras.optimizers.SGD(0.1), loss_chunk_tokens=chunk_tokens)
        ids, targets = (tf.constant(x[:16]) for x in windows)
        program = compiled_program(model.train_step_runner, ids, targets)
        sizes = (f"[16,{LENGTH},{VOCABULARY}]", f"[{16 * LENGTH},{VOCABULARY}]")
        assert any(size in program for size in sizes) is there
        assert f"[32,{VOCABULARY}]" in program or there


def test_frozen_output_weights_stay(windows):
    network = models.build_network(dataclasses.replace(CONFIGS["lstm"]))
    network.output_layer.trainable = False
    model = LanguageModel(network)
    model.compile(keras.optimizers.SGD(0.5), loss_chunk_tokens=32, xla=False)
    before = network.get_weights()
    model.fit(*windows, batch_size=16, verbose=0)
    moved = {
        v.path
        for v, old in zip(network.weights, before, strict=True)
        if np.abs(v.numpy() - old).max() > 0
    }
    assert moved == {v.path for v in network.trainable_variables}
