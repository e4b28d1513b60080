"""Rounding that is learned: where it begins, what it may change, and that text becomes likelier."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tfscale.config import GRUConfig, LSTMConfig, NNLMConfig
from tfscale.errors import ExportError
from tfscale.exporting.learned_rounding import LearnedRounding, LearnedWeight
from tfscale.exporting.rounded import given, numbers_in_place, rounded_in_place
from tfscale.models import build_network
from tfscale.models.recipe import WeightFormat
from tfscale.models.weight_formats import fake_quantize, weight_formats

V, T = 67, 8
TRANSFORMER = gpt2(vocabulary_size=V, sequence_length=T, hidden_dim=32, num_layers=2, num_heads=2)
SIZES = {"vocabulary_size": V, "sequence_length": T, "embedding_dim": 32}
FAMILIES = {
    "transformer": TRANSFORMER,
    "lstm": LSTMConfig(**SIZES, hidden_dim=32),
    "gru": GRUConfig(**SIZES, hidden_dim=32),
    "nnlm": NNLMConfig(**SIZES, context_tokens=4, hidden_dim=32),
}


def strong(config):
    """A network with weights so large that its layers do something."""
    network = build_network(config, seed=1)
    rng = np.random.default_rng(1)
    for weight in network.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(size=tuple(weight.shape), scale=0.3))
    return network


def text(count, seed=0):
    """So many batches of 8 windows."""
    ids = np.random.default_rng(seed).integers(0, V, (count, 8, T + 1)).astype(np.int32)
    ones = tf.ones((8, T))
    return [(tf.constant(row[:, :-1]), tf.constant(row[:, 1:]), ones) for row in ids]


def losses_of(network):
    def losses(ids, targets, weights):
        logits = network.project(network.hidden_states(ids))
        nll = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return tf.reduce_mean(nll * weights, axis=1)

    return losses


def rounding_of(network, quantize="int4"):
    return LearnedRounding(network, losses_of(network), weight_formats(network, quantize))


FORMS = [
    ((64, 3), WeightFormat(bits=4, axis=0, block=32)),
    ((3, 64), WeightFormat(bits=4, axis=1, block=32)),
    ((4, 8, 5), WeightFormat(bits=4, axis=(0, 1), block=32)),
    ((5, 4, 8), WeightFormat(bits=4, axis=(1, 2), block=32)),
]


@pytest.mark.parametrize("shape, form", FORMS)
def test_it_begins_with_the_nearest_numbers_and_ends_with_what_rounds_to_itself(shape, form):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(np.float32)
    learned, nearest = LearnedWeight(weight, form), fake_quantize(tf.constant(weight), form)
    np.testing.assert_array_equal(learned.values(), nearest)
    learned.move(rng.uniform(-3, 3, shape))
    values = learned.values()
    np.testing.assert_array_equal(fake_quantize(values, form), values)
    # Half of the offsets reach their ends, by which about half of the weights change sides.
    assert 0.2 < np.mean(values.numpy() != nearest.numpy()) < 0.8


def test_a_block_by_hand():
    """Scale 2 / 7 becomes 73 / 256 in bfloat16."""
    weight = np.zeros((32, 1), np.float32)
    weight[:5, 0] = 2, 1, -0.5, 0.15, -2
    learned, step = LearnedWeight(weight, WeightFormat(bits=4, axis=0, block=32)), 73 / 256
    # 1 / step is 3.51, -0.5 / step -1.75, 0.15 / step 0.53.
    np.testing.assert_array_equal(learned.values()[:6, 0], np.float32([7, 4, -2, 1, -7, 0]) * step)
    change = np.zeros((32, 1), np.float32)
    change[:6, 0] = -0.5, -0.5, 0.3, -0.2, 0.5, 0.4
    learned.move(change)
    np.testing.assert_array_equal(learned.values()[:6, 0], np.float32([7, 3, -1, 0, -7, 0]) * step)
    # None becomes larger than the largest.
    weight[1] = 1.9
    learned = LearnedWeight(weight, WeightFormat(bits=4, axis=0, block=32))
    learned.move(tf.fill((32, 1), 9.0))
    np.testing.assert_array_equal(learned.offsets, tf.fill((32, 1), 0.5))
    np.testing.assert_array_equal(learned.values()[:2, 0], np.float32([7, 7]) * step)


def test_a_block_that_the_runtime_cannot_scale_stays_zero():
    weight = np.zeros((64, 1), np.float32)
    weight[:32], weight[32] = 1e-5, 1.0
    learned = LearnedWeight(weight, WeightFormat(bits=4, axis=0, block=32))
    learned.move(tf.fill((64, 1), 0.5))
    assert not learned.values()[:32].numpy().any() and learned.values()[32, 0] != 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_tokens_become_more_likely_and_the_network_stays(family):
    network = strong(FAMILIES[family])
    before = [weight.numpy() for weight in network.weights]
    rounding, batches = rounding_of(network), text(32)
    nearest = rounding.losses(batches).mean()
    rounding.learn(batches)
    assert rounding.losses(batches).mean() < nearest - 0.01
    for weight, expected in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected)


def test_losses_are_those_of_the_network_with_the_numbers():
    network, batches = strong(TRANSFORMER), text(2)
    rounding, losses = rounding_of(network, "int4_all"), losses_of(network)
    exact = losses(*batches[0]).numpy()
    rounding.learn(text(2))
    numbers = rounding.numbers()
    assert len(numbers) == 10  # Token and position table, and four matrices of each layer.
    with (
        numbers_in_place(network, given(numbers)),
        rounded_in_place(network, "int4_all"),
    ):
        expected = [losses(*batch).numpy() for batch in batches]
    np.testing.assert_allclose(rounding.losses(batches), np.concatenate(expected), rtol=1e-5)
    assert np.abs(expected[0] - exact).max() > 1e-2
    np.testing.assert_array_equal(losses(*batches[0]), exact)


@pytest.mark.slow
def test_the_same_text_learns_the_same_and_another_does_not():
    def learned(seed):
        rounding = rounding_of(strong(TRANSFORMER))
        rounding.learn(text(4, seed))
        return np.concatenate([values.ravel() for values in rounding.numbers().values()])

    first = learned(0)
    np.testing.assert_array_equal(learned(0), first)
    assert (learned(1) != first).any()


def test_the_first_update_by_hand():
    """Of two updates the first has the rate 1 / 2, against the sign of the gradient."""
    network, batches = strong(TRANSFORMER), text(2)
    rounding = rounding_of(network)
    path = "block_0/expand/kernel"
    kernel = next(weight for weight in network.weights if weight.path == path)
    with rounded_in_place(network, "int4"), tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses_of(network)(*batches[0]))
    sign = np.sign(tape.gradient(loss, kernel.value))
    rounding.learn(batches[:1] * 2)
    offsets = rounding.learned[path].offsets.numpy()
    # The second, at 1 / 4, goes on or back.
    assert {*np.unique(np.abs(offsets))} <= {0.0, 0.25, 0.5}
    largest = np.abs(kernel.numpy()).reshape(-1, 32, kernel.shape[1]).max(axis=1)
    is_free = np.abs(kernel.numpy()) < np.repeat(largest, 32, axis=0)
    agrees = (np.sign(offsets) == -sign)[is_free]
    assert agrees.mean() > 0.99 and not offsets[~is_free].any()


def test_a_network_without_blocks_is_refused():
    network = build_network(LSTMConfig(**{**SIZES, "embedding_dim": 12}, hidden_dim=12))
    with pytest.raises(ExportError, match="no matrix of this network sums over whole blocks"):
        rounding_of(network)
