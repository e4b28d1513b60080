"""Documents that are kept apart in a window: each as if it stood alone.

The reference is the functional model on one document, which knows nothing of documents.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tfscale import models
from tfscale.config import (
    BERTConfig,
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    NNLMConfig,
    RNNConfig,
    TransformerConfig,
)
from tfscale.models.capability import capabilities
from tfscale.models.documents import Documents, places
from tfscale.models.visibility import hidden_in_blocks, hidden_keys

# Of a document of one token Keras warns that its attention has one weight.
pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
START, VOCABULARY, LENGTH = 1, 20, 24
APART = Documents(START)
LENGTHS = [5, 1, 9, 2, 7]
"""Inputs of the documents of a window, the start token included."""
TRANSFORMER = {
    "vocabulary_size": VOCABULARY,
    "sequence_length": LENGTH,
    "hidden_dim": 16,
    "num_layers": 2,
    "num_heads": 4,
}
SIZES = {"vocabulary_size": VOCABULARY, "sequence_length": LENGTH, "hidden_dim": 7}
CONFIGS = {
    "rope": TransformerConfig(**TRANSFORMER, num_kv_heads=2),
    "learned": gpt2(**TRANSFORMER),
    "window": TransformerConfig(**TRANSFORMER, attention_window=5, attention_soft_cap=5.0),
    "blocks": TransformerConfig(**TRANSFORMER, attention_window=4, num_kv_heads=2),
    "layers": TransformerConfig(
        **TRANSFORMER,
        attention_window=4,
        global_every=2,
        local_rope_base=50.0,
        no_rope_every=3,
        sandwich_norm=True,
        query_key_value_bias=True,
    ),
    "global": TransformerConfig(**TRANSFORMER, attention_window=4, global_tokens=2),
    "lstm": LSTMConfig(**SIZES, embedding_dim=5, num_layers=2),
    "gru": GRUConfig(**SIZES, embedding_dim=5, num_layers=2),
    "rnn": RNNConfig(**SIZES, embedding_dim=5, num_layers=2),
    "nnlm": NNLMConfig(**SIZES, embedding_dim=5, context_tokens=4, direct_connections=True),
}


def documents(rows=2, seed=0, lengths=LENGTHS):
    """Rows of documents, each of which begins with the start token."""
    rng = np.random.default_rng(seed)
    return [
        [np.array([START, *rng.integers(2, VOCABULARY, n - 1)], np.int32) for n in lengths]
        for _ in range(rows)
    ]


ROWS = documents()
WINDOWS = np.stack([np.concatenate(row) for row in ROWS])


@pytest.fixture(scope="module", params=CONFIGS)
def network(request):
    """A network whose weights are large enough for other documents to matter."""
    built = models.build_network(CONFIGS[request.param])
    built.set_weights([2 * weight for weight in built.get_weights()])
    return built


def alone(network, row):
    """Logits (T, V) of the documents of a row, each read by itself."""
    return np.concatenate([network(ids[None])[0] for ids in row])


def test_segments_and_places_by_hand():
    ids = np.array([[7, 8, 1, 5, 6, 1, 9], [1, 1, 4, 4, 4, 4, 1]])
    segments = APART.segments(ids)
    np.testing.assert_array_equal(segments, [[0, 0, 1, 1, 1, 2, 2], [1, 2, 2, 2, 2, 2, 3]])
    np.testing.assert_array_equal(places(segments), [[0, 1, 0, 1, 2, 0, 1], [0, 0, 1, 2, 3, 4, 0]])
    assert places(segments[:, :1]).numpy().tolist() == [[0], [0]]


def test_hidden_keys_by_hand():
    segments = tf.constant([[0, 0, 1, 1]])
    hidden = hidden_keys(4, 1, causal=True, window=0, global_tokens=0, segments=segments)
    seen = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    np.testing.assert_array_equal(hidden[0, 0].numpy() == 0, np.array(seen, bool))
    hidden = hidden_in_blocks(4, 1, 1, 0, segments=segments)
    # Of a window of one token, the second key is the query itself, and all else is out of sight.
    np.testing.assert_array_equal(hidden[0, 0, :, 0] == 0, [[False, True]] * 4)


def test_each_document_has_the_logits_that_it_has_alone(network):
    found = network.project(network.hidden_states(WINDOWS, documents=APART)).numpy()
    together = network(WINDOWS).numpy()
    for row, logits, mixed in zip(ROWS, found, together, strict=True):
        expected = alone(network, row)
        np.testing.assert_allclose(logits, expected, atol=2e-5)
        np.testing.assert_allclose(mixed[: LENGTHS[0] - 2], expected[: LENGTHS[0] - 2], atol=2e-5)
        assert np.abs(mixed - expected).max() > 0.1


def test_the_documents_before_change_nothing_at_all(network):
    """Exactly: what is out of sight is multiplied by 0."""
    others = np.stack([np.concatenate(row) for row in documents(seed=1)])
    cut = sum(LENGTHS[:2])
    others[:, cut:] = WINDOWS[:, cut:]
    assert (others[:, :cut] != WINDOWS[:, :cut]).any()
    found, again = (network.hidden_states(ids, documents=APART) for ids in (WINDOWS, others))
    np.testing.assert_array_equal(found[:, cut:], again[:, cut:])


def test_the_rest_of_an_earlier_document_is_one_by_itself(network):
    """As an evaluation reads it: a window begins with nothing."""
    cut = 2
    found = network.project(network.hidden_states(WINDOWS[:, cut:], documents=APART)).numpy()
    expected = alone(network, [ROWS[0][0][cut:], *ROWS[0][1:]])
    np.testing.assert_allclose(found[0], expected, atol=2e-5)


@pytest.mark.parametrize("name", ["rope", "learned", "lstm", "gru"])
def test_gradients_are_those_of_the_documents_alone(name):
    network = models.build_network(CONFIGS[name])
    weight = np.random.default_rng(2).normal(size=(*WINDOWS.shape, VOCABULARY)).astype("float32")
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        total, at = 0.0, 0
        for ids in ROWS[0]:
            total += tf.reduce_sum(network(ids[None]) * weight[:1, at : at + len(ids)])
            at += len(ids)
    expected = [tf.convert_to_tensor(g) for g in tape.gradient(total, variables)]
    for remat in (False, True):
        with tf.GradientTape() as tape:
            hidden = network.hidden_states(WINDOWS[:1], remat=remat, documents=APART)
            found = tf.reduce_sum(network.project(hidden) * weight[:1])
        np.testing.assert_allclose(found, total, rtol=1e-5, atol=1e-5)
        gradients = tape.gradient(found, variables)
        for one, other in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(tf.convert_to_tensor(one), other, atol=2e-5, rtol=1e-4)


def test_learned_positions_that_go_on_are_those_of_the_window():
    """The reference moves the table up, by as many positions as stand before the document."""
    network = models.build_network(CONFIGS["learned"])
    table = network.position_embedding.embeddings
    kept = 20 * np.asarray(table.numpy())
    table.assign(kept)
    onward = Documents(START, "continue")
    found = network.project(network.hidden_states(WINDOWS[:1], documents=onward)).numpy()[0]
    restarted = network.project(network.hidden_states(WINDOWS[:1], documents=APART)).numpy()[0]
    at = 0
    for ids in ROWS[0]:
        table.assign(np.roll(kept, -at, axis=0))
        np.testing.assert_allclose(found[at : at + len(ids)], network(ids[None])[0], atol=2e-5)
        at += len(ids)
    assert np.abs(found - restarted).max() > 0.1


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_a_carried_state_ends_with_its_document(name):
    network = models.build_network(CONFIGS[name])
    first = [tf.fill((2, 7), 0.9) for _ in network.cache_spec()]
    hidden, states = network.carry(WINDOWS, first, documents=APART)
    np.testing.assert_array_equal(hidden, network.hidden_states(WINDOWS, documents=APART))
    # A window that begins within a document goes on with the state, up to the next one.
    hidden, _ = network.carry(WINDOWS[:, 2:], first, documents=APART)
    plain, _ = network.carry(WINDOWS[:, 2:], first)
    np.testing.assert_allclose(hidden[:, :3], plain[:, :3], atol=1e-6)
    assert np.abs(hidden[:, 3:] - plain[:, 3:]).max() > 1e-3
    # What is carried on is the state of the last document alone.
    last = [tf.zeros((2, 7)) for _ in first]
    _, expected = network.carry(WINDOWS[:, -LENGTHS[-1] :], last)
    for one, other in zip(states, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_what_keras_would_compute_is_computed_here(name, monkeypatch):
    """As on a GPU: cuDNN knows no beginnings."""
    network = models.build_network(CONFIGS[name])
    expected = network.hidden_states(WINDOWS, documents=APART)
    monkeypatch.setattr("tfscale.models.recurrent_layers._Sequence._left_to_keras", lambda *_: True)
    np.testing.assert_array_equal(network.hidden_states(WINDOWS, documents=APART), expected)


@pytest.mark.parametrize("name", ["rope", "lstm"])
def test_half_precision(name):
    """A document's states do not depend on those before it, whatever the rounding."""
    network = models.build_network(CONFIGS[name], "mixed_bfloat16")
    changed = WINDOWS.copy()
    changed[:, 1:5] = 3
    found, again = (network.hidden_states(ids, documents=APART) for ids in (WINDOWS, changed))
    assert found.dtype == tf.bfloat16
    np.testing.assert_array_equal(found[:, 5:], again[:, 5:])


def test_who_can():
    for config in (BERTConfig(**TRANSFORMER), BiLSTMConfig(**SIZES)):
        assert not capabilities(models.build_network(config)).separates
    assert not capabilities(keras.Sequential([keras.layers.Embedding(3, 3)])).separates
    assert capabilities(models.build_network(CONFIGS["nnlm"])).separates
