"""Tiny networks of each architecture that an export to Hugging Face knows, with random weights of all kinds."""

import functools

import numpy as np

from tests.gpt2 import gpt2
from tfscale.config import TransformerConfig
from tfscale.models import build_network

SIZES = {
    "vocabulary_size": 257,
    "sequence_length": 48,
    "hidden_dim": 24,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "feed_forward_dim": 20,
    "norm_epsilon": 1e-5,
}
LLAMA = {**SIZES, "query_key_norm": False, "activation": "swiglu"}
LLAMA_3 = {
    "rope_scaling": "llama3",
    "rope_base": 500.0,
    "rope_factor": 8.0,
    "rope_original_length": 40,
}
STRETCHED = {"rope_scaling": "linear", "rope_factor": 4.0}
GEMMA = {**LLAMA, "activation": "geglu", "scale_embeddings": True, "head_dim": 10}
GEMMA_2 = {**GEMMA, "sandwich_norm": True, "attention_soft_cap": 5.0, "logit_soft_cap": 3.0}
WINDOWS = {"attention_window": 5, "global_every": 2}
GEMMA_3 = {**GEMMA, "num_layers": 7, "sandwich_norm": True, "query_key_norm": True}
LOCAL = {"attention_window": 5, "global_every": 6, "rope_base": 1e6, "local_rope_base": 1e4}
LEARNED = {name: value for name, value in SIZES.items() if name != "num_kv_heads"}

CASES = {
    "gpt2": (
        "gpt2",
        True,
        {**LEARNED, "feed_forward_dim": 96, "use_bias": True, "activation": "gelu_tanh"},
    ),
    "gpt2_without_biases": ("gpt2", False, {**LEARNED, "activation": "gelu", "norm_epsilon": 1e-4}),
    "gpt2_two_tables": (
        "gpt2",
        False,
        {
            **LEARNED,
            "activation": "relu_squared",
            "tie_embeddings": False,
            "query_key_value_bias": True,
        },
    ),
    "llama": ("llama", True, {**LLAMA, "tie_embeddings": False, "norm_epsilon": 1e-3}),
    "llama_tied": ("llama", True, {**LLAMA, "num_kv_heads": 1, **LLAMA_3}),
    "llama_biases": ("llama", False, {**LLAMA, "use_bias": True}),
    "mistral": (
        "mistral",
        True,
        {**LLAMA, "attention_window": 5, "tie_embeddings": False, "head_dim": 10},
    ),
    "llama_wide_heads": ("llama", False, {**LLAMA, "head_dim": 10, "use_bias": True, **LLAMA_3}),
    # Its heads do not divide the width, with which transformers loads no Llama.
    "mistral_tied": ("mistral", False, {**LLAMA, "hidden_dim": 26, "head_dim": 10, **LLAMA_3}),
    "qwen2_wide_heads": (
        "qwen2",
        False,
        {**LLAMA, "query_key_value_bias": True, "head_dim": 10, "hidden_dim": 26},
    ),
    "smollm3_wide_heads": (
        "smollm3",
        False,
        {**LLAMA, "num_layers": 4, "no_rope_every": 2, "head_dim": 10},
    ),
    "phi3_wide_heads": ("phi3", False, {**LLAMA, "head_dim": 16, "rope_fraction": 0.25}),
    "qwen2": ("qwen2", True, {**LLAMA, "query_key_value_bias": True, **STRETCHED}),
    "qwen2_windows": (
        "qwen2",
        False,
        {**LLAMA, "query_key_value_bias": True, **WINDOWS, "tie_embeddings": False},
    ),
    "qwen3": (
        "qwen3",
        True,
        {**LLAMA, "query_key_norm": True, "head_dim": 10, "attention_window": 5},
    ),
    "qwen3_biases": (
        "qwen3",
        False,
        {
            **LLAMA,
            "query_key_norm": True,
            "query_key_value_bias": True,
            "norm_epsilon": 1e-6,
            "tie_embeddings": False,
        },
    ),
    "gemma": ("gemma", True, {**GEMMA, "num_kv_heads": 1}),
    "gemma_two_tables": ("gemma", False, {**GEMMA, "tie_embeddings": False, **LLAMA_3}),
    "gemma2": ("gemma2", True, {**GEMMA_2, **WINDOWS, "num_layers": 3}),
    "gemma2_scaled": ("gemma2", False, {**GEMMA_2, "query_scale_dim": 6}),
    "gemma3": (
        "gemma3_text",
        True,
        {**GEMMA_3, **LOCAL, "norm_epsilon": 1e-6, "rope_scaling": "linear", "rope_factor": 8.0},
    ),
    "gemma3_capped": (
        "gemma3_text",
        True,
        {**GEMMA_3, **LOCAL, "norm_epsilon": 1e-6, "logit_soft_cap": 3.0},
    ),
    "phi3_stretched_by_one": (
        "phi3",
        False,
        {
            **LLAMA,
            "hidden_dim": 32,
            "rope_fraction": 0.75,
            "rope_scaling": "linear",
            "rope_factor": 1.0,
        },
    ),
    "gemma3_one_base": (
        "gemma3_text",
        False,
        {**GEMMA_3, **WINDOWS, **LLAMA_3, "query_scale_dim": 6},
    ),
    "phi3": (
        "phi3",
        False,
        {
            **LLAMA,
            "hidden_dim": 32,
            "rope_fraction": 0.75,
            "attention_window": 5,
            "tie_embeddings": False,
        },
    ),
    "smollm3": ("smollm3", True, {**LLAMA, "num_layers": 4, "no_rope_every": 4}),
    "smollm3_biases": (
        "smollm3",
        False,
        {
            **LLAMA,
            "no_rope_every": 2,
            "query_key_value_bias": True,
            "tie_embeddings": False,
            **STRETCHED,
        },
    ),
}
"""Name -> model_type, whether keras-hub reads it, and the options of the network."""


def config_of(case):
    kind, _, options = CASES[case]
    return gpt2(**options) if kind == "gpt2" else TransformerConfig(**options)


@functools.cache
def network_of(case):
    """A network whose logits differ by much, so that an argmax means something."""
    network = build_network(config_of(case))
    rng = np.random.default_rng(5)
    for weight in network.weights:
        one = weight.name in ("scale", "gamma")
        weight.assign(rng.normal(float(one), 0.3, weight.shape))
    return network
