"""Drops documents in other languages."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tfscale.config.prepare import PrepareConfig
from tfscale.registry import register
from tfscale.text.filter import Dropped, Filter
from tfscale.text.languages import check_languages, language_of


@register
class Language(Filter):
    """Documents in one of `languages`, as py3langid finds them.

    Args:
        languages: ISO 639-1 codes.

    Source: Barbaresi's py3langid, after Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language
    Identification Tool", https://aclanthology.org/P12-3005/
    """

    name = "language"
    summary = "keeps some languages (--languages)"
    source = "Lui and Baldwin 2012 (py3langid)"
    reasons: ClassVar[Mapping[str, str]] = {"other_language": "in none of the languages"}
    takes = ("languages",)

    def __init__(self, languages: Sequence[str]):
        check_languages(languages)
        self.languages = frozenset(languages)

    @classmethod
    def of(cls, config: PrepareConfig) -> "Language":
        return cls(config.languages)

    def __call__(self, text: str) -> str | Dropped:
        return text if language_of(text) in self.languages else Dropped("other_language")
