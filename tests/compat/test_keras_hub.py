"""Each private name of keras-hub that tfscale needs is there and does what is said of it."""

import keras
import keras_hub
import numpy as np
import pytest

from tfscale.compat import keras_hub as compat

SIZES = {"vocabulary_size": 20, "num_layers": 1, "hidden_dim": 8}
GROUPS = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 12}
VOCABULARY = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}
GPT2 = {**SIZES, "num_heads": 2, "intermediate_dim": 12, "max_sequence_length": 6}


def test_a_new_cache_has_room_for_the_context():
    model = keras_hub.models.GPT2CausalLM(keras_hub.models.GPT2Backbone(**GPT2))
    cache = np.asarray(compat.new_cache(model, 6))
    assert cache.shape == (1, 1, 2, 6, 2, 4)
    assert compat.new_cache(keras.Sequential(), 6) is None


def test_key_width():
    layer = keras_hub.layers.TransformerDecoder(intermediate_dim=8, num_heads=2)
    layer(np.zeros((1, 3, 12), "float32"))
    assert compat.key_width(layer) == 6


def kernel_shapes(layers):
    dense = (layers.query, layers.key, layers.value, layers.output, layers.expand, layers.contract)
    return [tuple(layer.kernel.shape) for layer in dense]


def test_layers_of_gpt2():
    [block] = keras_hub.models.GPT2Backbone(**GPT2).transformer_layers
    layers = compat.gpt2_layers(block)
    assert kernel_shapes(layers) == [(8, 2, 4)] * 3 + [(2, 4, 8), (8, 12), (12, 8)]
    assert layers.gate is None
    assert layers.attention_norm is not layers.feed_forward_norm
    assert all(
        norm.gamma.shape == (8,) for norm in (layers.attention_norm, layers.feed_forward_norm)
    )


@pytest.mark.parametrize(
    "family", ["LlamaBackbone", "MistralBackbone", "QwenBackbone", "Qwen3Backbone"]
)
def test_layers_of_llama(family):
    options = {"head_dim": 2} if family == "Qwen3Backbone" else {}
    [block] = getattr(keras_hub.models, family)(**GROUPS, **options).transformer_layers
    layers = compat.llama_layers(block)
    attention = [(8, 4, 2), (8, 2, 2), (8, 2, 2), (4, 2, 8)]
    assert kernel_shapes(layers) == [*attention, (8, 12), (12, 8)]
    assert layers.gate.kernel.shape == (8, 12) and layers.gate is not layers.expand
    assert layers.attention_norm is not layers.feed_forward_norm
    assert all(
        norm.scale.shape == (8,) for norm in (layers.attention_norm, layers.feed_forward_norm)
    )


def test_norms_of_qwen_3():
    [block] = keras_hub.models.Qwen3Backbone(head_dim=6, **GROUPS).transformer_layers
    norms = compat.qwen3_norms(block)
    assert [tuple(norm.scale.shape) for norm in norms] == [(6,), (6,)]
    assert norms[0] is not norms[1]


def test_the_answers_of_a_tokenizer():
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=VOCABULARY, merges=["a b"])
    source = compat.hub_tokenizer(tokenizer)
    assert (source.name, source.merges, source.model) == ("GPT2Tokenizer", ["a b"], None)
    assert source.vocabulary == VOCABULARY
    assert (source.end_id, source.end, source.second_end_id) == (3, "<|endoftext|>", None)
    bare = compat.hub_tokenizer(object())
    assert (bare.vocabulary, bare.merges, bare.end_id) == (None, None, None)


def test_the_tokenizer_in_a_model():
    backbone = keras_hub.models.GPT2Backbone(**GPT2)
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=VOCABULARY, merges=["a b"])
    preprocessor = keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=6)
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=preprocessor)
    assert compat.tokenizer_in(model) is tokenizer
    assert compat.tokenizer_in(keras_hub.models.GPT2CausalLM(backbone)) is None
