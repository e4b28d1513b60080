"""Decoders of keras-hub against their copies: keras-hub is the reference."""

import keras
import keras_hub
import numpy as np
import pytest

from benchmarks.hub_copies import BACKBONES, GEMMA3, GROUPS, SIZES, SMOLLM3, logits_of, randomized
from tests.slow import slow_but
from tfscale import models
from tfscale.compat import keras_weights
from tfscale.errors import ConfigError
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.hub import from_keras_hub


@pytest.mark.parametrize(
    "name",
    slow_but(
        list(BACKBONES),
        *("gpt2", "llama3.2", "mistral", "qwen2.5", "qwen3", "gemma", "gemma2", "gemma3"),
        *("phi3", "smollm3_bias"),
    ),
)
def test_the_copy_has_the_logits_of_the_original(name):
    backbone = randomized(name)
    network = from_keras_hub(backbone, sequence_length=32)
    ids = np.random.default_rng(4).integers(0, 50, (3, 32)).astype(np.int32)
    expected = logits_of(backbone, ids)
    np.testing.assert_allclose(
        np.asarray(network(ids)), expected, atol=1e-4 * np.abs(expected).max()
    )
    # Token by token, with the key-value cache that export takes.
    decoder = KerasDecoder(network, prefill_lengths=[8])
    decoder.feed(ids[0, :11].tolist())
    found = np.stack([decoder.feed([int(token)]) for token in ids[0, 11:]])
    np.testing.assert_allclose(found, expected[0, 11:], atol=1e-4 * np.abs(expected).max())
    kept = sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)
    kept -= 8 * 16 if name == "gpt2" else 0  # positions beyond the context
    assert network.count_params() == models.parameter_count(network.config) == kept


def test_rows_that_the_tokenizer_lacks_are_left_out():
    backbone = randomized("llama")
    network = from_keras_hub(
        keras_hub.models.LlamaCausalLM(backbone), sequence_length=16, vocabulary_size=47
    )
    ids = np.random.default_rng(4).integers(0, 47, (1, 16)).astype(np.int32)
    np.testing.assert_allclose(
        np.asarray(network(ids)), logits_of(backbone, ids)[..., :47], atol=1e-3
    )
    with pytest.raises(ConfigError, match="vocabulary_size=51, and the model has 50 entries"):
        from_keras_hub(backbone, vocabulary_size=51)


@pytest.mark.parametrize(
    "name, precision",
    slow_but(
        [
            (name, precision)
            for name in ("gpt2", "llama", "qwen2.5", "gemma3")
            for precision in ("float32", "mixed_bfloat16")
        ],
        ("gpt2", "float32"),
        ("qwen2.5", "mixed_bfloat16"),
    ),
)
def test_a_model_whose_memory_is_given_back_has_the_same_copy(name, precision, monkeypatch):
    monkeypatch.setattr(keras_weights, "_PART", 100)
    expected = from_keras_hub(randomized(name), 32, precision).get_weights()
    network = from_keras_hub(randomized(name), 32, precision, consume=True)
    for have, want in zip(network.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(have, want)


def test_what_cannot_be_copied_is_refused():
    with pytest.raises(
        ConfigError, match="sequence_length=41, and the model has positions for 40 tokens"
    ):
        from_keras_hub(BACKBONES["gpt2"](), sequence_length=41)
    opt = keras_hub.models.OPTBackbone(
        num_heads=2, intermediate_dim=24, max_sequence_length=40, **SIZES
    )
    with pytest.raises(
        ConfigError,
        match="OPTBackbone is not an architecture that tfscale imports: Gemma 1 and 2; Gemma 3 .text.;"
        " GPT-2; Llama 2 to 3.2 and SmolLM2; Mistral; Phi 3 and 4; Qwen 2 and 2.5; Qwen 3; SmolLM3."
        " As it is, its CausalLM is exported by tfscale.export_keras",
    ):
        from_keras_hub(opt)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Llama",
            GROUPS | {"rope_position_scaling_factor": 2.0},
            "rope_position_scaling_factor=2, which keras-hub's Llama does not apply",
        ),
        (
            "Gemma",
            GROUPS | {"head_dim": 6, "use_post_ffw_norm": True},
            "use_post_attention_norm=False and use_post_ffw_norm=True; both or none are taken",
        ),
        (
            "Gemma",
            GROUPS | {"head_dim": 6, "query_head_dim_normalize": False},
            "query_head_dim_normalize=False, which keras-hub does not pass on to its layers",
        ),
        ("Gemma3", GEMMA3 | {"local_rope_scaling_factor": 2.0}, "local_rope_scaling_factor=2;"),
        (
            "Gemma3",
            GEMMA3
            | {"is_embedding_model": True, "pooling_intermediate_dim": 4, "embedding_dim": 4},
            "the model has is_embedding_model; of Gemma 3, models that write text",
        ),
        ("Gemma3", GEMMA3 | {"use_bidirectional_attention": True}, "has use_bidirectional_atte"),
        (
            "Phi3",
            GROUPS
            | {
                "rope_scaling_type": "su",
                "rope_scaling_short_factor": [1.0, 2.0],
                "rope_scaling_long_factor": [1.0, 4.0],
            },
            "rope_scaling_type='su', a list of factors",
        ),
        ("SmolLM3", SMOLLM3 | {"mlp_bias": True}, "mlp_bias=True; feed-forward biases"),
        (
            "SmolLM3",
            SMOLLM3 | {"rope_layer_enabled_list": [False, True, True, False]},
            "no positions in layers 1, 4 .counted from 1.; every n-th",
        ),
    ],
)
def test_an_option_that_tfscale_lacks_is_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        from_keras_hub(getattr(keras_hub.models, f"{name}Backbone")(**options))


def test_keras_hub_does_not_apply_what_it_is_refused_for():
    """If an upgrade mends these, the readers can take them."""
    plain, stretched = (
        keras_hub.models.LlamaBackbone(rope_position_scaling_factor=factor, **GROUPS)
        for factor in (1.0, 2.0)
    )
    stretched.set_weights(plain.get_weights())
    ids = np.arange(16, dtype=np.int32)[None]
    np.testing.assert_array_equal(logits_of(plain, ids), logits_of(stretched, ids))


def test_a_window_as_long_as_the_context_is_none():
    assert from_keras_hub(randomized("mistral"), sequence_length=7).config.attention_window == 0
    assert from_keras_hub(randomized("gemma3"), sequence_length=4).config.attention_window == 5


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "name", slow_but(["gemma", "llama3_tied", "gemma3", "qwen3", "smollm3"], "llama3_tied")
)
def test_a_model_that_computes_in_bfloat16_is_copied_in_float32(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        backbone = randomized(name)
    finally:
        keras.config.set_dtype_policy("float32")
    network = from_keras_hub(backbone, sequence_length=16)
    reference = BACKBONES[name]()
    for target, weight in zip(reference.trainable_weights, backbone.trainable_weights, strict=True):
        target.assign(np.asarray(weight.value, np.float32))
    ids = np.random.default_rng(4).integers(0, 50, (1, 16)).astype(np.int32)
    expected = logits_of(reference, ids)
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
