"""The tokens that begin and end a text, as files of Hugging Face beside a tokenizer name them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfscale.errors import TokenizerError
from tfscale.files.json_text import JsonObject, parse_json

CONFIG_FILE = "tokenizer_config.json"
"""Configuration of a Hugging Face tokenizer; that of tfscale has the same name."""
GENERATION_FILE = "generation_config.json"
MODEL_CONFIG_FILE = "config.json"
"""Configuration of a model, which names special tokens, too."""
_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]", "[EOS]")
"""Texts of end tokens where no file names one."""


@dataclass(frozen=True)
class GivenNames:
    """The names that files beside a tokenizer give.

    Attributes:
        start: the token before a text; None where none is named.
        end: the token after it.
        starts: whether texts begin with the start token; None where the files don't say.
        stop_ids: tokens that end a completion.
        added: text -> id of tokens that are added to a model, of whatever types they are there.
    """

    start: str | None = None
    end: str | None = None
    starts: bool | None = None
    stop_ids: tuple[int, ...] = ()
    added: JsonObject = field(default_factory=dict)


def names_in(files: Mapping[str, bytes], folder: str) -> GivenNames:
    """Returns what files of a folder name.

    Args:
        files: content by name.
        folder: for the error.

    Raises:
        TokenizerError: a file that is not JSON, or a name that is not a text.

    Example:
        names_in({"tokenizer_config.json": b'{"eos_token": "</s>"}'}, "llama").end    # "</s>"
    """
    config = json_object(files, "special_tokens_map.json", folder) | json_object(
        files, CONFIG_FILE, folder
    )
    source = next((name for name in (GENERATION_FILE, MODEL_CONFIG_FILE) if name in files), "")
    ends = json_object(files, source, folder).get("eos_token_id")
    ids = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(id) is int for id in ids):
        raise TokenizerError(
            f"{folder}/{source} has eos_token_id={ends!r}; expected one id or a list"
        )
    starts = config.get("add_bos_token")
    return GivenNames(
        _text(config, ("bos_token", "cls_token"), folder),
        _text(config, ("eos_token", "sep_token"), folder),
        starts if isinstance(starts, bool) else None,
        tuple(ids),
        json_object(files, "added_tokens.json", folder),
    )


def end_among(pieces: Iterable[str], path: str) -> str:
    """Returns the end token of a vocabulary that no file names: the one with a usual name.

    Raises:
        TokenizerError: there is none, or several.
    """
    known = set(pieces)
    found = [text for text in _ENDS if text in known]
    if len(found) != 1:
        which = f"has {' and '.join(found)}" if found else f"has none of {', '.join(_ENDS)}"
        raise TokenizerError(
            f"{path} does not say which token ends a document, and {which}; put a"
            ' tokenizer_config.json with "eos_token" beside it'
        )
    return found[0]


def json_object(files: Mapping[str, bytes], name: str, folder: str) -> JsonObject:
    """Returns the JSON object that is the content of a file; an empty one where there is no file.

    Args:
        files: content by name.
        name: of the file.
        folder: for the error.

    Raises:
        TokenizerError: it is not JSON, or no object.
    """
    if name not in files:
        return {}
    try:
        content = parse_json(files[name].decode())
    except ValueError as error:
        raise TokenizerError(f"{folder}/{name} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise TokenizerError(f"{folder}/{name} is not a JSON object")
    return content


def _text(config: JsonObject, keys: Iterable[str], folder: str) -> str | None:
    """Returns the first of these tokens that is named; some files wrap it in an object."""
    for key in keys:
        value = config.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            return text
        if text is not None:
            raise TokenizerError(f"{folder}: {key} is {value!r}; expected the text of a token")
    return None
