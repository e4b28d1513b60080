"""Which language a text is written in, by py3langid, whose model comes in its wheel."""

import difflib
import functools
from collections.abc import Sequence
from typing import Any

from tfscale.errors import ConfigError, check_installed

_READ = 4_000
"""Characters of a document that are looked at."""


def language_of(text: str) -> str:
    """Returns the ISO 639-1 code of the language that a text is most likely in.

    The first 4,000 characters decide. A text without letters gets some code, too.

    Raises:
        ConfigError: py3langid is not installed.

    Example:
        language_of("Das ist ein Haus mit einem roten Dach.")    # "de"
    """
    language, _ = _identifier().classify(text[:_READ])
    return str(language)


def check_languages(languages: Sequence[str]) -> None:
    """Checks that all codes are known.

    Raises:
        ConfigError: one is not, with the closest that is; or py3langid is not installed.
    """
    known = list(_identifier().labels)
    for language in languages:
        if language not in known:
            near = difflib.get_close_matches(language, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            raise ConfigError(f"no language {language!r}; {hint}")


@functools.cache
def _identifier() -> Any:
    check_installed("corpora", "py3langid")
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
