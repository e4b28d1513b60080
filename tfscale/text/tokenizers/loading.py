"""Reads a saved tokenizer of any kind."""

import os
from dataclasses import dataclass
from typing import Any

from tfscale.config.options import checks_arguments
from tfscale.errors import DataError, TokenizerError, reason
from tfscale.files.fields import check_fields
from tfscale.files.paths import is_remote, open_file, read_json
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.base import CONFIG_FILE, FORMAT_VERSION, Tokenizer
from tfscale.text.tokenizers.bpe import BytePairTokenizer
from tfscale.text.tokenizers.byte import ByteTokenizer
from tfscale.text.tokenizers.character import CharacterTokenizer
from tfscale.text.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.word import WordTokenizer
from tfscale.text.tokenizers.wordpiece import WordPieceTokenizer

KINDS: dict[str, type[Tokenizer]] = {
    tokenizer.kind: tokenizer
    for tokenizer in (
        SentencePieceTokenizer,
        WordPieceTokenizer,
        BytePairTokenizer,
        WordTokenizer,
        CharacterTokenizer,
        ByteTokenizer,
    )
}


@dataclass(frozen=True)
class _Configuration:
    """What the configuration of every tokenizer has; those of some kinds have more."""

    format_version: int
    kind: str
    files: list[str]
    digest: str


@checks_arguments
def load_tokenizer(directory: str) -> Tokenizer:
    """Loads a tokenizer from its folder, or from a data, run or export folder that has it under
    `tokenizer/`.

    Args:
        directory: local or remote folder.

    Returns:
        The tokenizer, with the digest that it was saved with.

    Raises:
        TokenizerError: there is no tokenizer, a file of it is missing or changed, or its library is
            not installed.

    Example:
        tokenizer = load_tokenizer("runs/first")
    """
    nested = os.path.join(directory, "tokenizer")
    folder = directory
    if not _exists(os.path.join(directory, CONFIG_FILE)) and _exists(
        os.path.join(nested, CONFIG_FILE)
    ):
        folder = nested
    config_path = os.path.join(folder, CONFIG_FILE)
    if not _exists(config_path):
        raise TokenizerError(
            f"{directory} has no tokenizer: neither it nor its folder tokenizer/ has {CONFIG_FILE}"
        )
    try:
        config = read_json(config_path, "the tokenizer's configuration")
    except DataError as error:
        raise TokenizerError(str(error)) from error
    check_fields(
        _Configuration,
        config,
        f"{config_path} is not a tokenizer's configuration",
        TokenizerError,
        others=True,
    )
    if config["format_version"] != FORMAT_VERSION or config["kind"] not in KINDS:
        raise TokenizerError(
            f"{config_path} has format_version={config['format_version']!r} and"
            f" kind={config['kind']!r}; expected format_version={FORMAT_VERSION} and one of"
            f" {', '.join(KINDS)}"
        )
    if stray := [name for name in config["files"] if os.path.basename(name) != name]:
        raise TokenizerError(
            f"{config_path} names the file {stray[0]!r}, which is not in its folder"
        )
    files = {name: _read(os.path.join(folder, name)) for name in config["files"]}
    return _build(config, files, folder)


def _build(config: dict[str, Any], files: dict[str, bytes], folder: str) -> Tokenizer:
    try:
        tokenizer = KINDS[config["kind"]]._from_files(config, files)
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


def _exists(path: str) -> bool:
    if is_remote(path):
        import tensorflow as tf

        return tf.io.gfile.exists(path)
    return os.path.isfile(path)


def _read(path: str) -> bytes:
    if not _exists(path):
        raise TokenizerError(f"the tokenizer's file is missing: {path}")
    with open_file(path) as file:
        return file.read()
