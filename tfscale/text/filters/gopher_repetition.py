"""Gopher's repetition rules: drops what says the same again and again."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter

_PARAGRAPH_END = re.compile(r"\n\s*\n")


@register
class GopherRepetition(Filter):
    """The repetition rules of Gopher, with the thresholds of its table A1.

    A line, paragraph or n-gram is a duplicate where it occurred before in the document. Fractions
    of n-grams are of the characters of all words, which are what stands between white space. The
    characters of duplicate n-grams that overlap count once. The most frequent n-gram of n = 2 to 4
    counts where it occurs at least twice.

    Source: Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training
    Gopher", table A1, https://arxiv.org/abs/2112.11446
    """

    name = "gopher_repetition"
    summary = "duplicate lines and paragraphs, frequent and duplicate n-grams"
    source = "Rae et al. 2021, table A1"
    most_duplicates = 0.30
    most_duplicate_characters = 0.20
    most_top_ngram: ClassVar[Mapping[int, float]] = {2: 0.20, 3: 0.18, 4: 0.16}
    most_duplicate_ngrams: ClassVar[Mapping[int, float]] = {
        5: 0.15,
        6: 0.14,
        7: 0.13,
        8: 0.12,
        9: 0.11,
        10: 0.10,
    }
    reasons: ClassVar[Mapping[str, str]] = {
        "duplicate_lines": "more than 30 % of the lines are duplicates",
        "duplicate_line_characters": "more than 20 % of the characters are in duplicate lines",
        "duplicate_paragraphs": "more than 30 % of the paragraphs are duplicates",
        "duplicate_paragraph_characters": "more than 20 % of the characters are in duplicate"
        " paragraphs",
        **{
            f"top_{n}gram": f"the most frequent {n}-gram of words has more than {100 * most:.0f} %"
            " of the characters"
            for n, most in most_top_ngram.items()
        },
        **{
            f"duplicate_{n}grams": f"more than {100 * most:.0f} % of the characters are in"
            f" duplicate {n}-grams of words"
            for n, most in most_duplicate_ngrams.items()
        },
    }

    def __call__(self, text: str) -> str | Dropped:
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        paragraphs = [part for part in map(str.strip, _PARAGRAPH_END.split(text)) if part]
        for what, parts in (("line", lines), ("paragraph", paragraphs)):
            characters, total = repeated(parts)
            if len(parts) - len(set(parts)) > self.most_duplicates * len(parts):
                return Dropped(f"duplicate_{what}s")
            if characters > self.most_duplicate_characters * total:
                return Dropped(f"duplicate_{what}_characters")
        words = text.split()
        total = sum(map(len, words))
        for n, most in self.most_top_ngram.items():
            if top_characters(words, n) > most * total:
                return Dropped(f"top_{n}gram")
        # Where no n-gram occurs twice, no longer one does.
        for n, most in self.most_duplicate_ngrams.items():
            characters = duplicate_characters(words, n)
            if characters > most * total:
                return Dropped(f"duplicate_{n}grams")
            if not characters:
                break
        return text


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """Returns the characters of the parts that occurred before, and of all.

    Example:
        repeated(["aa", "b", "aa"])    # (2, 5)
    """
    total = sum(map(len, parts))
    return total - sum(map(len, set(parts))), total


def top_characters(words: Sequence[str], n: int) -> int:
    """Returns the characters in all copies of the most frequent n-gram of words; 0 if it is single.

    Of several that are equally frequent, the one with most characters is taken.

    Example:
        top_characters("to be or not to be".split(), 2)    # 8: "to" "be", twice
    """
    counts = Counter(zip(*(words[shift:] for shift in range(n)), strict=False))
    if not counts or (most := max(counts.values())) < 2:
        return 0
    return most * max(sum(map(len, gram)) for gram, count in counts.items() if count == most)


def duplicate_characters(words: Sequence[str], n: int) -> int:
    """Returns the characters of words that lie in an n-gram which occurred before.

    Example:
        duplicate_characters("a bb a bb a bb".split(), 2)    # 6: the last "a bb a bb"
    """
    seen: set[tuple[str, ...]] = set()
    characters = counted = 0
    for start, gram in enumerate(zip(*(words[shift:] for shift in range(n)), strict=False)):
        if gram in seen:
            new = range(max(start, counted), start + n)
            characters += sum(len(words[place]) for place in new)
            counted = start + n
        else:
            seen.add(gram)
    return characters
