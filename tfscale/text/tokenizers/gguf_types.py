"""The types of tokens in a GGUF file, and which tokens llama.cpp finds in every text."""

from collections.abc import Collection, Mapping
from typing import Any

from tfscale.errors import ExportError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of tokens in a GGUF file; they are SentencePiece's own."""
_SPACED = ("lstrip", "rstrip", "single_word")


def found_in_texts(content: Mapping[str, Any]) -> set[str]:
    """Returns the added tokens of a tokenizer.json that are no special tokens.

    The library and llama.cpp find them in any text, the longest first.

    Raises:
        ExportError: llama.cpp would find others.
    """
    added = [token for token in content.get("added_tokens") or [] if not token.get("special")]
    for token in added:
        if options := [name for name in _SPACED if token.get(name)]:
            raise ExportError(
                f"tokenizer.json has the added token {token['content']!r} with {options[0]}, which"
                " llama.cpp would read otherwise"
            )
    found = {token["content"] for token in added}
    check_apart(found)
    return found


def check_apart(texts: Collection[str]) -> None:
    """Refuses tokens of which one may begin inside of another one: the library takes the first in
    a text, and llama.cpp the longest.

    Raises:
        ExportError: the end of one is the beginning of another.
    """
    ends: dict[str, str] = {}
    for text in texts:
        ends.update({text[cut:]: text for cut in range(1, len(text))})
    for text, size in ((t, s) for t in texts for s in range(1, len(t))):
        other = ends.get(text[:size])
        # A run of one character, such as of line ends, is cut alike from its beginning.
        if other is not None and len({*text, *other}) > 1:
            raise ExportError(
                f"the added tokens {other!r} and {text!r} may overlap in a text, which llama.cpp"
                " would read otherwise"
            )
