"""The files of a tokenizer as Hugging Face's transformers reads them."""

import json
import os
from collections.abc import Mapping

from tfscale.errors import ExportError, TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import exists, names_ending, read_bytes, read_json
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.given_names import CONFIG_FILE, json_object
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile

JSON_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_FOLDER = "additional_chat_templates"
"""Of templates that have a name, `NAME.jinja`, beside the one that is taken unasked."""
MODEL_FILES = SentencePieceFile.model_files

ORIGINALS = (
    JSON_FILE,
    CONFIG_FILE,
    "special_tokens_map.json",
    *MODEL_FILES,
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    TEMPLATE_FILE,
    "chat_template.json",
)
"""Files of a folder of Hugging Face that belong to its tokenizer."""


def hub_files(tokenizer: Tokenizer, context: int) -> Mapping[str, bytes]:
    """Returns the tokenizer's files, by name.

    Those that it was made of come back as they were; where they lack a tokenizer_config.json, one
    is added that names the tokens before and after a text. Otherwise the start token, if prompts
    have one, stands before every text, and special tokens are found where a text spells them: that
    is how transformers reads a prompt.

    Args:
        tokenizer: of any kind that has such a form.
        context: tokens of a text at most.

    Raises:
        ExportError: the kind has no such form, or is a SentencePiece model whose special tokens no
            file names.

    Example:
        hub_files(ByteTokenizer(), 512)["tokenizer.json"]
    """
    given = tokenizer.given_files()
    if given and CONFIG_FILE not in given and JSON_FILE not in given:
        raise ExportError(
            f"the tokenizer was taken from {' and '.join(given)} alone, and transformers reads"
            f" its special tokens from {CONFIG_FILE}; prepare with --tokenizer-from the folder"
            " that has both"
        )
    if CONFIG_FILE in given:
        return given
    library = import_tokenizers()
    content = given[JSON_FILE] if given else tokenizer.tokenizer_json()
    theirs = library.Tokenizer.from_str(content.decode())
    # As the library spells them: bytes have other names there.
    texts = {id: theirs.id_to_token(id) for id in tokenizer.special_tokens.values()}
    start, end = texts[tokenizer.start_id], texts[tokenizer.end_id]
    named: JsonObject = {"bos_token": start, "eos_token": end}
    config: JsonObject = {
        # Taken as it is: classes of architectures put parts of their own into tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
    }
    if given:
        return {**given, CONFIG_FILE: _json(config)}
    theirs.add_special_tokens(
        [library.AddedToken(text, special=True, normalized=False) for text in texts.values()]
    )
    if tokenizer.prompt_start:
        theirs.post_processor = library.processors.TemplateProcessing(
            single=[start, "$A"],
            pair=[start, "$A", f"{start}:1", "$B:1"],
            special_tokens=[(start, tokenizer.start_id)],
        )
    # Converters of other programs read SentencePiece's own file.
    sentencepiece = tokenizer.bundled_as == "sentencepiece"
    return {
        **({MODEL_FILES[0]: tokenizer.bundle_file()} if sentencepiece else {}),
        JSON_FILE: theirs.to_str(pretty=True).encode(),
        CONFIG_FILE: _json(config),
        "special_tokens_map.json": _json(named),
    }


def chat_templates(tokenizer: Tokenizer) -> dict[str, str]:
    """Returns the templates of chats that a tokenizer was taken with, in Jinja, by name.

    Most have one alone, `default`. As in transformers, `chat_template.jinja` and the files of
    `additional_chat_templates` are preferred to `tokenizer_config.json`.

    Raises:
        TokenizerError: a file in which they are is no text, or has something else there.

    Example:
        chat_templates(load_tokenizer("SmolLM2-135M-Instruct"))["default"]
    """
    given, folder = tokenizer.given_files(), "tokenizer/original"
    stored = {_template_in(name): name for name in given if _template_in(name)}
    if stored:
        return {name: _template(given[file], f"{folder}/{file}") for name, file in stored.items()}
    found = json_object(given, CONFIG_FILE, folder).get("chat_template")
    if not found:
        return {}
    entries = found if isinstance(found, list) else [{"name": "default", "template": found}]
    try:
        named = {entry["name"]: entry["template"] for entry in entries}
    except (KeyError, TypeError):
        named = {}
    if not named or not all(isinstance(text, str) for pair in named.items() for text in pair):
        raise TokenizerError(
            f"{folder}/{CONFIG_FILE} has chat_template={found!r}; expected a text, or a list of"
            " objects with name and template"
        )
    return named


def _template_in(name: str) -> str:
    """Returns the name of the chat template that a file is; empty for another file."""
    inside, file = os.path.split(name)
    if inside == TEMPLATE_FOLDER:
        return file.removesuffix(".jinja")
    return "default" if name == TEMPLATE_FILE else ""


def _template(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is no text in UTF-8: {error}") from error


def original_files(folder: str) -> dict[str, bytes]:
    """Returns the tokenizer's files of a folder of Hugging Face, as they are.

    Args:
        folder: any; one of another kind, such as a preset of keras-hub, has none.
    """
    path = os.path.join(folder, "config.json")
    if not os.path.isfile(path) or "model_type" not in read_json(path, "the model's config"):
        return {}
    return files_beside(folder)


def files_beside(folder: str) -> dict[str, bytes]:
    """Returns the files of a folder, local or remote, that belong to a tokenizer, by name.

    Raises:
        DataError: a file cannot be read.
    """
    templates = os.path.join(folder, TEMPLATE_FOLDER)
    further = [f"{TEMPLATE_FOLDER}/{name}" for name in names_ending(templates, ".jinja")]
    paths = {name: os.path.join(folder, name) for name in (*ORIGINALS, *further)}
    return {
        name: read_bytes(path, "the tokenizer's file")
        for name, path in paths.items()
        if exists(path)
    }


def _json(value: JsonObject) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
