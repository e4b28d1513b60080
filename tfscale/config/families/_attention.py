"""Base of the families with attention: who sees whom, positions, norms and biases of its layers."""

from dataclasses import dataclass
from typing import Literal

from tfscale.config.fields import rare
from tfscale.config.models import NetworkConfig
from tfscale.config.rope import RopeOptions, RopeScaling
from tfscale.errors import ConfigError, check_range


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(NetworkConfig):
    """Base of the families with attention; layers are numbered from 0."""

    positions: Literal["learned", "rope"] = "rope"
    """A vector per position (GPT-2), or rotary positions in each attention layer (Su et al.
    2021)."""
    rope_base: float = rare(10_000.0)
    """Base of the rotary positions. No effect with positions=learned."""
    local_rope_base: float = rare(0.0)
    """With attention_window: base of the rotary positions of the layers that have the window, whose
    positions are not scaled (Gemma 3: 10,000, beside a rope_base of 1,000,000); 0 takes rope_base
    and the scaling of the others."""
    rope_fraction: float = rare(1.0)
    """Part of the numbers of a query and a key that rotary positions turn, the first of them (Black
    et al. 2022, GPT-NeoX); Phi 4 mini has 0.75."""
    rope_scaling: RopeScaling = rare("none")
    """Stretches rotary positions over a longer context: linear divides all frequencies by
    rope_factor (Chen et al. 2023); llama3 divides low ones, keeps high ones, and passes over from
    one to the other between (Llama 3.1, Grattafiori et al. 2024)."""
    rope_factor: float = rare(1.0)
    """Divisor of frequencies, with rope_scaling."""
    rope_low_frequency_factor: float = rare(1.0)
    """With rope_scaling=llama3: frequencies that turn less often than this in rope_original_length
    tokens are divided in full."""
    rope_high_frequency_factor: float = rare(4.0)
    """With rope_scaling=llama3: frequencies that turn more often than this in rope_original_length
    tokens are kept."""
    rope_original_length: int = rare(8192)
    """With rope_scaling=llama3: context in tokens with which the model was trained at first."""
    no_rope_every: int = rare(0)
    """Every n-th layer has no positions (Yang et al. 2025; SmolLM3: 4); 0 has them in all."""
    query_key_norm: bool = True
    """RMS normalization of each head's query and key before rotary positions, with a learned scale
    for each of its numbers (Henry et al. 2020; Dehghani et al. 2023); Qwen 3 and Gemma 3 have
    it."""
    query_scale_dim: int = rare(0)
    """Attention scores are divided by the square root of this width; 0 takes that of a head. Gemma
    3 of 27 B parameters has hidden_dim / num_heads."""
    query_key_value_bias: bool = rare(False)
    """Biases of queries, keys and values, also without use_bias (Qwen 2 and 2.5)."""
    attention_soft_cap: float = rare(0.0)
    """Bound of attention scores, by cap x tanh(score / cap) (Gemma 2, Riviere et al. 2024); 0 has
    none."""
    attention_window: int = rare(0)
    """Tokens that a token sees in each layer, itself included (Beltagy et al. 2020); 0 is all."""
    global_every: int = rare(0)
    """With attention_window: every n-th layer sees all tokens instead (Gemma 2: 2, Gemma 3: 6); 0
    has none such."""
    global_tokens: int = rare(0)
    """With attention_window: first tokens of the context that every token sees besides (Zaheer et
    al. 2020; Xiao et al. 2024), so that the attention is block-sparse."""
    sandwich_norm: bool = rare(False)
    """A normalization more at the end of each attention and feed-forward layer, before its output
    is added (Ding et al. 2021, CogView; Gemma 2 and 3)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(
            positive=("rope_original_length",),
            default_0=(
                "attention_window",
                "global_tokens",
                "global_every",
                "no_rope_every",
                "query_scale_dim",
            ),
        )
        check_range(self.rope_base > 1, "model.rope_base", self.rope_base, "more than 1")
        base = self.local_rope_base
        check_range(base == 0 or base > 1, "model.local_rope_base", base, "0 or more than 1")
        cap = self.attention_soft_cap
        check_range(cap >= 0, "model.attention_soft_cap", cap, "0 (none) or more")
        check_range(
            0 < self.rope_fraction <= 1, "model.rope_fraction", self.rope_fraction, "above 0 to 1"
        )
        check_range(self.rope_factor > 0, "model.rope_factor", self.rope_factor, "more than 0")
        for name in ("global_every", "no_rope_every"):
            value = getattr(self, name)
            check_range(value != 1, f"model.{name}", value, "0 (none), or 2 or more")
        low, high = self.rope_low_frequency_factor, self.rope_high_frequency_factor
        if not 0 < low < high:
            raise ConfigError(
                f"model.rope_low_frequency_factor={low:g} must be above 0 and below"
                f" model.rope_high_frequency_factor={high:g}"
            )
        self._check_together()

    def _check_together(self) -> None:
        """Refuses options that would have no effect without another."""
        for name in ("global_every", "local_rope_base"):
            if getattr(self, name) and not self.attention_window:
                raise ConfigError(
                    f"model.{name}={getattr(self, name):g} goes with a model.attention_window"
                )
        if self.global_tokens and not 0 < self.global_tokens <= self.attention_window:
            raise ConfigError(
                f"model.global_tokens={self.global_tokens} goes with a model.attention_window of as"
                f" many tokens or more; it is {self.attention_window}"
            )
        if self.rope_factor != 1 and self.rope_scaling == "none":
            raise ConfigError(
                f"model.rope_factor={self.rope_factor:g} goes with model.rope_scaling=linear or"
                " llama3"
            )
        if self.positions == "learned":
            plain = RopeOptions(), 0, 0
            if (self.rope_options, self.no_rope_every, self.local_rope_base) != plain:
                raise ConfigError(
                    "model.rope_fraction, rope_scaling, no_rope_every and local_rope_base are of"
                    " rotary positions; model.positions is learned"
                )

    @property
    def rope_options(self) -> RopeOptions:
        """Options of the rotary positions of the layers without a window."""
        return RopeOptions(
            fraction=self.rope_fraction,
            scaling=self.rope_scaling,
            factor=self.rope_factor,
            low_frequency_factor=self.rope_low_frequency_factor,
            high_frequency_factor=self.rope_high_frequency_factor,
            original_length=self.rope_original_length,
        )

    def window_of(self, layer: int) -> int:
        """Returns the tokens that a token sees in a layer; 0 is all."""
        return 0 if _is_nth(layer, self.global_every) else self.attention_window

    def rope_of(self, layer: int) -> tuple[float, RopeOptions]:
        """Returns the base of the rotary positions of a layer, 0 for none, and their options."""
        if self.positions == "learned" or _is_nth(layer, self.no_rope_every):
            return 0.0, RopeOptions()
        if self.local_rope_base and self.window_of(layer):
            return self.local_rope_base, RopeOptions(fraction=self.rope_fraction)
        return self.rope_base, self.rope_options


def _is_nth(layer: int, every: int) -> bool:
    """Returns whether a layer is one of every n; the n-th is the first of them."""
    return every > 0 and (layer + 1) % every == 0
