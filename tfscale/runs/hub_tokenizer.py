"""The tokenizer of a Hugging Face folder: keras-hub's reading of it where that is right, and else
the folder's own file as it is.

keras-hub cuts the texts of a Llama in one way, whatever tokenizer.json says, and knows one end
token for each architecture. Which of both is written does not decide the ids: they are those of the
folder.
"""

import dataclasses
from collections.abc import Callable, Sequence

from tfscale.errors import ConfigError, TokenizerError
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.text.tokenizers.stopping import with_stops
from tfscale.text.tokenizers.taking import file_of

_TRIED = (
    "The quick  brown fox jumps over 12345 lazy dogs; it's 3.14, isn't it?",
    "def f(x):\n    return x + 1234567\n\n\n\tend\r\n",
    "  naïve café, ЖЁЛТЫЙ 你好 こんにちは ไทย 🙂👍🏽 ",
    "HELLO'S WORLD'LL don't\u00a0x  \n \n y ١٢٣ ½²",
    "x",
    " x",
    "1",
)
"""Texts on which both must agree; in composed characters, because ours does not normalize."""


def folder_tokenizer(
    folder: str, rows: int, stop_tokens: Sequence[str], by_keras_hub: Callable[[], Tokenizer]
) -> Tokenizer:
    """Returns the tokenizer of a Hugging Face folder.

    Args:
        folder: of Hugging Face.
        rows: of the model's table of tokens; a file with more, such as that of Gemma 3, which has a
            token for pictures, is not the one that the model reads by.
        stop_tokens: texts of special tokens that end a completion too.
        by_keras_hub: returns the tokenizer that keras-hub reads of the folder, as one of tfscale.

    Raises:
        ConfigError: the folder has none that is read.
        TokenizerError: likewise, or it lacks a stop token.
    """
    own, refused = _own(folder)
    too_large = own is not None and own.vocabulary_size > rows
    if own is not None and not too_large:
        own = with_stops(own, stop_tokens, folder)
    try:
        read = by_keras_hub()
    except (ConfigError, TokenizerError):
        if own is not None:
            return own  # One that is too large is refused with the model.
        raise refused or ConfigError(f"{folder} has no tokenizer that is read") from None
    if own is None or too_large:
        return read
    special = dataclasses.replace(own.special, leading_space=read.special.leading_space)
    agree = read.vocabulary_size == own.vocabulary_size and read.end_id == own.end_id
    if agree and all(read.encode(text) == own.encode(text) for text in _TRIED):
        return read.with_special(special)
    return own


def _own(folder: str) -> tuple[Tokenizer | None, TokenizerError | None]:
    """Returns the tokenizer of the folder's file as it is, or why it is not taken."""
    if file_of(folder) is None:
        return None, None
    try:
        return load_tokenizer(folder), None
    except TokenizerError as error:
        return None, error
