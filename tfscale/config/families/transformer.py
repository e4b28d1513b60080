"""The family "transformer": options of a decoder-only Transformer, and what follows from them.

Shapes: T tokens of a window, D hidden_dim, F feed_forward_dim, H heads, V vocabulary.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tfscale.config.costs import Costs
from tfscale.config.families._attention import AttentionConfig
from tfscale.config.fields import rare
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.config.shrinking import ShrinkConfig, fraction_of, rank_of, smaller_or_0
from tfscale.errors import ConfigError, check_range
from tfscale.registry import register

# Fractions of feed-forward width, heads and embedding width that stay; each keeps less than the one
# before.
_LADDER = [
    (1.0, 1.0, 1.0),
    (0.75, 1.0, 1.0),
    (0.5, 1.0, 1.0),
    (0.5, 0.75, 1.0),
    (0.375, 0.75, 1.0),
    (0.25, 0.75, 1.0),
    (0.25, 0.5, 1.0),
    (0.25, 0.5, 0.5),
    (0.125, 0.5, 0.25),
]


@register
@dataclass(frozen=True, kw_only=True)
class TransformerConfig(AttentionConfig):
    """Decoder-only Transformer with rotary positions, RMS norms, normalized queries and keys, and
    squared ReLU; GPT-2's parts (Radford et al. 2019) and Llama's are options."""

    family: ClassVar[str] = "transformer"
    has_presets: ClassVar[bool] = True
    network: ClassVar[str] = "tfscale.models.transformer"
    optimizer: ClassVar[str] = "muon"
    earlier_defaults: ClassVar[Mapping[str, Any]] = GPT2_PARTS
    compared_as: ClassVar[Mapping[str, int | float | bool]] = {
        "hidden_dim": 192,
        "num_layers": 4,
        "num_heads": 4,
        "dropout": 0.2,
    }

    sequence_length: int = 128
    """Context in tokens: the length of a training window and the most that the model can look
    back."""
    hidden_dim: int = 128
    """Width of the residual stream."""
    num_layers: int = 4
    """Transformer blocks."""
    num_heads: int = 4
    """Attention heads; must divide hidden_dim where head_dim is 0."""
    head_dim: int = rare(0)
    """Width of a head; 0 takes hidden_dim / num_heads."""
    feed_forward_dim: int = 0
    """Width of the feed-forward layer; 0 takes 4 x hidden_dim."""
    normalization: Literal["layer", "rms"] = "rms"
    """Layer normalization (GPT-2), or RMS normalization (Zhang and Sennrich 2019)."""
    norm_epsilon: float = rare(1e-5)
    """Added to the variance in every normalization; Llama and Gemma have 1e-6."""
    activation: Literal["gelu", "gelu_tanh", "relu_squared", "swiglu", "geglu"] = "relu_squared"
    """Activation of the feed-forward layer: GELU, or its approximation by tanh (GPT-2), or the
    square of ReLU (So et al. 2021); swiglu and geglu multiply by a gate for each unit, SiLU or the
    approximated GELU (Shazeer 2020), and have half as many weights more."""
    residual_initializer: Literal["scaled", "zeros"] = rare("scaled")
    """First weights of the last matrix of each attention and feed-forward layer: random and smaller
    by the square root of their number (GPT-2), or zeros, so that each block begins as the identity
    (Zhang et al. 2019)."""
    embedding_skip: bool = rare(False)
    """Each block but the first reads a x + b e of the residual stream x and the embedded tokens e;
    a and b are learned for each block, and begin as 1 and 0 (Jordan et al. 2024,
    modded-nanogpt)."""
    num_kv_heads: int = 0
    """Heads of keys and values, each read by several query heads (Ainslie et al. 2023); 0 takes
    num_heads."""
    feed_forward_rank: int = rare(0)
    """Rank of the two matrices of the feed-forward layer, each a product of two smaller ones; 0 is
    full rank."""
    embedding_rank: int = rare(0)
    """Width of the token embedding, with a matrix between it and hidden_dim (Lan et al. 2020); 0
    takes hidden_dim."""
    dropout: float = 0.0
    """Dropout rate after the embedding, attention and feed-forward layers, 0 to below 1."""
    use_bias: bool = rare(False)
    """Biases in the dense and normalization layers (GPT-2 has them)."""
    tie_embeddings: bool = True
    """Use the token embedding as the output projection (Press and Wolf 2017)."""
    output_initializer: Literal["normal", "zeros"] = rare("normal")
    """First weights of an output projection of its own (tie_embeddings=false): as those of the
    embedding, or zeros, so that training begins with equally likely tokens."""
    logit_soft_cap: float = rare(0.0)
    """Bound of the logits, by cap x tanh(logit / cap) (Gemma 2, Riviere et al. 2024); 0 has
    none."""
    scale_embeddings: bool = rare(False)
    """Multiply the token embedding by the square root of hidden_dim before the first block (Vaswani
    et al. 2017)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_options(
            positive=("sequence_length", "hidden_dim", "num_layers", "num_heads"),
            rates=("dropout",),
            default_0=(
                "feed_forward_dim",
                "head_dim",
                "feed_forward_rank",
                "embedding_rank",
                "num_kv_heads",
            ),
        )
        cap = self.logit_soft_cap
        check_range(cap >= 0, "model.logit_soft_cap", cap, "0 (none) or more")
        if self.output_initializer != "normal" and self.tie_embeddings:
            raise ConfigError(
                f"model.output_initializer={self.output_initializer} needs"
                " model.tie_embeddings=false; a tied output projection is the embedding itself"
            )
        check_range(self.norm_epsilon > 0, "model.norm_epsilon", self.norm_epsilon, "more than 0")
        if self.num_heads % self.kv_heads:
            raise ConfigError(
                f"model.num_heads={self.num_heads} is not divisible by"
                f" model.num_kv_heads={self.num_kv_heads}"
            )
        if not self.head_dim and self.hidden_dim % self.num_heads:
            raise ConfigError(
                f"model.hidden_dim={self.hidden_dim} is not divisible by"
                f" model.num_heads={self.num_heads}"
            )
        turned = self.rope_options.turned(self.head_width)
        if self.positions == "rope" and (turned % 2 or not turned):
            share = "" if turned == self.head_width else f" of which they turn {turned}"
            raise ConfigError(
                f"rotary positions turn pairs of numbers, and a head has {self.head_width} of"
                f" them{share}; give an even width, or model.positions=learned"
            )

    @property
    def table_rows(self) -> int:
        """Rows of the token embedding."""
        return self.vocabulary_size

    @property
    def embedding_width(self) -> int:
        return self.embedding_rank or self.hidden_dim

    @property
    def feed_forward_width(self) -> int:
        """Width of the feed-forward layer."""
        return self.feed_forward_dim or 4 * self.hidden_dim

    @property
    def gated(self) -> bool:
        """Whether the feed-forward layer has a gate for each unit."""
        return self.activation in ("swiglu", "geglu")

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_kv_heads or self.num_heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_dim // self.num_heads

    @property
    def max_context(self) -> int:
        return self.sequence_length

    @property
    def _inner_width(self) -> int:
        """Width of the queries of all heads."""
        return self.num_heads * self.head_width

    @property
    def _keys_width(self) -> int:
        """Width of the keys of all heads."""
        return self.kv_heads * self.head_width

    @property
    def _expanded_width(self) -> int:
        """Width of the output of the first feed-forward matrix: units, and their gates."""
        return 2 * self.feed_forward_width if self.gated else self.feed_forward_width

    def parameter_count(self) -> int:
        d, f, bias = self.hidden_dim, self.feed_forward_width, self.use_bias
        inner, keys, wide = self._inner_width, self._keys_width, self._expanded_width
        rank = self.feed_forward_rank
        norm = d if self.normalization == "rms" else d * (1 + bias)
        norms = norm * (4 if self.sandwich_norm else 2)
        attention = 2 * d * (inner + keys) + bias * d
        attention += (bias or self.query_key_value_bias) * (inner + 2 * keys)
        attention += 2 * self.head_width * self.query_key_norm
        feed_forward = (rank * (2 * d + wide + f) if rank else d * (wide + f)) + bias * (wide + d)
        tables = self.table_rows * self.embedding_width * (1 if self.tie_embeddings else 2)
        positions = self.sequence_length * d if self.positions == "learned" else 0
        mixes = 2 * (self.num_layers - 1) * self.embedding_skip
        embeddings = tables + 2 * self.embedding_rank * d + positions + mixes
        return embeddings + self.num_layers * (attention + feed_forward + norms) + norm

    def matmul_shapes(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        d, f, rank = self.hidden_dim, self.feed_forward_width, self.feed_forward_rank
        inner, keys, wide = self._inner_width, self._keys_width, self._expanded_width
        forward = [(d, rank), (rank, wide), (f, rank), (rank, d)] if rank else [(d, wide), (f, d)]
        if width := self.embedding_rank:
            yield from ((tokens, width, d), (tokens, d, width))
        for _ in range(self.num_layers):
            yield from ((tokens, d, inner + 2 * keys), (tokens, inner, d))
            yield from ((tokens, k, n) for k, n in forward)
        yield tokens, self.embedding_width, self.table_rows

    def lookup_tables(self) -> list[tuple[int, int]]:
        tables = [] if self.tie_embeddings else [(self.table_rows, self.embedding_width)]
        learned = self.positions == "learned"
        return tables + ([(self.sequence_length, self.hidden_dim)] if learned else [])

    def costs(self) -> Costs:
        d, f, rank = self.hidden_dim, self.feed_forward_width, self.feed_forward_rank
        inner, keys, wide = self._inner_width, self._keys_width, self._expanded_width
        # Scores and their use: two products of T x K by T per head, for each of T queries.
        seen = sum(self._looked_at(layer) for layer in range(self.num_layers))
        attention = 2 * 2.0 * seen * inner
        # Input, two norms, query, key and value, mixed values and the sum after attention; of the
        # feed-forward layer its input to the activation, the two factors of the derivative, and the
        # output. Squared ReLU has its own root as the factor.
        values = 4 * d + 2 * inner + 2 * keys + 2 * rank
        values += f + wide if self.activation == "relu_squared" else 2 * f + 2 * wide
        # Queries and keys before their norm; what a learned mix has read.
        values += self.query_key_norm * (inner + keys) + self.embedding_skip * d
        # What the norms after both layers have read.
        values += self.sandwich_norm * 2 * d
        scores = self.num_heads * (2 if self.attention_soft_cap else 1)
        return Costs(
            parameters=self.parameter_count(),
            forward_flops=self.product_flops() + attention,
            layers=self.num_layers,
            block_values=values,
            # The attention weights: for each head one per key that is looked at; and its tanh.
            block_float32=scores * seen / self.num_layers,
            largest_float32=float(scores * max(map(self._looked_at, range(self.num_layers)))),
            kept_values=d * (2 if self.embedding_skip else 1),
            edge_values=3 * d,
            vocabulary_size=self.table_rows,
        )

    def _looked_at(self, layer: int) -> int:
        """Returns the keys for which a layer computes scores, per token: nothing is saved by the
        mask.

        With a window that cuts the context, a query meets two windows of keys and the global ones.
        """
        window, length = self.window_of(layer), self.sequence_length
        in_blocks = window and length % window == 0 and length > 2 * window
        return 2 * window + self.global_tokens if in_blocks else length

    def shrink_ladder(self) -> list[ShrinkConfig]:
        ladder = []
        for forward, heads, table in _LADDER:
            keep_heads = heads == 1 or self.kv_heads != self.num_heads
            fewer = smaller_or_0(self.num_heads, round(self.num_heads * heads))
            can_narrow = self.tie_embeddings and table < 1
            rank = rank_of(self.embedding_width, table, self.vocabulary_size)
            ladder.append(
                ShrinkConfig(
                    feed_forward_dim=fraction_of(self.feed_forward_width, forward),
                    num_heads=0 if keep_heads else fewer,
                    embedding_rank=rank if can_narrow else 0,
                )
            )
        return list(dict.fromkeys(ladder))

    def shrunken(self, shrink: ShrinkConfig) -> "TransformerConfig":
        return dataclasses.replace(
            self,
            feed_forward_dim=shrink.feed_forward_dim or self.feed_forward_dim,
            feed_forward_rank=shrink.feed_forward_rank or self.feed_forward_rank,
            num_heads=shrink.num_heads or self.num_heads,
            num_kv_heads=0 if shrink.num_heads else self.num_kv_heads,
            head_dim=self.head_width if shrink.num_heads else self.head_dim,
            embedding_rank=shrink.embedding_rank or self.embedding_rank,
        )
