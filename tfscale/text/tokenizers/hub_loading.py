"""Reads the tokenizer of a folder of Hugging Face: byte pairs over bytes, or SentencePiece."""

import json
import os

from tfscale.errors import DataError, TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_bytes, read_json
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.hub_files import JSON_FILE, MODEL_FILE, ORIGINALS
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.kinds.sentencepiece import SentencePieceTokenizer
from tfscale.text.tokenizers.saving import CONFIG_FILE
from tfscale.text.tokenizers.sentencepiece_models import keeping_text, parse_model
from tfscale.text.tokenizers.special import SpecialTokens

_OURS = {"format_version", "kind", "digest"}
"""Entries of tokenizer_config.json where tfscale wrote it."""


def is_hub_folder(folder: str) -> bool:
    """Returns whether a local folder has a tokenizer of Hugging Face, and none of tfscale."""
    files = [os.path.join(folder, name) for name in (JSON_FILE, MODEL_FILE)]
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.isfile(path) or not any(map(os.path.isfile, files)):
        return False
    try:
        config = read_json(path, "the tokenizer's configuration")
    except DataError as error:
        raise TokenizerError(str(error)) from error
    return isinstance(config, dict) and not _OURS & config.keys()


def load_hub_tokenizer(folder: str) -> Tokenizer:
    """Loads the tokenizer of a folder of Hugging Face; its files are kept as they are.

    Texts are read as they are: what the files do to a text before they cut it, such as composing
    its characters, is left out, so that every text comes back.

    Args:
        folder: with tokenizer.json or tokenizer.model, and tokenizer_config.json, which names the
            token that ends a text; generation_config.json may name more of them.

    Raises:
        TokenizerError: another kind of tokenizer, or none that ends a text.

    Example:
        load_hub_tokenizer("SmolLM2-135M").stop_ids
    """
    config = _read(folder, CONFIG_FILE)
    end, start = (_text(config.get(f"{name}_token")) for name in ("eos", "bos"))
    if end is None:
        raise TokenizerError(f"{os.path.join(folder, CONFIG_FILE)} names no eos_token")
    has_json = os.path.isfile(os.path.join(folder, JSON_FILE))
    library = None
    if has_json:
        path = os.path.join(folder, JSON_FILE)
        try:
            library = import_tokenizers().Tokenizer.from_file(path)
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"{path} is not a tokenizer of Hugging Face's library ({error})"
            ) from error
    leading_space = False
    if os.path.isfile(path := os.path.join(folder, MODEL_FILE)):
        model = read_bytes(path, "the tokenizer's model")
        leading_space = parse_model(model).normalizer_spec.add_dummy_prefix
        ours: Tokenizer = SentencePieceTokenizer(keeping_text(model, end=end))
    else:
        ours = BytePairTokenizer(_byte_pairs(folder), end)
    start_id = ours.special_tokens.get(start) if start else None
    adds = bool(config.get("add_bos_token", True))
    if library is not None and start_id is not None:
        adds = library.encode("a").ids[:1] == [start_id]
    ours = ours.with_special(
        SpecialTokens(
            start_id=start_id,
            in_prompts=start_id is not None and adds,
            stop_ids=_stops(folder, ours),
            leading_space=leading_space,
        )
    )
    paths = {name: os.path.join(folder, name) for name in ORIGINALS}
    ours.original = {
        name: read_bytes(path, "the tokenizer's file")
        for name, path in paths.items()
        if os.path.isfile(path)
    }
    return ours


def _byte_pairs(folder: str) -> bytes:
    """Returns tokenizer.json with the added tokens in its vocabulary, where no text spells them."""
    content = _read(folder, JSON_FILE)
    model = content.get("model")
    by_bytes = '"ByteLevel"' in json.dumps(content.get("pre_tokenizer"))
    if not isinstance(model, dict) or model.get("type") != "BPE" or not by_bytes:
        kind = model.get("type") if isinstance(model, dict) else None
        raise TokenizerError(
            f"{os.path.join(folder, JSON_FILE)} is a tokenizer of kind {kind}, not byte-pair"
            f" encoding over bytes; one of SentencePiece is read from {MODEL_FILE}"
        )
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    model["vocab"] = {**model["vocab"], **added}
    content |= {"added_tokens": [], "post_processor": None, "normalizer": None}
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def _stops(folder: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    named = _read(folder, "generation_config.json").get("eos_token_id")
    ids = named if isinstance(named, list) else [named]
    return tuple(id for id in ids if type(id) is int and id < tokenizer.vocabulary_size)


def _read(folder: str, name: str) -> JsonObject:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return {}
    try:
        content = read_json(path, "the tokenizer's file")
    except DataError as error:
        raise TokenizerError(str(error)) from error
    if not isinstance(content, dict):
        raise TokenizerError(f"{path} should hold names and values")
    return content


def _text(token: object) -> str | None:
    """Returns how a token is written, which stands by itself or in an entry `content`."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None
