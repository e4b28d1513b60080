"""The parts of a Transformer by which its architecture in Hugging Face's transformers is told.

An architecture says of each part which values it has. The parts are the options of
`TransformerConfig` that decide what is computed; sizes are free, and first weights have no effect.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from tfscale.config import TransformerConfig

Allowed: TypeAlias = tuple[object, ...] | None
"""Values that an architecture has for a part; None for any."""

FREE = (
    "vocabulary_size",
    "sequence_length",
    "hidden_dim",
    "num_layers",
    "num_heads",
    "feed_forward_dim",
    "norm_epsilon",
    "tie_embeddings",
    "rope_base",
    # Of scaled positions, which `rope_scaling` stands for.
    "rope_factor",
    "rope_low_frequency_factor",
    "rope_high_frequency_factor",
    "rope_original_length",
    # Nothing that is computed with.
    "dropout",
    "residual_initializer",
    "output_initializer",
)
"""Options with which every architecture is written."""

LLAMA_PARTS: Mapping[str, Allowed] = MappingProxyType(
    {
        "positions": ("rope",),
        "local_rope_base": (0,),
        "rope_fraction": (1,),
        "rope_scaling": ("none",),
        "no_rope_every": (0,),
        "normalization": ("rms",),
        "query_key_norm": (False,),
        "query_scale_dim": (0,),
        "query_key_value_bias": (False,),
        "use_bias": (False,),
        "attention_soft_cap": (0,),
        "attention_window": (0,),
        "global_every": (0,),
        "global_tokens": (0,),
        "sandwich_norm": (False,),
        "activation": ("swiglu",),
        "head_dim": (0,),
        "num_kv_heads": None,
        "feed_forward_rank": (0,),
        "embedding_rank": (0,),
        "embedding_skip": (False,),
        "logit_soft_cap": (0,),
        "scale_embeddings": (False,),
    }
)
"""The parts of Llama 2 (Touvron et al. 2023); other architectures name what they have instead."""

ANY_SCALING: Allowed = ("none", "linear", "llama3")
"""The ways to stretch rotary positions that most architectures of transformers have."""


def has_parts(config: object) -> bool:
    """Returns whether the options of a network are those by which architectures are told, so that
    no other option has a say in what it computes."""
    options = dataclasses.fields(config) if dataclasses.is_dataclass(config) else ()
    return {field.name for field in options} == {*FREE, *LLAMA_PARTS}


def parts_of(config: TransformerConfig) -> dict[str, object]:
    """Returns the value of each part, the same for all options that compute the same.

    Args:
        config: the architecture.

    Returns:
        The options in `LLAMA_PARTS`. 0 stands for what needs no naming: a head of hidden_dim /
        num_heads, as many key-value heads as heads, a window that all of the context is in, scores
        divided by the square root of a head's width.

    Example:
        parts_of(TransformerConfig(num_heads=4, num_kv_heads=4))["num_kv_heads"]    # 0
    """
    parts = {name: getattr(config, name) for name in LLAMA_PARTS}
    width, heads = config.head_width, config.num_heads
    if width * heads == config.hidden_dim:
        parts["head_dim"] = 0
    if config.kv_heads == heads:
        parts["num_kv_heads"] = 0
    if config.query_scale_dim == width:
        parts["query_scale_dim"] = 0
    parts["rope_scaling"] = scaling_of(config)
    if config.rope_options.turned(width) == width:
        parts["rope_fraction"] = 1
    windowed = config.global_every or config.local_rope_base
    if config.attention_window >= config.sequence_length and not windowed:
        parts["attention_window"] = parts["global_tokens"] = 0
    if config.use_bias:
        # It has these too.
        parts["query_key_value_bias"] = False
    return parts


def scaling_of(config: TransformerConfig) -> str:
    """Returns how rotary positions are stretched; "none" also where they are stretched by 1."""
    by_one = config.rope_scaling == "linear" and config.rope_factor == 1
    return "none" if by_one else config.rope_scaling


def obstacles(config: TransformerConfig, allowed: Mapping[str, Allowed]) -> list[str]:
    """Returns the options of a network that an architecture does not have, in words.

    Args:
        config: the network's.
        allowed: the values of each part that the architecture has.

    Example:
        obstacles(TransformerConfig(query_key_norm=False), LLAMA_PARTS)
        # ["activation=relu_squared (it has swiglu)"]
    """
    found = []
    for name, value in parts_of(config).items():
        values = allowed[name]
        if values is not None and value not in values:
            has = " or ".join(_shown(one) for one in values)
            found.append(f"{name}={_shown(value)} (it has {has})")
    return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
