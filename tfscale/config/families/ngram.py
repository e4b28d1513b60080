"""The family "ngram": options of counted n-grams."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tfscale.config.models import EXPORT_USE, ModelConfig
from tfscale.errors import check_range
from tfscale.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class NGramConfig(ModelConfig):
    """Counts of n-grams, smoothed by interpolated modified Kneser-Ney (Chen and Goodman 1998)."""

    family: ClassVar[str] = "ngram"
    counted: ClassVar[Literal[True]] = True
    uses: ClassVar[tuple[str, ...]] = ("generate RUN --prompt TEXT", f"{EXPORT_USE} --format ngram")

    order: int = 5
    """Tokens of the longest n-grams, 1 to 10."""
    min_counts: list[int] = field(default_factory=lambda: [1])
    """Least count of the n-grams that are kept, from order 1 up; the last number holds for the
    orders above it."""
    arpa: str = ""
    """An ARPA file to take the model from, instead of counting; its words must be tokens of the
    data's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(1 <= self.order <= 10, "model.order", self.order, "1 to 10")
        counts = self.min_counts
        pairs = zip(counts, counts[1:], strict=False)
        rising = bool(counts) and counts[0] == 1 and all(a <= b for a, b in pairs)
        expected = "1 and then numbers that do not fall, such as 1 1 2"
        check_range(rising, "model.min_counts", counts, expected)
