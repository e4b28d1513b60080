"""The content of a `tokenizer.json`: what can be read of it, and the same without a prefix."""

from collections.abc import Mapping
from typing import Any

from tfscale.errors import TokenizerError
from tfscale.files.json_text import JsonObject, parse_json
from tfscale.text.tokenizers.spellings import ByteSpelling

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_JOINS_SPACES: list[JsonObject] = [
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": False, "strip_right": True},
]
"""Normalizers that make one space of all white space, and none of that at the end."""


def read_content(model: bytes) -> JsonObject:
    """Returns the content of a `tokenizer.json`.

    Raises:
        TokenizerError: it is damaged, or has a model that is not read here.
    """
    try:
        content = parse_json(model)
    except ValueError as error:
        raise TokenizerError(f"tokenizer.json is not JSON ({error})") from error
    named = content.get("model") if isinstance(content, dict) else None
    if not isinstance(named, dict):
        raise TokenizerError('tokenizer.json has no "model", as every tokenizer.json has')
    # Earlier versions of the library did not write the type of these.
    kind = named.get("type", "BPE" if "merges" in named else None)
    if kind not in _MODELS:
        raise TokenizerError(
            f"tokenizer.json has a model of type {kind!r}; {', '.join(_MODELS)} are read"
        )
    if "vocab" not in named or (kind == "BPE" and "merges" not in named):
        lacking = "merges" if "vocab" in named else "vocab"
        raise TokenizerError(f'the {kind} model of tokenizer.json has no "{lacking}"')
    if named.get("dropout"):
        raise TokenizerError(
            f"tokenizer.json has dropout={named['dropout']}, by which every call gives other ids;"
            " write it with null"
        )
    return content


def unknown_id_of(model: JsonObject, vocabulary: Mapping[str, int]) -> int | None:
    """Returns the token of what is not in the vocabulary; None where the model has none."""
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    return vocabulary.get(str(model.get("unk_token")))


def keeps_all(content: Mapping[str, Any]) -> bool:
    """Returns whether every text comes back, as far as the file says so.

    It does where byte-pair encoding reads the bytes of the text once, each of which is a token, and
    nothing is normalized or removed before.
    """
    model, steps = content["model"], parts_of(content.get("pre_tokenizer"), "pretokenizers")
    types = [step.get("type") for step in steps]
    if content.get("normalizer") is not None or types.count("ByteLevel") != 1:
        return False
    if any(step.get("add_prefix_space") or step.get("behavior") == "Removed" for step in steps):
        return False
    if not {*types} <= {"ByteLevel", "Split", "Digits"} or "merges" not in model:
        return False
    # By these a byte inside of a word, or at its end, would be another token.
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    spelling = ByteSpelling()
    if not all(character in model["vocab"] for character in spelling.characters):
        return False
    found = [token for token in content.get("added_tokens") or [] if not token.get("special")]
    return not any(
        token.get("lstrip")
        or token.get("rstrip")
        or spelling(token["content"], False) != token["content"].encode()
        for token in found
    )


def composes(content: Mapping[str, Any]) -> bool:
    """Returns whether a text is normalized in one way alone: its characters are composed (NFC)."""
    steps = parts_of(content.get("normalizer"), "normalizers")
    return [step.get("type") for step in steps] == ["NFC"]


def parts_of(step: JsonObject | None, inner: str) -> list[JsonObject]:
    """Returns the steps of which one consists; `inner` is the name of those of a sequence."""
    if step is None:
        return []
    if step.get("type") == "Sequence":
        return [part for one in step.get(inner, []) for part in parts_of(one, inner)]
    return [step]


def without_prefix(content: JsonObject) -> JsonObject:
    """Returns the content of a tokenizer.json that reads a text as the rest of another one.

    It puts no space before the text, and takes none from its beginning.
    """
    normalizers = parts_of(content.get("normalizer"), "normalizers")
    steps = parts_of(content.get("pre_tokenizer"), "pretokenizers")
    kept = [
        step | {"strip_left": False} if step.get("strip_left") else step
        for step in normalizers
        if step["type"] != "Prepend"
    ]
    plain = [_unspaced(step) for step in steps]
    types = [step["type"] for step in steps]
    if types == ["WhitespaceSplit", "Metaspace"] and _marks_each(steps[1]):
        # There the sign is put before each word, whose white space is gone by then. Without it at
        # the first word alone, white space must become the sign.
        kept += _JOINS_SPACES
        plain = [plain[1] | {"split": True}]
    changed = dict(content)
    if kept != normalizers:
        changed["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    if plain != steps:
        changed["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": plain}
    return changed


def _marks_each(step: JsonObject) -> bool:
    """Returns whether a Metaspace puts the sign before each piece that it gets."""
    older = "always" if step.get("add_prefix_space", True) else "never"
    return bool(step.get("prepend_scheme", older) == "always")


def _unspaced(step: JsonObject) -> JsonObject:
    if step["type"] == "Metaspace":
        # `add_prefix_space` is the older name of the same.
        return {k: v for k, v in step.items() if k != "add_prefix_space"} | {
            "prepend_scheme": "never"
        }
    return step | {"add_prefix_space": False} if step.get("add_prefix_space") else step
