"""What a search may try, and how large each file will be, known before anything is trained.

A candidate is a recipe of export with a set of sizes and, if gzip counts, a sparsity. The order in
which candidates are tried is that of what they keep: the one that changes least among those that
fit is expected to lose least.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from tfscale.config import NetworkConfig, RecurrentConfig, TransformerConfig
from tfscale.config.compression import ShrinkConfig
from tfscale.models import build_network, parameter_count
from tfscale.models.weight_formats import stored_bytes

Recipe = Literal["int8", "int4", "int4_all"]
RECIPES: tuple[Recipe, ...] = ("int8", "int4", "int4_all")
WORTH = {"int8": 1.0, "int4": 0.98, "int4_all": 0.94}
"""What a weight of each recipe is worth, relative to each other: trained for it, int4 loses far
less than its bits."""
MULTIPLE = 32
"""Sizes are multiples of int4's smallest block."""
# Fractions of feed-forward width, heads and embedding width that stay; each keeps less than the one
# before.
TRANSFORMER_SIZES = [
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
# Fractions of units, of the embedding's width, and of the remaining units as rank of the output
# projection.
RECURRENT_SIZES = [
    (1.0, 1.0, 1.0),
    (1.0, 1.0, 0.75),
    (1.0, 1.0, 0.5),
    (0.75, 1.0, 0.5),
    (1.0, 0.5, 0.5),
    (0.75, 0.5, 0.5),
    (0.5, 0.5, 0.5),
    (0.5, 0.25, 0.5),
    (0.25, 0.25, 0.5),
]
SPARSITIES = (0.5, 0.7, 0.8)


@dataclass(frozen=True)
class Trimming:
    """A smaller vocabulary: its size, and what a weight is worth that predicts in it, relative to
    the run's own."""

    vocabulary_size: int
    worth: float


@dataclass(frozen=True)
class Candidate:
    """One thing to try.

    `tuned` is whether it is trained on. `bytes` is the expected size of its file (of a pruned one,
    compressed). `kept` is what its weights are worth together, by which candidates are ordered.
    `vocabulary_size` is that of a trimmed vocabulary, 0 for the run's own.
    """

    name: str
    quantize: Recipe
    shrink: ShrinkConfig
    sparsity: float
    tuned: bool
    bytes: int
    kept: float
    vocabulary_size: int = 0

    def describe(self) -> dict[str, Any]:
        """As JSON knows it."""
        sizes = {
            name: value
            for name, value in dataclasses.asdict(self.shrink).items()
            if value and name != "by"
        }
        sizes.pop("saliency_batches", None)
        if self.vocabulary_size:
            sizes["vocabulary_size"] = self.vocabulary_size
        return {
            "quantize": self.quantize,
            "sparsity": self.sparsity,
            "tuned": self.tuned,
            "sizes": sizes,
        }


def candidates(
    config: NetworkConfig,
    overhead: int,
    compressed: bool,
    row_bytes: int = 0,
    trimming: Trimming | None = None,
) -> list[Candidate]:
    """Everything that may be tried, that which keeps most first; what is not trained comes before
    what is.

    Args:
        config: the model to make smaller.
        overhead: bytes of a file besides its weights, as measured on a file of this model.
        compressed: whether the size after gzip counts, which makes room for pruned ones.
        row_bytes: bytes of a file for each row of its tables, besides the row's weights.
        trimming: a smaller vocabulary; all is tried with it, too. The rows that leave count in what
            is kept, at the worth of this vocabulary, since the target text never has them.
    """
    found = _candidates(config, overhead, compressed, row_bytes, None)
    if trimming:
        found += _candidates(config, overhead, compressed, row_bytes, trimming)
    return sorted(found, key=lambda candidate: (candidate.tuned, -candidate.kept))


def _candidates(
    config: NetworkConfig,
    overhead: int,
    compressed: bool,
    row_bytes: int,
    trimming: Trimming | None,
) -> list[Candidate]:
    found = []
    tokens = trimming.vocabulary_size if trimming else 0
    small_config = dataclasses.replace(config, vocabulary_size=tokens) if tokens else config
    for shrink in sizes_of(small_config):
        network = build_network(shrunken(small_config, shrink))
        parameters = parameter_count(shrunken(config, shrink))
        rows = sum(
            int(weight.shape[0]) for weight in network.weights if weight.name == "embeddings"
        )
        around = overhead + row_bytes * rows
        for quantize in RECIPES:
            stored = stored_bytes(network, quantize)
            sparsities = (0.0, *SPARSITIES) if compressed and quantize == "int8" else (0.0,)
            for sparsity in sparsities:
                tuned_only = shrink.shrinks or bool(sparsity)
                # int8 codes of trained weights have 7 of 8 bits of entropy, of sparse ones about
                # what is not zero.
                packed = (
                    (0.89 if quantize == "int8" else 0.97) * (1 - 0.72 * sparsity)
                    if compressed
                    else 1.0
                )
                size = round(stored * packed + around * (0.35 if compressed else 1.0))
                kept = (
                    parameters
                    * WORTH[quantize]
                    * (1 - sparsity / 2)
                    * (trimming.worth if trimming else 1.0)
                )
                for tuned in (True,) if tuned_only else (False, True):
                    if tuned and not tuned_only and quantize == "int8" and not trimming:
                        continue  # int8 loses nothing that training could bring back.
                    name = _name(quantize, shrink, sparsity, tuned, tokens)
                    found.append(
                        Candidate(name, quantize, shrink, sparsity, tuned, size, kept, tokens)
                    )
    return found


def sizes_of(config: NetworkConfig) -> list[ShrinkConfig]:
    """The sets of sizes for a model, the largest first; each set once."""
    found: list[ShrinkConfig] = []
    if isinstance(config, TransformerConfig):
        for forward, heads, table in TRANSFORMER_SIZES:
            width = config.embedding_rank or config.hidden_dim
            keep_heads = heads == 1 or config.kv_heads != config.num_heads
            can_narrow = config.tie_embeddings and table < 1
            found.append(
                ShrinkConfig(
                    feed_forward_dim=_part(config.feed_forward_width, forward),
                    num_heads=(
                        0
                        if keep_heads
                        else _less(config.num_heads, round(config.num_heads * heads))
                    ),
                    embedding_rank=_rank(width, table, config) if can_narrow else 0,
                )
            )
    elif isinstance(config, RecurrentConfig):
        for units, table, output in RECURRENT_SIZES:
            left = _part(config.hidden_dim, units) if _may_lose_units(config) else 0
            kept = left or config.hidden_dim
            rank = 0 if config.tie_embeddings or config.output_rank else _part(kept, output)
            if rank * (kept + config.vocabulary_size) >= kept * config.vocabulary_size:
                rank = 0  # It would save nothing.
            width = _rank(config.embedding_dim, table, config)
            if config.tie_embeddings and (width == kept or left == config.embedding_dim):
                continue  # There would be no projection, and on the way none, to keep what the output has learned.
            found.append(ShrinkConfig(lstm_units=left, embedding_rank=width, output_rank=rank))
    # Of a feed-forward model over a few tokens, precision and sparsity are searched alone.
    return list(dict.fromkeys(found)) or [ShrinkConfig()]


def shrunken(config: NetworkConfig, shrink: ShrinkConfig) -> NetworkConfig:
    """The config of the model after it was shrunk."""
    if isinstance(config, TransformerConfig):
        return dataclasses.replace(
            config,
            feed_forward_dim=shrink.feed_forward_dim or config.feed_forward_dim,
            num_heads=shrink.num_heads or config.num_heads,
            num_kv_heads=0 if shrink.num_heads else config.num_kv_heads,
            head_dim=config.head_width if shrink.num_heads else config.head_dim,
            embedding_rank=shrink.embedding_rank or config.embedding_rank,
        )
    if not isinstance(config, RecurrentConfig):
        return config
    return dataclasses.replace(
        config,
        hidden_dim=shrink.lstm_units or config.hidden_dim,
        embedding_dim=shrink.embedding_rank or config.embedding_dim,
        output_rank=shrink.output_rank or config.output_rank,
    )


def _rank(width: int, table: float, config: NetworkConfig) -> int:
    """The rank of a table that is cut to a part of its width; 0 leaves one that has fewer
    tokens."""
    rank = _part(width, table)
    return rank if rank <= config.vocabulary_size else 0


def _may_lose_units(config: RecurrentConfig) -> bool:
    return not (config.tie_embeddings and config.hidden_dim == config.embedding_dim)


def _part(size: int, fraction: float) -> int:
    """A fraction of a size, in whole blocks where it has some; 0 where nothing would leave."""
    part = round(size * fraction)
    part = max(MULTIPLE, part // MULTIPLE * MULTIPLE) if size > MULTIPLE else max(1, part)
    return _less(size, part)


def _less(size: int, part: int) -> int:
    return part if 0 < part < size else 0


def _name(quantize: str, shrink: ShrinkConfig, sparsity: float, tuned: bool, tokens: int) -> str:
    short = {
        "feed_forward_dim": "ff",
        "num_heads": "heads",
        "lstm_units": "units",
        "embedding_rank": "embedding",
        "output_rank": "output",
        "feed_forward_rank": "ffrank",
    }
    sizes = [f"{short[name]}{getattr(shrink, name)}" for name in short if getattr(shrink, name)]
    sparse = [f"sparse{round(100 * sparsity)}"] if sparsity else []
    vocabulary = [f"vocab{tokens}"] if tokens else []
    return "-".join([quantize, *vocabulary, *sizes, *sparse, *(["tuned"] if tuned else [])])
