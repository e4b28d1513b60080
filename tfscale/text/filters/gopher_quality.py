"""Gopher's quality rules: drops what is not running text in English."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter

_ELLIPSES = ("...", "…")
_BULLETS = ("-", "*", "•", "‣", "◦", "▪", "●", "–", "·")
_STOP_WORDS = frozenset("the be to of and that have with".split())
_AROUND = "\"'“”‘’«»()[]{}.,;:!?…"


@register
class GopherQuality(Filter):
    """The quality rules of Gopher, for English and other languages with spaces between words.

    Words are what stands between white space. The paper names no bullets: the ones here are those
    of Markdown and of typography.

    Source: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training
    Gopher", appendix A.1, https://arxiv.org/abs/2112.11446
    """

    name = "gopher_quality"
    summary = "number and length of words, symbols, bullets, English stop words"
    source = "Rae et al. 2021, appendix A.1"
    reasons: ClassVar[Mapping[str, str]] = {
        "word_count": "fewer than 50 or more than 100,000 words",
        "word_length": "a mean word length below 3 or above 10 characters",
        "hash_symbols": "more than 0.1 # for each word",
        "ellipses": "more than 0.1 ellipses for each word",
        "bullet_lines": "more than 90 % of the lines begin with a bullet",
        "ellipsis_lines": "more than 30 % of the lines end with an ellipsis",
        "alphabetic_words": "fewer than 80 % of the words have a letter",
        "stop_words": "fewer than two of: the be to of and that have with",
    }
    least_words, most_words = 50, 100_000
    least_word_length, most_word_length = 3.0, 10.0
    most_symbols = 0.1
    most_bullet_lines, most_ellipsis_lines = 0.9, 0.3
    least_alphabetic_words = 0.8
    least_stop_words = 2

    def __call__(self, text: str) -> str | Dropped:
        words = text.split()
        count = len(words)
        if not self.least_words <= count <= self.most_words or not count:
            return Dropped("word_count")
        mean = sum(map(len, words)) / count
        if not self.least_word_length <= mean <= self.most_word_length:
            return Dropped("word_length")
        if text.count("#") > self.most_symbols * count:
            return Dropped("hash_symbols")
        if sum(map(text.count, _ELLIPSES)) > self.most_symbols * count:
            return Dropped("ellipses")
        lines = [line for line in map(str.strip, text.splitlines()) if line]
        if sum(line.startswith(_BULLETS) for line in lines) > self.most_bullet_lines * len(lines):
            return Dropped("bullet_lines")
        ellipsis_lines = sum(line.endswith(_ELLIPSES) for line in lines)
        if ellipsis_lines > self.most_ellipsis_lines * len(lines):
            return Dropped("ellipsis_lines")
        alphabetic = sum(any(map(str.isalpha, word)) for word in words)
        if alphabetic < self.least_alphabetic_words * count:
            return Dropped("alphabetic_words")
        if len(_STOP_WORDS & {word.strip(_AROUND).lower() for word in words}) < (
            self.least_stop_words
        ):
            return Dropped("stop_words")
        return text
