"""FineWeb's own rules: drops lists, menus and pages that repeat their lines."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter
from tfscale.text.filters.gopher_repetition import repeated

_ENDS = tuple(".!?‼⁇⁈⁉。．！？｡؟۔।॥։።፧၊။។៕")


@register
class FineWeb(Filter):
    """The rules that FineWeb added to those of Gopher and C4.

    Lines are those with more than white space. As in the code that was published with the paper,
    the punctuation is what ends a sentence, in any of several scripts; a quotation mark, a bracket
    or a colon does not.

    Source: Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at
    Scale", section 3.6, https://arxiv.org/abs/2406.17557
    """

    name = "fineweb"
    summary = "lines that end with punctuation, short lines, repeated lines"
    source = "Penedo et al. 2024, section 3.6"
    reasons: ClassVar[Mapping[str, str]] = {
        "line_punctuation": "at most 12 % of the lines end as a sentence does",
        "duplicate_characters": "at least 10 % of the characters are in duplicate lines",
        "short_lines": "at least 67 % of the lines have fewer than 30 characters",
    }
    most_unpunctuated = 0.12
    least_duplicate_characters = 0.10
    least_short_lines, short_line = 0.67, 30

    def __call__(self, text: str) -> str | Dropped:
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        punctuated = sum(line.endswith(_ENDS) for line in lines)
        if punctuated <= self.most_unpunctuated * len(lines):
            return Dropped("line_punctuation")
        characters, total = repeated(lines)
        if characters >= self.least_duplicate_characters * total:
            return Dropped("duplicate_characters")
        short = sum(len(line) < self.short_line for line in lines)
        return Dropped("short_lines") if short >= self.least_short_lines * len(lines) else text
