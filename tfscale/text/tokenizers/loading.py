"""Reads a saved tokenizer of any kind."""

import hashlib
import os
from dataclasses import dataclass, field

from tfscale.config.options import checks_arguments
from tfscale.errors import DataError, TokenizerError, reason
from tfscale.files.fields import check_fields
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import exists, read_bytes, read_json
from tfscale.registry import TOKENIZERS
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.hub_files import TEMPLATE_FOLDER
from tfscale.text.tokenizers.saving import CONFIG_FILE, FORMAT_VERSION, ORIGINAL_FOLDER
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.taking import file_of, is_ours, take


@dataclass(frozen=True)
class _Configuration:
    """Entries of every tokenizer's configuration; those of some kinds have more."""

    format_version: int
    kind: str
    files: list[str]
    digest: str
    original: dict[str, str] = field(default_factory=dict)


@checks_arguments
def load_tokenizer(directory: str) -> Tokenizer:
    """Loads a tokenizer of tfscale, or takes one of another library as it is.

    Args:
        directory: its folder, local or remote; or a data, run or export folder that has it under
            `tokenizer/`; or a Hugging Face folder or its tokenizer.json, or a SentencePiece model.

    Returns:
        The tokenizer, with the digest that it was saved with.

    Raises:
        TokenizerError: there is no tokenizer, a file of it is missing or changed, its kind is not
            registered, or its library is not installed.

    Example:
        tokenizer = load_tokenizer("runs/first")
    """
    nested = os.path.join(directory, "tokenizer")
    folder = nested if exists(os.path.join(nested, CONFIG_FILE)) else directory
    config_path = os.path.join(folder, CONFIG_FILE)
    if not exists(config_path):
        if (theirs := file_of(directory)) and exists(theirs):
            beside = os.path.join(os.path.dirname(theirs), CONFIG_FILE)
            ours = theirs == directory and exists(beside) and is_ours(_read_config(beside))
            return load_tokenizer(os.path.dirname(theirs)) if ours else take(theirs)
        raise TokenizerError(
            f"{directory} has no tokenizer: neither it nor its folder tokenizer/ has {CONFIG_FILE},"
            " and it has no tokenizer.json and no SentencePiece model"
        )
    config = _read_config(config_path)
    if not is_ours(config) and (theirs := file_of(folder)):
        return take(theirs)
    check_fields(
        _Configuration,
        config,
        f"{config_path} is not a tokenizer's configuration",
        TokenizerError,
        others=True,
    )
    if config["format_version"] != FORMAT_VERSION or config["kind"] not in TOKENIZERS:
        raise TokenizerError(
            f"{config_path} has format_version={config['format_version']!r} and"
            f" kind={config['kind']!r}; expected format_version={FORMAT_VERSION} and one of"
            f" {', '.join(TOKENIZERS.names())}; for another kind import the module that registers"
            " it, or give --plugins MODULE"
        )
    originals = config.get("original", {})
    named = [*config["files"], *originals]
    # Named chat templates lie in a folder of their own.
    inner = [name.removeprefix(f"{TEMPLATE_FOLDER}/") for name in named]
    if stray := [name for name in inner if os.path.basename(name) != name or name == ".."]:
        raise TokenizerError(
            f"{config_path} names the file {stray[0]!r}, which is not in its folder"
        )
    try:
        files = {
            name: read_bytes(os.path.join(folder, name), "the tokenizer's file")
            for name in config["files"]
        }
        tokenizer = _build(config, files, folder)
        tokenizer.original = {
            name: _original(os.path.join(folder, ORIGINAL_FOLDER, name), digest)
            for name, digest in originals.items()
        }
    except DataError as error:
        raise TokenizerError(str(error)) from error
    return tokenizer


def _original(path: str, digest: str) -> bytes:
    content = read_bytes(path, "the tokenizer's file of Hugging Face")
    if hashlib.sha256(content).hexdigest() != digest:
        raise TokenizerError(f"{path} was changed after it was saved")
    return content


def _read_config(path: str) -> JsonObject:
    try:
        return read_json(path, "the tokenizer's configuration")
    except DataError as error:
        raise TokenizerError(str(error)) from error


def _build(config: JsonObject, files: dict[str, bytes], folder: str) -> Tokenizer:
    try:
        tokenizer: Tokenizer = TOKENIZERS.get(config["kind"]).from_files(config, files)
        tokenizer.cleaner = Cleaner.from_dict(config.get("cleaning", {}))
        if (special := SpecialTokens.from_config(config)) != SpecialTokens():
            tokenizer = tokenizer.with_special(special)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {reason(error)}"
        raise TokenizerError(f"the tokenizer in {folder} is damaged ({what})") from error
    except TokenizerError as error:
        raise TokenizerError(f"the tokenizer in {folder} cannot be loaded: {error}") from error
    if tokenizer.digest != config["digest"]:
        raise TokenizerError(
            f"the tokenizer in {folder} was changed after it was saved: its files have the digest "
            f"{tokenizer.digest[:12]}, {CONFIG_FILE} says {str(config['digest'])[:12]}"
        )
    return tokenizer
