"""The files of a tokenizer as Hugging Face's transformers reads them."""

import json
from collections.abc import Mapping

from tfscale.files.json_text import JsonObject
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.hugging_face import import_tokenizers

JSON_FILE = "tokenizer.json"
MODEL_FILE = "tokenizer.model"
_CONFIG_FILE = "tokenizer_config.json"

ORIGINALS = (
    JSON_FILE,
    _CONFIG_FILE,
    "special_tokens_map.json",
    MODEL_FILE,
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
"""Files of a folder of Hugging Face that belong to its tokenizer."""


def hub_files(tokenizer: Tokenizer, context: int) -> Mapping[str, bytes]:
    """Returns the tokenizer's files, by name.

    Those that it was made of come back as they were. Otherwise the start token, if prompts have
    one, stands before every text, and special tokens are found where a text spells them: that is
    how transformers reads a prompt.

    Args:
        tokenizer: of any kind that has such a form.
        context: tokens of a text at most.

    Raises:
        ExportError: the kind has no such form.

    Example:
        hub_files(ByteTokenizer(), 512)["tokenizer.json"]
    """
    if tokenizer.original:
        return tokenizer.original
    start, end = tokenizer.piece(tokenizer.start_id), tokenizer.piece(tokenizer.end_id)
    named: JsonObject = {"bos_token": start, "eos_token": end}
    config: JsonObject = {
        # Taken as it is: classes of architectures put parts of their own into tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    return {
        JSON_FILE: _marked(tokenizer, start),
        _CONFIG_FILE: _json(config),
        "special_tokens_map.json": _json(named),
    }


def _marked(tokenizer: Tokenizer, start: str) -> bytes:
    """Returns tokenizer.json with the special tokens, and with the one before a prompt."""
    library = import_tokenizers()
    marked = library.Tokenizer.from_str(tokenizer.tokenizer_json().decode())
    marked.add_special_tokens(
        [
            library.AddedToken(text, special=True, normalized=False)
            for text in tokenizer.special_tokens
        ]
    )
    if tokenizer.prompt_start:
        marked.post_processor = library.processors.TemplateProcessing(
            single=[start, "$A"],
            pair=[start, "$A", f"{start}:1", "$B:1"],
            special_tokens=[(start, tokenizer.start_id)],
        )
    return marked.to_str(pretty=True).encode()


def _json(value: JsonObject) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
