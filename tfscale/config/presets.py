"""Shapes of well-known models by name: sizes and options, no weights."""

import difflib

from tfscale.config import make_config
from tfscale.config.families.transformer import TransformerConfig
from tfscale.config.models import NetworkConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject

_GPT2 = {"use_bias": True, "tie_embeddings": True}
_LLAMA = {"positions": "rope", "normalization": "rms", "activation": "swiglu", "use_bias": False}

PRESETS: dict[str, JsonObject] = {
    # Radford et al. 2019; nanoGPT's smallest is the same with other sizes.
    "gpt2-small": {
        "sequence_length": 1024,
        "hidden_dim": 768,
        "num_layers": 12,
        "num_heads": 12,
        **_GPT2,
    },
    "gpt2-nano": {
        "sequence_length": 256,
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        **_GPT2,
    },
    # Touvron et al. 2023 with grouped queries, in sizes for phones (SmolLM, Ben Allal et al. 2025;
    # Llama 3.2).
    "llama-nano": {
        "sequence_length": 256,
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        "num_kv_heads": 2,
        "feed_forward_dim": 704,
        **_LLAMA,
    },
    "llama-135m": {
        "sequence_length": 2048,
        "hidden_dim": 576,
        "num_layers": 30,
        "num_heads": 9,
        "num_kv_heads": 3,
        "feed_forward_dim": 1536,
        **_LLAMA,
    },
    "llama-1b": {
        "sequence_length": 2048,
        "hidden_dim": 2048,
        "num_layers": 16,
        "num_heads": 32,
        "num_kv_heads": 8,
        "feed_forward_dim": 8192,
        "rope_base": 500_000.0,
        **_LLAMA,
    },
}
"""Options of `TransformerConfig`, by the preset's name; the vocabulary stays the tokenizer's."""


def preset_options(name: str) -> JsonObject:
    """The options of a preset.

    Raises:
        ConfigError: there is none of this name; the closest is named.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise ConfigError(
            f"no preset {name!r}; "
            + (f"did you mean {near[0]}?" if near else f"there are {', '.join(PRESETS)}")
        )
    return dict(PRESETS[name])


def preset(name: str, **changes: object) -> NetworkConfig:
    """The config of a preset.

    Args:
        name: see `PRESETS`.
        changes: options that are to be other than the preset's.

    Raises:
        ConfigError: there is none of this name, or an option is unknown or out of range.

    Example:
        network = tfscale.build_network(tfscale.preset("llama-nano", vocabulary_size=8192))
    """
    return make_config(TransformerConfig, preset_options(name) | changes)
