"""Rounding that is learned: where it begins, what it may change, and that it makes text more likely."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tfscale.config import GRUConfig, LSTMConfig, NNLMConfig
from tfscale.errors import ExportError
from tfscale.exporting.learned_rounding import LearnedBlocks, LearnedRounding, Windows
from tfscale.exporting.rounded import numbers_in_place, rounded_in_place
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
    ids = np.random.default_rng(seed).integers(0, V, (count, T + 1)).astype(np.int32)
    return Windows(ids[:, :-1], ids[:, 1:])


def losses(network, windows):
    logits = network.project(network.hidden_states(windows.inputs))
    return np.mean(keras.losses.sparse_categorical_crossentropy(windows.targets, logits, True), 1)


def rounding_of(network, quantize="int4"):
    return LearnedRounding(
        network,
        lambda ids: network.project(network.hidden_states(ids)),
        weight_formats(network, quantize),
    )


FORMS = [
    ((64, 3), WeightFormat(bits=4, axis=0, block=32)),
    ((3, 64), WeightFormat(bits=4, axis=1, block=32)),
    ((4, 8, 5), WeightFormat(bits=4, axis=(0, 1), block=32)),
    ((5, 4, 8), WeightFormat(bits=4, axis=(1, 2), block=32)),
]


@pytest.mark.parametrize("shape, form", FORMS)
def test_it_begins_with_the_nearest_numbers(shape, form):
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    blocks = LearnedBlocks(weight, form)
    nearest = fake_quantize(tf.constant(weight), form)
    np.testing.assert_array_equal(blocks.values(), nearest)


@pytest.mark.parametrize("shape, form", FORMS)
def test_whatever_was_learned_rounds_to_itself(shape, form):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=shape).astype(np.float32)
    blocks = LearnedBlocks(weight, form)
    blocks.offsets.assign(rng.uniform(-3, 3, blocks.offsets.shape))
    blocks.clips.assign(rng.uniform(0, 2, blocks.clips.shape))
    blocks.keep_within()
    values = blocks.values()
    np.testing.assert_array_equal(fake_quantize(values, form), values)
    changed = np.mean(values.numpy() != fake_quantize(tf.constant(weight), form).numpy())
    assert 0.3 < changed < 1


def test_a_block_by_hand():
    """Scale 2 / 7 becomes 73 / 256 in bfloat16; a clip of 1/2 halves it."""
    weight = np.zeros((32, 1), np.float32)
    weight[:4, 0] = 2, 1, -0.5, 0.15
    blocks = LearnedBlocks(weight, WeightFormat(bits=4, axis=0, block=32))
    step = 73 / 256
    # 1 / step is 3.51, -0.5 / step -1.75, 0.15 / step 0.53.
    np.testing.assert_array_equal(blocks.values()[:5, 0], np.float32([7, 4, -2, 1, 0]) * step)
    blocks.offsets.assign(np.float32([-0.5, -0.5, 0.3, -0.2, 0.4, *[0.0] * 27])[None])
    np.testing.assert_array_equal(blocks.values()[:5, 0], np.float32([7, 3, -1, 0, 0]) * step)
    blocks.offsets.assign(tf.zeros((1, 32)))
    blocks.clips.assign([[0.5]])
    np.testing.assert_array_equal(blocks.values()[:5, 0], np.float32([7, 7, -4, 1, 0]) * step / 2)


def test_a_block_that_the_runtime_cannot_scale_stays_zero():
    weight = np.zeros((64, 1), np.float32)
    weight[:32], weight[32] = 1e-5, 1.0
    blocks = LearnedBlocks(weight, WeightFormat(bits=4, axis=0, block=32))
    assert not blocks.values()[:32].numpy().any() and blocks.values()[32, 0] != 0


def test_losses_are_those_of_the_network_with_the_numbers():
    network, windows = strong(TRANSFORMER), text(11)
    rounding = rounding_of(network, "int4_all")
    exact = losses(network, windows)
    rounding.learn(text(16))
    numbers = rounding.numbers()
    assert len(numbers) == 10  # Token and position table, and four matrices of each layer.
    with (
        numbers_in_place(network, {path: (lambda path=path: numbers[path]) for path in numbers}),
        rounded_in_place(network, "int4_all"),
    ):
        expected = losses(network, windows)
    np.testing.assert_allclose(rounding.losses(windows), expected, rtol=1e-5)
    assert np.abs(expected - exact).max() > 1e-2
    np.testing.assert_array_equal(losses(network, windows), exact)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_tokens_become_more_likely_and_the_network_stays(family):
    network = strong(FAMILIES[family])
    before = [weight.numpy() for weight in network.weights]
    rounding, windows = rounding_of(network), text(256)
    nearest = rounding.losses(windows).mean()
    rounding.learn(windows)
    assert rounding.losses(windows).mean() < nearest - 0.01
    for weight, expected in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected)


def test_the_same_windows_learn_the_same_and_others_do_not():
    def learned(seed):
        rounding = rounding_of(strong(TRANSFORMER))
        rounding.learn(text(32, seed))
        return np.concatenate([values.ravel() for values in rounding.numbers().values()])

    first = learned(0)
    np.testing.assert_array_equal(learned(0), first)
    assert (learned(1) != first).any()


def test_an_offset_moves_by_half_a_step_at_most():
    rounding = rounding_of(strong(TRANSFORMER))
    rounding.learn(text(100))
    for blocks in rounding.learned.values():
        moved = np.abs(blocks.offsets.numpy())
        assert 0 < moved.max() <= 0.5
        assert 0.5 <= blocks.clips.numpy().min() < blocks.clips.numpy().max() <= 1


def test_a_network_without_blocks_is_refused():
    network = build_network(LSTMConfig(**{**SIZES, "embedding_dim": 12}, hidden_dim=12))
    with pytest.raises(ExportError, match="no matrix of this network sums over whole blocks"):
        rounding_of(network)
