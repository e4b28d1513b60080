"""Measures how close the copies of keras-hub's decoders are to the originals, in float32.

    python -m benchmarks.hub_copies

Makes each architecture with random weights of standard deviation 0.3 and prints the largest
difference of a logit between the copy and keras-hub's own network, as a part of the standard
deviation of the logits: of the whole forward pass on 3 x 32 tokens, and token by token with the
key-value cache that exports have.
"""

from collections.abc import Callable
from typing import Any

import keras
import keras_hub.models as hub
import numpy as np

from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models.hub import from_keras_hub

SIZES: dict[str, Any] = {"vocabulary_size": 50, "num_layers": 2, "hidden_dim": 16}
GROUPS: dict[str, Any] = {
    **SIZES,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_dim": 20,
}
GEMMA3: dict[str, Any] = GROUPS | {
    "num_layers": 6,
    "head_dim": 6,
    "image_size": None,
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "use_sliding_window_attention": True,
    "sliding_window_size": 5,
}
SMOLLM3: dict[str, Any] = {
    **SIZES,
    "num_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_dim": 20,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rope_layer_enabled_list": [True, True, True, False],
    "layer_types": ["full_attention"] * 4,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 64,
    "rope_theta": 5_000_000.0,
    "partial_rotary_factor": 1.0,
}
BACKBONES: dict[str, Callable[[], keras.Model]] = {
    "gpt2": lambda: hub.GPT2Backbone(
        num_heads=2, intermediate_dim=24, max_sequence_length=40, **SIZES
    ),
    "llama": lambda: hub.LlamaBackbone(**GROUPS),
    "llama3_tied": lambda: hub.Llama3Backbone(
        rope_max_wavelength=500_000, tie_word_embeddings=True, **GROUPS
    ),
    "mistral": lambda: hub.MistralBackbone(sliding_window=7, layer_norm_epsilon=1e-3, **GROUPS),
    "qwen2": lambda: hub.QwenBackbone(**GROUPS),
    "gemma": lambda: hub.GemmaBackbone(head_dim=6, **(GROUPS | {"num_key_value_heads": 1})),
    "llama3.2": lambda: hub.Llama3Backbone(
        rope_max_wavelength=500,
        rope_frequency_adjustment_factor=32.0,
        rope_low_freq_factor=1.0,
        rope_high_freq_factor=4.0,
        rope_pretraining_sequence_length=40,
        tie_word_embeddings=True,
        # A head of 8: pairs that are kept, between, and stretched.
        **(GROUPS | {"num_query_heads": 2}),
    ),
    "mistral_stretched": lambda: hub.MistralBackbone(
        rope_scaling_factor=4.0, head_dim=6, sliding_window=None, **GROUPS
    ),
    "qwen2.5": lambda: hub.QwenBackbone(
        use_sliding_window_attention=True,
        sliding_window_size=5,
        tie_word_embeddings=False,
        rope_scaling_factor=2.0,
        **GROUPS,
    ),
    "qwen3": lambda: hub.Qwen3Backbone(head_dim=6, rope_max_wavelength=1_000_000, **GROUPS),
    "qwen3_window": lambda: hub.Qwen3Backbone(
        head_dim=6, sliding_window_size=5, tie_word_embeddings=False, **GROUPS
    ),
    "gemma2": lambda: hub.GemmaBackbone(
        head_dim=6,
        use_post_ffw_norm=True,
        use_post_attention_norm=True,
        attention_logit_soft_cap=5.0,
        final_logit_soft_cap=3.0,
        use_sliding_window_attention=True,
        sliding_window_size=5,
        **(GROUPS | {"num_layers": 3}),
    ),
    "gemma3": lambda: hub.Gemma3Backbone(**GEMMA3),
    "gemma3_long": lambda: hub.Gemma3Backbone(
        **(GEMMA3 | {"num_layers": 7, "global_rope_scaling_factor": 8.0})
    ),
    "phi3": lambda: hub.Phi3Backbone(rope_max_wavelength=250_000, **GROUPS),
    "smollm3": lambda: hub.SmolLM3Backbone(**SMOLLM3),
    "smollm3_bias": lambda: hub.SmolLM3Backbone(
        **(SMOLLM3 | {"attention_bias": True, "rope_layer_enabled_list": [True] * 4})
    ),
}
TITLES = {
    "gpt2": "GPT-2",
    "llama": "Llama 2",
    "llama3_tied": "Llama 3, SmolLM2: tied tables",
    "llama3.2": "Llama 3.1, 3.2: stretched positions",
    "mistral": "Mistral: a window",
    "mistral_stretched": "Mistral: linearly stretched positions",
    "qwen2": "Qwen 2, 2.5",
    "qwen2.5": "Qwen 2, 2.5: a window, stretched positions",
    "qwen3": "Qwen 3",
    "qwen3_window": "Qwen 3: a window, two tables",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3",
    "gemma3_long": "Gemma 3: stretched positions",
    "phi3": "Phi 3, Phi 4",
    "smollm3": "SmolLM3",
    "smollm3_bias": "SmolLM3: biases, positions in all layers",
}
"""What each of BACKBONES stands for."""


def randomized(name: str) -> keras.Model:
    """Returns one of BACKBONES with all weights at random, norms and biases too."""
    backbone = BACKBONES[name]()
    rng = np.random.default_rng(3)
    for weight in backbone.trainable_weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return backbone


def logits_of(backbone: keras.Model, ids: np.ndarray) -> np.ndarray:
    """Returns logits (B, T, V) of ids (B, T) int32, as keras-hub's CausalLM computes them."""
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}, training=False)
    return np.asarray(backbone.token_embedding(hidden, reverse=True))


def differences(name: str) -> tuple[float, float]:
    """Returns the largest differences of a logit: of the forward pass, and token by token."""
    backbone = randomized(name)
    network = from_keras_hub(backbone, sequence_length=32)
    ids = np.random.default_rng(4).integers(0, 50, (3, 32)).astype(np.int32)
    expected = logits_of(backbone, ids)
    decoder = KerasDecoder(network, prefill_lengths=[8])
    stepped = np.stack([decoder.feed([int(token)]) for token in ids[0]])
    spread = float(np.std(expected))
    whole = float(np.abs(np.asarray(network(ids)) - expected).max())
    return whole / spread, float(np.abs(stepped - expected[0]).max()) / spread


def main() -> None:
    print("| architecture | class of keras-hub | whole window | token by token |")
    print("|---|---|---|---|")
    for name, title in TITLES.items():
        kind = type(BACKBONES[name]()).__name__
        whole, stepped = differences(name)
        print(f"| {title} | `{kind}` | {whole:.1e} | {stepped:.1e} |")


if __name__ == "__main__":
    main()
