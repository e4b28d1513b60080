"""`ShrinkConfig`: smaller sizes of a trained network, and fractions of sizes for a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tfscale.config.fields import rare
from tfscale.config.options import Options, make_config
from tfscale.errors import check_range

MULTIPLE = 32
"""The sizes of a search are multiples of int4's smallest block."""


@dataclass(frozen=True, kw_only=True)
class ShrinkConfig(Options):
    """Smaller matrices before the fine-tuning: a smaller file, and fewer operations a token. 0
    leaves a size alone."""

    feed_forward_dim: int = 0
    """Feed-forward units of each Transformer block that stay, the strongest."""
    num_heads: int = 0
    """Attention heads of each Transformer block that stay, the strongest."""
    lstm_units: int = 0
    """Units of each recurrent layer that stay, the strongest."""
    by: Literal["magnitude", "saliency"] = rare("magnitude")
    """The measure of a unit's strength: its weights, or the change of the loss to first order
    without it (on training data)."""
    saliency_batches: int = rare(16)
    """Batches of the run's own size from which saliency is taken."""
    feed_forward_rank: int = rare(0)
    """Rank of a Transformer's feed-forward matrices."""
    embedding_rank: int = rare(0)
    """Width of the embedding table, by its largest singular values."""
    output_rank: int = rare(0)
    """Rank of a recurrent model's output projection."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in SHRINK_SIZES:
            check_range(getattr(self, name) >= 0, name, getattr(self, name), "0 (keep all) or more")
        check_range(
            self.saliency_batches >= 1, "saliency_batches", self.saliency_batches, "1 or more"
        )

    @classmethod
    def of(cls, size: str, value: int) -> "ShrinkConfig":
        """Returns the options that make one size smaller.

        Example:
            ShrinkConfig.of("num_heads", 2)
        """
        return make_config(cls, {size: value})

    @property
    def shrinks(self) -> bool:
        """Whether anything becomes smaller."""
        return bool(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Returns the sizes that become smaller, in the order in which they are made so."""
        sizes = {name: getattr(self, name) for name in SHRINK_SIZES}
        return {name: size for name, size in sizes.items() if size}


SHRINK_SIZES: Mapping[str, str] = {
    "feed_forward_dim": "ff",
    "num_heads": "heads",
    "lstm_units": "units",
    "feed_forward_rank": "ffrank",
    "embedding_rank": "embedding",
    "output_rank": "output",
}
"""The sizes and their short names, in the order in which they are made smaller: factors are taken
of the units that are left."""

RANKS = ("feed_forward_rank", "embedding_rank", "output_rank")
"""The sizes that are ranks of matrices; the others are numbers of units."""


def fraction_of(size: int, fraction: float) -> int:
    """Returns a fraction of a size, in whole blocks where it has some; 0 where nothing would be
    removed."""
    part = round(size * fraction)
    part = max(MULTIPLE, part // MULTIPLE * MULTIPLE) if size > MULTIPLE else max(1, part)
    return smaller_or_0(size, part)


def rank_of(width: int, fraction: float, vocabulary_size: int) -> int:
    """Returns the rank of a table that is cut to a fraction of its width; 0 leaves one that has
    fewer tokens."""
    rank = fraction_of(width, fraction)
    return rank if rank <= vocabulary_size else 0


def smaller_or_0(size: int, part: int) -> int:
    """Returns a part of a size, or 0 where it is not smaller."""
    return part if 0 < part < size else 0
