"""ROOTS's rule on symbols: drops what has few letters."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter


@register
class Symbols(Filter):
    """Documents with few special characters: white space, digits, punctuation and symbols.

    ROOTS listed its special characters; here they are all that are neither letters nor marks of
    letters, in any script. The threshold is that of ROOTS for languages without one of their own.

    Source: Laurençon et al. 2022, "The BigScience ROOTS Corpus", section 3,
    https://arxiv.org/abs/2303.03915
    """

    name = "symbols"
    summary = "share of white space, digits, punctuation and symbols"
    source = "Laurençon et al. 2022 (ROOTS), section 3"
    reasons: ClassVar[Mapping[str, str]] = {
        "special_characters": "more than 40 % of the characters are no letters"
    }
    most_special = 0.4

    def __call__(self, text: str) -> str | Dropped:
        # A text has few different characters, whose categories are looked up once.
        letters = sum(
            count
            for character, count in Counter(text).items()
            if unicodedata.category(character)[0] in "LM"
        )
        special = len(text) - letters
        return Dropped("special_characters") if special > self.most_special * len(text) else text
