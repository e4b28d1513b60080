"""GPT-2's parts as options of `TransformerConfig`, every one of them named."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

GPT2_PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "positions": "learned",
        "rope_base": 10_000.0,
        "local_rope_base": 0.0,
        "rope_fraction": 1.0,
        "rope_scaling": "none",
        "rope_factor": 1.0,
        "rope_low_frequency_factor": 1.0,
        "rope_high_frequency_factor": 4.0,
        "rope_original_length": 8192,
        "no_rope_every": 0,
        "normalization": "layer",
        "norm_epsilon": 1e-5,
        "query_key_norm": False,
        "query_scale_dim": 0,
        "query_key_value_bias": False,
        "attention_soft_cap": 0.0,
        "global_every": 0,
        "sandwich_norm": False,
        "activation": "gelu",
        "residual_initializer": "scaled",
        "embedding_skip": False,
        "use_bias": False,
        "tie_embeddings": True,
        "output_initializer": "normal",
        "logit_soft_cap": 0.0,
        "scale_embeddings": False,
    }
)
"""The parts of GPT-2 (Radford et al. 2019), without its biases.

They were the defaults of the first versions. A file that lacks one of them is of a time when there
was no other value, so this is what it means. Presets, imported models and the family "bert" begin
with them, so that a new default changes none of these."""
