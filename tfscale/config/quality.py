"""The options of `tfscale prepare` that choose documents: filters, removal, duplicates."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.errors import ConfigError
from tfscale.registry import FILTERS, REMOVALS, NameIn

MOST_PERMUTATIONS = 4096
_NEEDED = {
    "decontaminate_ngram": "decontaminate",
    "near_duplicate_ngram": "near_duplicates",
    "near_duplicate_unit": "near_duplicates",
    "near_duplicate_permutations": "near_duplicates",
    "near_duplicate_bands": "near_duplicates",
}
"""Options that say how, and the one that says that it is done at all."""


@dataclass(frozen=True, kw_only=True)
class QualityOptions(Options):
    """Options that choose among the training documents; each is off until it is given."""

    filters: list[Annotated[str, NameIn(FILTERS, explained=True)]] = field(default_factory=list)
    """Filters that drop documents, by the names of their published sources; applied in this
    order."""
    min_characters: int = 0
    """Drop documents of fewer characters; 0 keeps them."""
    max_characters: int = 0
    """Drop documents of more characters; 0 keeps them."""
    languages: list[str] = field(default_factory=list)
    """Keep documents in these languages, ISO 639-1 codes such as en de; as py3langid finds them."""
    remove: list[Annotated[str, NameIn(REMOVALS, explained=True)]] = field(default_factory=list)
    """Replace by a placeholder, such as <email>."""
    phone_regions: list[str] = rare([])
    """Countries, such as US DE, whose numbers in national form --remove phones finds as well as
    those with + and a country code."""
    decontaminate: list[str] = field(default_factory=list)
    """Files, folders or globs of evaluation texts, read as --text is: documents that share an
    n-gram of words with one of them are dropped."""
    decontaminate_ngram: int = rare(13)
    """Words of an n-gram of --decontaminate."""
    near_duplicates: float = 0.0
    """Drop documents that are similar to an earlier one: least Jaccard similarity of their n-grams,
    above 0 to 1, such as 0.8; estimated by MinHash. 0 keeps them."""
    near_duplicate_ngram: int = rare(5)
    """Words (or characters) of an n-gram of --near-duplicates."""
    near_duplicate_unit: Literal["word", "character"] = rare("word")
    """Unit of the n-grams of --near-duplicates: words or characters."""
    near_duplicate_permutations: int = rare(112)
    """Numbers in the MinHash signature of a document."""
    near_duplicate_bands: int = rare(0)
    """Bands of the signature, of which one must be equal for two documents to be compared; 0 takes
    the fewest that find 95 % of the pairs whose similarity is the threshold."""
    report: bool = False
    """Write report.html into the data folder: lengths, languages, what was dropped and why."""

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.min_characters, self.max_characters
        self.check_range(least >= 0, "min_characters", "0 (no limit) or more")
        self.check_range(
            most == 0 or most >= max(least, 1),
            "max_characters",
            f"0 (no limit), or min_characters ({least}) or more",
        )
        for name in ("filters", "remove", "languages", "phone_regions"):
            twice = {value for value in getattr(self, name) if getattr(self, name).count(value) > 1}
            if twice:
                raise ConfigError(f"{name} names {', '.join(sorted(twice))} more than once")
        if self.phone_regions and "phones" not in self.remove:
            raise ConfigError("phone_regions is for finding phone numbers: --remove phones")
        self.check_range(self.decontaminate_ngram >= 1, "decontaminate_ngram", "1 or more")
        self.check_range(0 <= self.near_duplicates <= 1, "near_duplicates", "0 (off) to 1")
        self.check_range(self.near_duplicate_ngram >= 1, "near_duplicate_ngram", "1 or more")
        permutations = self.near_duplicate_permutations
        self.check_range(
            1 <= permutations <= MOST_PERMUTATIONS,
            "near_duplicate_permutations",
            f"1 to {MOST_PERMUTATIONS:,}",
        )
        self.check_range(
            0 <= self.near_duplicate_bands <= permutations,
            "near_duplicate_bands",
            f"0 (automatic) to near_duplicate_permutations ({permutations})",
        )
        defaults = {option.name: option.default for option in fields(self)}
        for name, needed in _NEEDED.items():
            if (value := getattr(self, name)) != defaults[name] and not getattr(self, needed):
                raise ConfigError(f"{name}={value!r} is for {needed}, which is not set")
