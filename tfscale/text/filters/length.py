"""Drops documents by their number of characters."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config.prepare import PrepareConfig
from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter


@register
class Length(Filter):
    """Documents of at least `min_characters` and at most `max_characters`.

    Args:
        least: fewest characters.
        most: most characters; 0 for any number.
    """

    name = "length"
    summary = "characters of a document (--min-characters, --max-characters)"
    reasons: ClassVar[Mapping[str, str]] = {
        "too_short": "fewer characters than min_characters",
        "too_long": "more characters than max_characters",
    }
    takes = ("min_characters", "max_characters")

    def __init__(self, least: int = 0, most: int = 0):
        self.least, self.most = least, most

    @classmethod
    def of(cls, config: PrepareConfig) -> "Length":
        return cls(config.min_characters, config.max_characters)

    def __call__(self, text: str) -> str | Dropped:
        if len(text) < self.least:
            return Dropped("too_short")
        return Dropped("too_long") if self.most and len(text) > self.most else text
