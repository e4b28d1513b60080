"""`evaluate_network` on networks whose likelihoods can be added up by hand."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.distribution.strategy import strategy
from tfscale.errors import DataError
from tfscale.evaluation.perplexity import evaluate_network
from tfscale.text.score import token_nll

# Row = the id read; columns = probabilities of ids 0, 1, 2 after it.
PROBABILITIES = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [1 / 3, 1 / 3, 1 / 3]])


def table_network(probabilities) -> keras.Model:
    """A network whose logits depend on the id before alone."""
    size = len(probabilities)
    tokens = keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(size, size)
    network = keras.Model(tokens, table(tokens))
    table.set_weights([np.log(probabilities)])
    return network


def batches(*parts) -> tf.data.Dataset:
    """A dataset of (inputs, targets, weights) batches that may differ in their rows."""
    arrays = [
        tuple(
            np.array(x, dtype)
            for x, dtype in zip(part, (np.int32, np.int32, np.float32), strict=True)
        )
        for part in parts
    ]
    spec = tuple(
        tf.TensorSpec((None, arrays[0][0].shape[1]), dtype)
        for dtype in (tf.int32, tf.int32, tf.float32)
    )
    return tf.data.Dataset.from_generator(lambda: iter(arrays), output_signature=spec)


# The stream 0 0 1 2 1 after an id 2, in windows of 2; the last has a pad.
UNEQUAL = (
    ([[2, 0], [0, 1]], [[0, 0], [1, 2]], [[1, 1], [1, 1]]),
    ([[2, 0]], [[1, 0]], [[1, 0]]),
)


def test_hand_sum_over_unequal_batches():
    # After 2 comes 0: 1/3; 0 0: 1/2; 0 1: 1/4; 1 2: 1/8; 2 1: 1/3. Product 1/576 over 5 tokens.
    score = evaluate_network(table_network(PROBABILITIES), batches(*UNEQUAL), utf8_bytes=10)
    assert score.tokens == 5
    assert score.nll == pytest.approx(math.log(576), rel=1e-6)
    assert score.perplexity == pytest.approx(576 ** (1 / 5), rel=1e-6)
    assert score.bits_per_byte == pytest.approx(math.log2(576) / 10, rel=1e-6)


def test_uniform_logits_give_the_vocabulary_size():
    ids = np.random.default_rng(0).integers(0, 7, (5, 3))
    score = evaluate_network(
        table_network(np.full((7, 7), 1 / 7)), batches((ids, ids, np.ones((5, 3))))
    )
    assert score.tokens == 15
    assert score.perplexity == pytest.approx(7, rel=1e-6)


@pytest.mark.parametrize("xla", [False, True])
def test_equals_the_numpy_sum_and_does_not_depend_on_the_batching(xla):
    rng = np.random.default_rng(2)
    network = table_network(rng.dirichlet(np.ones(11), 11))
    inputs, targets = rng.integers(0, 11, (2, 9, 4))
    weights = rng.integers(0, 2, (9, 4))
    expected = (token_nll(np.asarray(network(inputs)), targets) * weights).sum()
    for rows in (1, 2, 4, 9):
        parts = [
            (inputs[i : i + rows], targets[i : i + rows], weights[i : i + rows])
            for i in range(0, 9, rows)
        ]
        score = evaluate_network(network, batches(*parts), xla=xla)
        assert (score.tokens, score.nll) == (weights.sum(), pytest.approx(expected, rel=1e-6))


def test_two_replicas_give_the_same_score_with_a_row_of_pads_on_one():
    mirrored = strategy("mirrored")
    assert mirrored.num_replicas_in_sync == 2
    with mirrored.scope():
        network = table_network(PROBABILITIES)
    score = evaluate_network(network, batches(*UNEQUAL), strategy=mirrored)
    assert (score.tokens, score.nll) == (5, pytest.approx(math.log(576), rel=1e-6))


def test_no_token_is_an_error():
    with pytest.raises(DataError, match="no tokens"):
        evaluate_network(table_network(PROBABILITIES), batches(([[0, 1]], [[1, 2]], [[0, 0]])))
