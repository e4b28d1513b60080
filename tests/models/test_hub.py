"""Decoders of keras-hub against their copies: keras-hub is the reference."""

import keras
import keras_hub
import numpy as np
import pytest

from tfscale import models
from tfscale.errors import ConfigError
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.hub import from_keras_hub

SIZES = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 16}
GROUPS = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 20}
BACKBONES = {
    "gpt2": lambda: keras_hub.models.GPT2Backbone(
        num_heads=2, intermediate_dim=24, max_sequence_length=40, **SIZES
    ),
    "llama": lambda: keras_hub.models.LlamaBackbone(**GROUPS),
    "llama3_tied": lambda: keras_hub.models.Llama3Backbone(
        rope_max_wavelength=500_000, tie_word_embeddings=True, **GROUPS
    ),
    "mistral": lambda: keras_hub.models.MistralBackbone(
        sliding_window=7, layer_norm_epsilon=1e-3, **GROUPS
    ),
    "qwen2": lambda: keras_hub.models.QwenBackbone(**GROUPS),
    "gemma": lambda: keras_hub.models.GemmaBackbone(
        head_dim=6, **(GROUPS | {"num_key_value_heads": 1})
    ),
}


def randomized(name):
    backbone = BACKBONES[name]()
    rng = np.random.default_rng(3)
    for weight in backbone.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return backbone


def theirs(backbone, ids):
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}, training=False)
    return np.asarray(backbone.token_embedding(hidden, reverse=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_copy_has_the_logits_of_the_original(name):
    backbone = randomized(name)
    network = from_keras_hub(backbone, sequence_length=32)
    ids = np.random.default_rng(4).integers(0, 50, (3, 32)).astype(np.int32)
    expected = theirs(backbone, ids)
    np.testing.assert_allclose(
        np.asarray(network(ids)), expected, atol=1e-4 * np.abs(expected).max()
    )
    # Token by token, with the key-value cache that export takes.
    decoder = KerasDecoder(network, prefill_lengths=[8])
    decoder.feed(ids[0, :11].tolist())
    found = np.stack([decoder.feed([int(token)]) for token in ids[0, 11:]])
    np.testing.assert_allclose(found, expected[0, 11:], atol=1e-4 * np.abs(expected).max())
    # The biases that Qwen lacks are the only weights more.
    extra = 2 * (16 + 40 + 16) if name == "qwen2" else 0
    kept = backbone.count_params() - (8 * 16 if name == "gpt2" else 0)
    assert network.count_params() == models.parameter_count(network.config) == kept + extra


def test_rows_that_the_tokenizer_lacks_are_left_out():
    backbone = randomized("llama")
    network = from_keras_hub(
        keras_hub.models.LlamaCausalLM(backbone), sequence_length=16, vocabulary_size=47
    )
    ids = np.random.default_rng(4).integers(0, 47, (1, 16)).astype(np.int32)
    np.testing.assert_allclose(np.asarray(network(ids)), theirs(backbone, ids)[..., :47], atol=1e-3)
    with pytest.raises(ConfigError, match="vocabulary_size=51, and the model has 50 entries"):
        from_keras_hub(backbone, vocabulary_size=51)


def test_what_cannot_be_copied_is_refused():
    with pytest.raises(
        ConfigError, match="sequence_length=41, and the model has positions for 40 tokens"
    ):
        from_keras_hub(BACKBONES["gpt2"](), sequence_length=41)
    with pytest.raises(
        ConfigError, match=r"stretches its rotary positions \(Llama 3.1 and later\)"
    ):
        from_keras_hub(keras_hub.models.LlamaBackbone(rope_position_scaling_factor=2.0, **GROUPS))
    with pytest.raises(ConfigError, match=r"the model has final_logit_soft_cap \(Gemma 2\)"):
        from_keras_hub(
            keras_hub.models.GemmaBackbone(head_dim=6, final_logit_soft_cap=30.0, **GROUPS)
        )
    opt = keras_hub.models.OPTBackbone(
        num_heads=2, intermediate_dim=24, max_sequence_length=40, **SIZES
    )
    with pytest.raises(
        ConfigError,
        match="OPTBackbone is not an architecture that tfscale knows: GPT2, Llama, Mistral",
    ):
        from_keras_hub(opt)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["gemma", "llama3_tied"])
def test_a_model_that_computes_in_bfloat16_is_copied_in_float32(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        backbone = randomized(name)
    finally:
        keras.config.set_dtype_policy("float32")
    network = from_keras_hub(backbone, sequence_length=16)
    reference = BACKBONES[name]()
    for target, weight in zip(reference.weights, backbone.weights, strict=True):
        target.assign(np.asarray(weight.value, np.float32))
    ids = np.random.default_rng(4).integers(0, 50, (1, 16)).astype(np.int32)
    expected = theirs(reference, ids)
    np.testing.assert_allclose(
        np.asarray(network(ids)), expected, atol=1e-4 * np.abs(expected).max()
    )
    # The compute type of the copy is no reason to doubt it either.
    lower = from_keras_hub(reference, sequence_length=16, precision="mixed_bfloat16")
    assert lower.precision == "mixed_bfloat16"
    for own, other in zip(lower.weights, network.weights, strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_option_that_nobody_foresaw_is_found_by_its_logits():
    backbone = randomized("gemma")
    backbone.transformer_layers[1].attention.query_head_dim_normalize = False
    backbone.transformer_layers[1].attention.hidden_dim = 400
    with pytest.raises(ConfigError, match="the copy of GemmaBackbone .* differs from it by"):
        from_keras_hub(backbone)
