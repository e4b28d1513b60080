"""Vocabularies that are lists of texts: their file, their numbers, the most frequent entries."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tfscale.errors import TokenizerError
from tfscale.files.json_text import parse_json

VOCABULARY_FILE = "vocabulary.json"
UNKNOWN_TEXT = "\N{REPLACEMENT CHARACTER}"
"""Text of the unknown token; the word tokenizer alone writes `<unk>` instead."""


def vocabulary_files(entries: Sequence[str]) -> dict[str, bytes]:
    """Returns the file vocabulary.json of the entries, by its name."""
    return {VOCABULARY_FILE: json.dumps(entries, ensure_ascii=False, indent=0).encode()}


def read_vocabulary(files: dict[str, bytes]) -> list[str]:
    """Returns the entries in the file vocabulary.json.

    Raises:
        ValueError: it is not a JSON list of texts.
    """
    entries = parse_json(files[VOCABULARY_FILE])
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("vocabulary.json is not a list of texts")
    return entries


def special_first(special: Iterable[str], entries: Iterable[str]) -> dict[str, int]:
    """Numbers the entries of a vocabulary, special ones first.

    Raises:
        ValueError: an entry is there twice, or is one of the special ones.
    """
    together = [*special, *entries]
    numbers = {entry: id for id, entry in enumerate(together)}
    if len(numbers) != len(together):
        raise ValueError("the vocabulary has an entry twice")
    return numbers


def most_frequent(texts: Iterable[Iterable[str]], count: int, kind: str) -> list[str]:
    """Returns the most frequent entries of texts, equally frequent ones in alphabetical order.

    Args:
        texts: the entries of each text; `<unk>`, `</s>` and `<eos>` do not count.
        count: how many entries to return, or all where there are fewer.
        kind: the tokenizer's kind, for the error.

    Raises:
        TokenizerError: there is no text, or `count` is below 1.

    Example:
        most_frequent(["banana"], 2, "char")    # ["a", "n"]
    """
    counter: Counter[str] = Counter()
    for text in texts:
        counter.update(text)
    for special in ("<unk>", "</s>", "<eos>"):
        counter.pop(special, None)
    if not counter:
        raise TokenizerError(f"a {kind} tokenizer cannot be trained on empty text")
    if count < 1:
        raise TokenizerError(
            f"the vocabulary of a {kind} tokenizer is too small for a single entry beside its"
            " special ones"
        )
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [entry for entry, _ in ranked[:count]]
