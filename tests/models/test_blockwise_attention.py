"""Attention block by block gives what all scores at once give, and is taken where it is faster."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_documents import START, documents
from tests.slow import slow_but
from tfscale import models
from tfscale.config import TransformerConfig
from tfscale.models import attention, blockwise_rule
from tfscale.models.blockwise_attention import blockwise_attention
from tfscale.models.blockwise_rule import (
    FROM_LENGTH,
    blockwise_where_faster,
    for_another_machine,
    is_blockwise,
)
from tfscale.models.documents import Documents

LENGTH, BLOCK = 22, 4  # The last block is not full.
DOCUMENTS = {
    "short": [[5, 1, 9, 2, 5], [1, 1, 1, 8, 11], [4, 4, 4, 4, 6]],
    "long": [[22], [3, 19], [21, 1]],
}
CASES = {
    "heads": {},
    "few key heads": {"groups": 2},
    "window": {"window": 6},
    "window of one": {"window": 1},
    "soft cap": {"soft_cap": 1.5, "groups": 1},
}


def numbers(heads, seed, dtype="float32"):
    values = np.random.default_rng(seed).normal(size=(3, LENGTH, heads, 6))
    return tf.cast(values, dtype)


def segments_of(name):
    return tf.constant([np.repeat(range(len(row)), row) for row in DOCUMENTS[name]], tf.int32)


def reference(query, key, value, segments, window=0, soft_cap=0.0):
    """Query by query, over the keys that it sees."""
    repeats = query.shape[2] // key.shape[2]
    rows = []
    for row in range(query.shape[0]):
        for t in range(LENGTH):
            seen = [
                s
                for s in range(t + 1)
                if (not window or t - s < window)
                and (segments is None or segments[row, s] == segments[row, t])
            ]
            keys, values = (
                tf.repeat(tf.gather(x[row], seen), repeats, axis=1) for x in (key, value)
            )
            scores = tf.einsum("hk,shk->hs", query[row, t], keys)
            if soft_cap:
                scores = soft_cap * tf.tanh(scores / soft_cap)
            rows.append(tf.einsum("hs,shk->hk", tf.nn.softmax(scores), values))
    return tf.reshape(tf.stack(rows), query.shape)


def with_gradients(function, *inputs):
    """The output, and its gradients for a fixed one from above."""
    upstream = numbers(inputs[0].shape[2], 9, inputs[0].dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs)
    return [output, *tape.gradient(output, inputs, output_gradients=upstream)]


ROWS = [
    *[("short", "heads"), ("short", "few key heads"), ("short", "window"), ("long", "soft cap")],
    *[("long", "heads"), (None, "heads"), (None, "window of one")],
]


@pytest.mark.parametrize(
    "name, case, xla",
    slow_but(
        [(*case, xla) for case in ROWS for xla in (False, True)],
        *((*case, False) for case in ROWS[1:4]),
        ("short", "window", True),
        (None, "window of one", False),
    ),
)
def test_output_and_gradients_are_those_of_each_query_by_itself(name, case, xla):
    options = dict(CASES[case])
    groups = options.pop("groups", 4)
    inputs = [numbers(4, 0), numbers(groups, 1), numbers(groups, 2)]
    segments = None if name is None else segments_of(name)
    expected = with_gradients(lambda *x: reference(*x, segments, **options), *inputs)
    function = tf.function(
        lambda *x: with_gradients(
            lambda *y: blockwise_attention(*y, segments, block=BLOCK, **options), *x
        ),
        jit_compile=xla,
        autograph=False,
    )
    for one, other in zip(function(*inputs), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("block", [1, 3, LENGTH, 64])
def test_the_size_of_a_block_changes_nothing(block):
    inputs = [numbers(2, seed) for seed in range(3)]
    segments = segments_of("short")
    expected = reference(*inputs, segments)
    found = blockwise_attention(*inputs, segments, block=block)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 0.02), ("float16", 0.002)])
def test_half_precision_adds_up_in_float32(dtype, tolerance):
    inputs = [numbers(2, seed, dtype) for seed in range(3)]
    segments = segments_of("short")
    expected = with_gradients(
        lambda *x: reference(*x, segments), *(tf.cast(x, "float32") for x in inputs)
    )
    found = with_gradients(lambda *x: blockwise_attention(*x, segments, block=BLOCK), *inputs)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        # Single numbers differ by more, by how the processor multiplies.
        gap = tf.norm(tf.cast(one, "float32") - other) / tf.norm(other)
        assert gap < tolerance


def test_rows_need_not_be_known():
    inputs = [numbers(2, seed) for seed in range(3)]
    segments = segments_of("short")
    spec = tf.TensorSpec((None, LENGTH, 2, 6))
    function = tf.function(
        lambda q, k, v, s: blockwise_attention(q, k, v, s, block=BLOCK),
        input_signature=[spec, spec, spec, tf.TensorSpec((None, LENGTH), tf.int32)],
    )
    expected = reference(*inputs, segments)
    np.testing.assert_allclose(function(*inputs, segments), expected, atol=1e-5)
    one = function(*(x[:1] for x in inputs), segments[:1])
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)


def test_where_it_is_taken(monkeypatch):
    """Only in a step of this machine, and from a known length on."""
    assert not is_blockwise(FROM_LENGTH)
    with blockwise_where_faster():
        assert is_blockwise(FROM_LENGTH) and not is_blockwise(FROM_LENGTH - 1)
        assert not is_blockwise(tf.constant(FROM_LENGTH))
        monkeypatch.setattr(
            tf.config, "list_logical_devices", lambda kind: [kind] * (kind == "GPU")
        )
        assert not is_blockwise(FROM_LENGTH)
        monkeypatch.undo()
    with for_another_machine(), blockwise_where_faster():
        assert not is_blockwise(FROM_LENGTH)
    assert not is_blockwise(FROM_LENGTH)


SIZES = {
    "vocabulary_size": 20,
    "sequence_length": 24,
    "hidden_dim": 16,
    "num_layers": 2,
    "num_heads": 4,
}
NETWORKS = {
    "rope": ({"num_kv_heads": 2, "query_key_norm": True}, True),
    "window": ({"attention_window": 4}, True),
    "global": ({"attention_window": 4, "global_tokens": 2}, False),
    "dropout": ({"dropout": 0.5}, False),
}


@pytest.mark.parametrize("name", slow_but(list(NETWORKS), "rope", "global"))
def test_a_network_has_the_same_states_and_gradients(name, monkeypatch):
    options, taken = NETWORKS[name]
    network = models.build_network(TransformerConfig(**SIZES, **options))
    calls = []

    def counted(*arguments, **keywords):
        calls.append(arguments)
        return blockwise_attention(*arguments, block=BLOCK, **keywords)

    monkeypatch.setattr(attention, "blockwise_attention", counted)
    monkeypatch.setattr(blockwise_rule, "FROM_LENGTH", 24)
    ids = np.stack([np.concatenate(row) for row in documents()])
    apart = Documents(START)
    variables = [variable.value for variable in network.trainable_variables]

    def states(remat, training):
        with tf.GradientTape() as tape:
            hidden = network.hidden_states(ids, training=training, remat=remat, documents=apart)
            total = tf.reduce_sum(hidden * hidden[:, ::-1])
        return [hidden, *(tf.convert_to_tensor(g) for g in tape.gradient(total, variables[:-1]))]

    expected = states(False, False)
    assert not calls
    for remat in (False, True):
        with blockwise_where_faster():
            found = states(remat, False)
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-3)
    assert len(calls) == (6 if name != "global" else 0)
    calls.clear()
    with blockwise_where_faster():
        network.hidden_states(ids, training=True, documents=apart)
    assert bool(calls) is taken
