"""The content of a `tokenizer.json`: what can be read of it, and the same without a prefix."""

import json
from collections.abc import Mapping

from tfscale.errors import TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.text.tokenizers.spellings import ByteSpelling

_MODELS = ("BPE", "Unigram", "WordLevel", "WordPiece")


def read_content(model: bytes) -> JsonObject:
    """Returns the content of a `tokenizer.json`.

    Raises:
        TokenizerError: it is damaged, or has a model that is not read here.
    """
    try:
        content = json.loads(model)
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


def keeps_all(content: JsonObject) -> bool:
    """Returns whether every text comes back, as far as the file says so.

    It does where nothing is normalized or removed, and every byte is a token.
    """
    if content.get("normalizer") is not None:
        return False
    parts = _parts(content.get("pre_tokenizer"), "pretokenizers")
    if any(part.get("add_prefix_space") for part in parts):
        return False
    if any(part.get("type") not in ("ByteLevel", "Split", "Digits") for part in parts):
        return False
    if any(part.get("behavior") == "Removed" for part in parts):
        return False
    added = content.get("added_tokens") or []
    if any(token.get("lstrip") or token.get("rstrip") for token in added):
        return False
    vocabulary = content["model"]["vocab"]
    return all(character in vocabulary for character in ByteSpelling().characters)


def _parts(step: JsonObject | None, inner: str) -> list[JsonObject]:
    if step is None:
        return []
    if step.get("type") == "Sequence":
        return [part for one in step.get(inner, []) for part in _parts(one, inner)]
    return [step]


def without_prefix(content: JsonObject) -> JsonObject:
    """Returns the content of a tokenizer.json that puts no space before a text."""
    changed = dict(content)
    kept = [
        part
        for part in _parts(content.get("normalizer"), "normalizers")
        if part["type"] != "Prepend"
    ]
    if len(kept) < len(_parts(content.get("normalizer"), "normalizers")):
        changed["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    steps = _parts(content.get("pre_tokenizer"), "pretokenizers")
    plain = [_unspaced(step) for step in steps]
    if plain != steps:
        changed["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": plain}
    return changed


def _unspaced(step: JsonObject) -> JsonObject:
    if step["type"] == "Metaspace":
        # `add_prefix_space` is the older name of the same.
        return {k: v for k, v in step.items() if k != "add_prefix_space"} | {
            "prepend_scheme": "never"
        }
    return step | {"add_prefix_space": False} if step.get("add_prefix_space") else step
