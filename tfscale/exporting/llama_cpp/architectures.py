"""The architectures of llama.cpp that a `TransformerConfig` can be stored as.

A GGUF file names an architecture, and llama.cpp has a graph for each of its own. Here stands which
values of which options a graph has; a model with another one is refused. They are not those of
Hugging Face: Llama's graph computes Mistral and SmolLM2 too.

Source: `src/models/*.cpp` of llama.cpp, release v0.5.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfscale.config import TransformerConfig
from tfscale.errors import ExportError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, obstacles, scaling_of


@dataclass(frozen=True)
class Architecture:
    """A graph of llama.cpp.

    Attributes:
        name: `general.architecture` of a file.
        parts: options whose values differ from Llama's (`hub_parts.LLAMA_PARTS`), and the values
            that it has; None for any.
        interleaved: whether rotary positions turn neighbours (2 i, 2 i + 1), rather than a number
            of the first half with one of the second.
        joined: whether queries, keys and values are one matrix.
        joined_gate: whether gate and units of the feed-forward layer are one matrix.
        tied: whether the token table is always the output table.
        capped: whether scores and logits are always bounded.
        window_every: every which layer sees all tokens, if a file does not say; 0 for a graph
            without windows.
        window: tokens that a layer with a window sees, if a file does not say; 0 for none.
        stretches_windows: whether the positions of layers with a window are scaled like the others.
        wide_scores_at: number of layers with which scores are divided by the square root of
            hidden_dim / num_heads rather than of a head's width.
    """

    name: str
    parts: Mapping[str, Allowed] = field(default_factory=dict)
    interleaved: bool = False
    joined: bool = False
    joined_gate: bool = False
    tied: bool = False
    capped: bool = False
    window_every: int = 0
    window: int = 0
    stretches_windows: bool = False
    wide_scores_at: int = 0

    def misfits(self, config: TransformerConfig) -> list[str]:
        """Returns what a model has that the graph does not compute, in words."""
        parts = {**LLAMA_PARTS, "rope_scaling": ("none", "linear"), **self.parts}
        found = obstacles(config, {**parts, "query_scale_dim": None})
        wide = self.wide_scores_at == config.num_layers
        theirs = config.hidden_dim // config.num_heads if wide else config.head_width
        if (config.query_scale_dim or config.head_width) != theirs:
            has = f"it has {theirs} with {config.num_layers} layers"
            found.append(f"query_scale_dim={config.query_scale_dim} ({has})")
        if self.tied and not config.tie_embeddings:
            found.append("tie_embeddings=false (it has true)")
        for option in ("attention_soft_cap", "logit_soft_cap"):
            if self.capped and not getattr(config, option):
                found.append(f"{option}=0 (it has more)")
        stretched = self.window_every and config.attention_window and scaling_of(config) != "none"
        if stretched and not (self.stretches_windows or config.local_rope_base):
            found.append("rope_scaling in layers with a window (it has it in the others)")
        return found


_GEMMA: Mapping[str, Allowed] = {
    "activation": ("geglu",),
    "scale_embeddings": (True,),
    "rope_fraction": None,
    "head_dim": None,
}
_GEMMA_2: Mapping[str, Allowed] = {
    **_GEMMA,
    "sandwich_norm": (True,),
    "logit_soft_cap": None,
    "attention_window": None,
    "global_every": None,
}

ARCHITECTURES = (
    Architecture("qwen2", {"query_key_value_bias": (True,)}),
    Architecture(
        "llama",
        {"query_key_value_bias": (False, True), "rope_scaling": ANY_SCALING, "head_dim": None},
        interleaved=True,
    ),
    Architecture("qwen3", {"query_key_norm": (True,), "head_dim": None}),
    Architecture("gemma", _GEMMA, tied=True),
    Architecture(
        "gemma2",
        {**_GEMMA_2, "attention_soft_cap": None},
        tied=True,
        capped=True,
        window_every=2,
        window=4096,
        stretches_windows=True,
        wide_scores_at=46,
    ),
    Architecture(
        "gemma3",
        {**_GEMMA_2, "query_key_norm": (True,), "local_rope_base": None},
        window_every=6,
        wide_scores_at=62,
    ),
    Architecture(
        "smollm3",
        {"no_rope_every": (4,), "query_key_value_bias": (False, True), "head_dim": None},
        interleaved=True,
    ),
    Architecture("phi3", {"rope_fraction": None}, joined=True, joined_gate=True),
    Architecture(
        "gpt2",
        {
            "positions": ("learned",),
            "normalization": ("layer",),
            "activation": ("gelu_tanh",),
            # Missing ones are stored as zeros.
            "use_bias": (True, False),
            "query_key_value_bias": (True, False),
        },
        joined=True,
    ),
)
"""In the order in which they are tried."""


def architecture_of(config: TransformerConfig) -> Architecture:
    """Returns the first architecture that computes a model.

    Args:
        config: the options of the network.

    Raises:
        ExportError: llama.cpp has none; names what the closest one lacks.

    Example:
        architecture_of(network.config).name    # "llama"
    """
    misfits = [(kind.misfits(config), kind) for kind in ARCHITECTURES]
    fitting = [kind for found, kind in misfits if not found]
    if fitting:
        return fitting[0]
    found, closest = min(misfits, key=lambda pair: len(pair[0]))
    raise ExportError(
        f"llama.cpp has no architecture for this model; the closest, {closest.name}, does not"
        f" compute {'; '.join(found)}; --format tflite takes it"
    )


def hyperparameters(kind: Architecture, config: TransformerConfig) -> JsonObject:
    """Returns the entries of a file that describe the network, by their names after the
    architecture's."""
    rms = config.normalization == "rms"
    entries: JsonObject = {
        "vocab_size": config.vocabulary_size,
        "context_length": config.sequence_length,
        "embedding_length": config.hidden_dim,
        "block_count": config.num_layers,
        "feed_forward_length": config.feed_forward_width,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
        f"attention.layer_norm_{'rms_' if rms else ''}epsilon": float(config.norm_epsilon),
    }
    if config.positions == "rope":
        entries["rope.dimension_count"] = config.rope_options.turned(config.head_width)
        entries["rope.freq_base"] = float(config.rope_base)
    if config.rope_scaling == "linear":
        entries["rope.scaling.type"] = "linear"
        entries["rope.scaling.factor"] = float(config.rope_factor)
    if config.attention_soft_cap:
        entries["attn_logit_softcapping"] = float(config.attention_soft_cap)
    if config.logit_soft_cap:
        entries["final_logit_softcapping"] = float(config.logit_soft_cap)
    return entries | _window_entries(kind, config)


def _window_entries(kind: Architecture, config: TransformerConfig) -> JsonObject:
    if not config.attention_window:
        # One as long as the context hides nothing.
        return {"attention.sliding_window": config.sequence_length} if kind.window else {}
    entries: JsonObject = {
        "attention.sliding_window": config.attention_window,
        # Without a base of its own, a layer with a window has that of the others.
        "rope.freq_base_swa": float(config.local_rope_base or config.rope_base),
    }
    if config.global_every != kind.window_every:
        entries["attention.sliding_window_pattern"] = config.global_every
    return entries
