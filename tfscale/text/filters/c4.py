"""C4's rules: keeps the lines of a page that are sentences, and drops pages of code or filler."""

import re
from collections.abc import Mapping
from typing import ClassVar

from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter

_ENDS = (".", "!", "?", '"', "”", "’", "'", "»")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\"'”’»)\]]*(?:\s|$))")
_CITATION = re.compile(r"\[(?:\d+|edit|citation needed)\]")
_POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


@register
class C4(Filter):
    """The rules by which C4 was made of web pages in English.

    Lines without terminal punctuation (a quotation mark counts as such), with fewer than 5 words, a
    word of more than 1,000 characters, the word Javascript, or about cookies and terms of use are
    removed, and so are citation marks such as [1]. What is left must have 3 sentences. A sentence
    ends at `.`, `!` or `?` before white space, quotes or brackets, and at the end of a line.

    Not done: C4's list of words, by which it dropped whole pages, and its removal of spans of three
    sentences that occur in several pages.

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
    Text-to-Text Transformer", section 2.2, https://arxiv.org/abs/1910.10683
    """

    name = "c4"
    summary = "keeps lines that are sentences, drops pages with { or lorem ipsum"
    source = "Raffel et al. 2020, section 2.2"
    reasons: ClassVar[Mapping[str, str]] = {
        "lorem_ipsum": "has the words lorem ipsum",
        "curly_bracket": "has a curly bracket, as code does",
        "sentences": "fewer than 3 sentences in the lines that are left",
    }
    least_words, most_word_characters = 5, 1000
    least_sentences = 3

    def __call__(self, text: str) -> str | Dropped:
        if "lorem ipsum" in text.lower():
            return Dropped("lorem_ipsum")
        if "{" in text or "}" in text:
            return Dropped("curly_bracket")
        lines = [
            line
            for line in (_CITATION.sub("", line.strip()).strip() for line in text.splitlines())
            if self._is_kept(line)
        ]
        # A line that is kept is at least one sentence, also where it ends with a quotation mark.
        sentences = sum(max(len(_SENTENCE_END.findall(line)), 1) for line in lines)
        return "\n".join(lines) if sentences >= self.least_sentences else Dropped("sentences")

    def _is_kept(self, line: str) -> bool:
        if not line.endswith(_ENDS) or line.endswith("..."):
            return False
        words, lower = line.split(), line.lower()
        return (
            len(words) >= self.least_words
            and max(map(len, words)) <= self.most_word_characters
            and "javascript" not in lower
            and not any(policy in lower for policy in _POLICIES)
        )
