"""The cached path against the full forward pass of the same network."""

import numpy as np
import pytest

from tests.gpt2 import gpt2
from tfscale.config import LSTMConfig
from tfscale.errors import PromptError
from tfscale.inference.generation import generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.text.tokenizers import train_tokenizer

CONTEXT = 19
SIZE = {"vocabulary_size": 257, "sequence_length": CONTEXT, "hidden_dim": 16, "num_layers": 2}
CONFIGS = [
    gpt2(num_heads=2, **SIZE),
    gpt2(num_heads=4, use_bias=True, tie_embeddings=False, **SIZE),
    LSTMConfig(embedding_dim=8, **SIZE),
    LSTMConfig(embedding_dim=8, tie_embeddings=True, **SIZE),
]


@pytest.fixture(
    scope="module",
    params=CONFIGS,
    ids=lambda c: f"{c.family}-{'tied' if c.tie_embeddings else 'untied'}",
)
def network(request):
    network = build_network(request.param, seed=3)
    # Larger weights than the initial ones, so that the logits of different contexts differ by whole units.
    network.set_weights(
        [weight * 4 if weight.ndim > 1 else weight for weight in network.get_weights()]
    )
    return network


def test_every_split_into_prompt_and_decode_equals_the_full_forward_pass(network):
    # A prompt of 19 is read as 8, 8, and three single steps: a padded call of 4 at position 16 would overrun.
    ids = np.random.default_rng(0).integers(0, 257, CONTEXT)
    full = np.asarray(network(ids[None].astype(np.int32)))[0]
    assert np.abs(full - full[0]).max() > 1
    decoder = KerasDecoder(network, prefill_lengths=(8, 4, 64))
    for prompt in range(1, CONTEXT + 1):
        decoder.reset()
        np.testing.assert_allclose(decoder.feed(ids[:prompt]), full[prompt - 1], atol=1e-4)
        for position in range(prompt, CONTEXT):
            np.testing.assert_allclose(decoder.feed([ids[position]]), full[position], atol=1e-4)


def test_mixed_precision_network_is_decoded_in_float32():
    networks = [
        build_network(CONFIGS[0], precision, seed=1) for precision in ("float32", "mixed_bfloat16")
    ]
    networks[1].set_weights(networks[0].get_weights())
    first, second = (KerasDecoder(network).feed([1, 2, 3, 4]) for network in networks)
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_generates_what_the_full_forward_pass_says(network):
    tokenizer = train_tokenizer("byte", ["any"], 257)
    result = generate(KerasDecoder(network), tokenizer, "ab", max_tokens=12)
    ids = [tokenizer.end_id, *b"ab"]
    for token in result.tokens:
        assert np.asarray(network(np.array([ids], np.int32)))[0, -1].argmax() == token
        ids.append(token)
    assert result.tokens


def test_decoder_shows_weights_that_change_later():
    network = build_network(CONFIGS[0], seed=1)
    decoder = KerasDecoder(network)
    before = decoder.feed([1, 2])
    network.set_weights([weight * 2 for weight in network.get_weights()])
    decoder.reset()
    after = decoder.feed([1, 2])
    np.testing.assert_allclose(
        after, np.asarray(network(np.array([[1, 2]], np.int32)))[0, -1], atol=1e-4
    )
    assert np.abs(after - before).max() > 1e-3


def test_too_many_tokens():
    decoder = KerasDecoder(build_network(CONFIGS[0]))
    decoder.feed([1] * 15)
    with pytest.raises(PromptError, match="21 tokens do not fit into the model's context of 19"):
        decoder.feed([1] * 6)
    with pytest.raises(PromptError, match="no token"):
        decoder.feed([])
    assert decoder.feed([1] * 4).shape == (257,)
    assert KerasDecoder(build_network(CONFIGS[2])).context_length is None
