"""Shapes of well-known models by name: sizes and options, no weights."""

import difflib

from tfscale.config import make_config
from tfscale.config.families.transformer import TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.config.models import NetworkConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject

# Each names all of its parts, so that it stays what it is when a default changes.
_GPT2 = {**GPT2_PARTS, "use_bias": True}
_LLAMA = {**GPT2_PARTS, "positions": "rope", "normalization": "rms", "activation": "swiglu"}


def _sizes(
    sequence_length: int, hidden_dim: int, num_layers: int, num_heads: int, **options: object
) -> JsonObject:
    return {
        "sequence_length": sequence_length,
        "hidden_dim": hidden_dim,
        "num_layers": num_layers,
        "num_heads": num_heads,
        **options,
    }


PRESETS: dict[str, JsonObject] = {
    # Radford et al. 2019; nanoGPT's smallest is the same with other sizes.
    "gpt2-small": _sizes(1024, 768, 12, 12, **_GPT2),
    "gpt2-nano": _sizes(256, 256, 4, 4, **_GPT2),
    # Touvron et al. 2023 with grouped queries, in sizes for phones (SmolLM, Ben Allal et al. 2025;
    # Llama 3.2).
    "llama-nano": _sizes(256, 256, 4, 4, num_kv_heads=2, feed_forward_dim=704, **_LLAMA),
    "llama-135m": _sizes(2048, 576, 30, 9, num_kv_heads=3, feed_forward_dim=1536, **_LLAMA),
    "llama-1b": _sizes(2048, 2048, 16, 32, num_kv_heads=8, feed_forward_dim=8192, **_LLAMA)
    | {"rope_base": 500_000.0},
}
"""Options of `TransformerConfig`, by the preset's name; the vocabulary stays the tokenizer's."""


def preset_options(name: str) -> JsonObject:
    """Returns the options of a preset.

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
    """Returns the config of a preset.

    Args:
        name: see `PRESETS`.
        changes: options that are to be other than the preset's.

    Raises:
        ConfigError: there is none of this name, or an option is unknown or out of range.

    Example:
        network = tfscale.build_network(tfscale.preset("llama-nano", vocabulary_size=8192))
    """
    return make_config(TransformerConfig, preset_options(name) | changes)
