"""Everything that a search may try, and the size of each file, known before anything is trained.

A candidate is a recipe of export with a set of sizes and, if gzip counts, a sparsity. The order in
which candidates are tried is that of what they keep: the one that changes least among those that
fit is expected to lose least.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from tfscale.config import NetworkConfig
from tfscale.config.compression import SearchConfig
from tfscale.config.shrinking import SHRINK_SIZES, ShrinkConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.models.recipe import Recipe
from tfscale.models.weight_formats import stored_bytes
from tfscale.registry import RECIPES

SPARSITIES = (0.5, 0.7, 0.8)
PACKED_GRAPH = 0.35
"""Bytes that gzip makes of a byte of a file's graph and scales."""


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
    quantize: str
    shrink: ShrinkConfig
    sparsity: float
    tuned: bool
    bytes: int
    kept: float
    vocabulary_size: int = 0

    def describe(self) -> dict[str, object]:
        """Returns what it is, as plain values."""
        sizes = self.shrink.sizes()
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
    """Returns everything that may be tried, that which keeps most first; what is not trained comes
    before what is.

    Args:
        config: the model to make smaller.
        overhead: bytes of a file besides its weights, as measured on a file of this model.
        compressed: whether the size after gzip counts, which makes pruned ones worth trying.
        row_bytes: bytes of a file for each row of its tables, besides the row's weights.
        trimming: a smaller vocabulary; all is tried with it, too. The rows that are removed count
            in what is kept, at the worth of this vocabulary, since the target text never has them.
    """
    tried = [*_candidates(config, overhead, compressed, row_bytes, None)]
    if trimming:
        tried += _candidates(config, overhead, compressed, row_bytes, trimming)
    return sorted(tried, key=lambda candidate: (candidate.tuned, -candidate.kept))


def _candidates(
    config: NetworkConfig,
    overhead: int,
    compressed: bool,
    row_bytes: int,
    trimming: Trimming | None,
) -> Iterator[Candidate]:
    tokens = trimming.vocabulary_size if trimming else 0
    small_config = dataclasses.replace(config, vocabulary_size=tokens) if tokens else config
    for shrink in small_config.shrink_ladder():
        network = build_network(small_config.shrunken(shrink))
        parameters = config.shrunken(shrink).parameter_count()
        tables = [weight for weight in network.weights if weight.name == "embeddings"]
        around = overhead + row_bytes * sum(int(table.shape[0]) for table in tables)
        for recipe in _recipes():
            stored = stored_bytes(network, recipe.name)
            for sparsity in (0.0, *SPARSITIES) if compressed and recipe.prunable else (0.0,):
                size = float(stored + around)
                if compressed:
                    # Codes of sparse weights have about the entropy of what is not zero.
                    packed = recipe.packed * (1 - 0.72 * sparsity)
                    size = stored * packed + around * PACKED_GRAPH
                kept = parameters * recipe.worth * (1 - sparsity / 2)
                kept *= trimming.worth if trimming else 1.0
                for tuned in _tunings(recipe, shrink, sparsity, trimming):
                    yield Candidate(
                        _name(recipe.name, shrink, sparsity, tuned, tokens),
                        recipe.name,
                        shrink,
                        sparsity,
                        tuned,
                        round(size),
                        kept,
                        tokens,
                    )


def _recipes() -> list[Recipe]:
    """Returns the recipes that are tried, the one whose weights are worth most first."""
    recipes: list[Recipe] = [kind() for kind in RECIPES if kind.worth]
    return sorted(recipes, key=lambda recipe: -recipe.worth)


def _tunings(
    recipe: Recipe, shrink: ShrinkConfig, sparsity: float, trimming: Trimming | None
) -> tuple[bool, ...]:
    """Returns whether a candidate is tried trained, untrained or both."""
    if shrink.shrinks or sparsity:
        return (True,)
    return (False, True) if recipe.tunable or trimming else (False,)


def _name(quantize: str, shrink: ShrinkConfig, sparsity: float, tuned: bool, tokens: int) -> str:
    sizes = [f"{SHRINK_SIZES[name]}{size}" for name, size in shrink.sizes().items()]
    sparse = [f"sparse{round(100 * sparsity)}"] if sparsity else []
    vocabulary = [f"vocab{tokens}"] if tokens else []
    return "-".join([quantize, *vocabulary, *sizes, *sparse, *(["tuned"] if tuned else [])])


def worth_trying(candidate: Candidate, bounds: SearchConfig) -> bool:
    """Returns whether a candidate is expected to be as small as the bounds ask."""
    # The estimate of a compressed size is rough; that of a file is within a per cent.
    slack = 1.1 if bounds.gzip else 1.01
    return bounds.size_bytes is None or candidate.bytes <= bounds.size_bytes * slack


def check_reachable(bounds: SearchConfig, todo: list[Candidate]) -> None:
    """Checks that a candidate can be as small as the bounds ask.

    Raises:
        ConfigError: none can.
    """
    smallest = min(candidate.bytes for candidate in todo)
    if bounds.size_bytes is not None and not any(
        worth_trying(candidate, bounds) for candidate in todo
    ):
        raise ConfigError(
            f"target_size={bounds.target_size} is out of reach: the smallest file that compress can"
            f" make of this model has about {smallest:,} bytes; begin with a smaller model"
        )
