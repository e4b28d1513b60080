"""The tokenizer of a Hugging Face folder: keras-hub's reading of it where that is right, and else
the folder's own file as it is.

keras-hub cuts the texts of a Llama in one way, whatever tokenizer.json says, and knows one end
token for each architecture. Which of both is written does not decide the ids: they are those of the
folder.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from tfscale.errors import ConfigError, TokenizerError
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.text.tokenizers.spellings import SPACE_MARK
from tfscale.text.tokenizers.stopping import with_stops
from tfscale.text.tokenizers.taking import file_of

TRIED = (
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
    folder: str,
    rows: int,
    stop_tokens: Sequence[str],
    by_keras_hub: Callable[[Sequence[str]], Tokenizer],
) -> Tokenizer:
    """Returns the tokenizer of a Hugging Face folder.

    Args:
        folder: of Hugging Face.
        rows: of the model's table of tokens; a file with more, such as that of Gemma 3, which has a
            token for pictures, is not the one that the model reads by.
        stop_tokens: texts of special tokens that end a completion too.
        by_keras_hub: returns the tokenizer that keras-hub reads of the folder, as one of tfscale,
            with these tokens that end a completion.

    Raises:
        ConfigError: the folder has none that is read.
        TokenizerError: likewise, or it lacks a stop token.
    """
    own, refused = _own(folder)
    if own is None:
        try:
            return by_keras_hub(stop_tokens)
        except (ConfigError, TokenizerError) as error:
            raise refused or error from None
    stops = [own.piece(id) for id in own.stop_ids if id != own.end_id]
    if own.vocabulary_size > rows:
        # One that keras-hub reads as large too is refused with the model.
        return _first(by_keras_hub, [*stop_tokens, *stops], stop_tokens) or own
    own = with_stops(own, stop_tokens, folder)
    read = _first(by_keras_hub, stop_tokens)
    if read is None or (read.vocabulary_size, read.end_id) != (own.vocabulary_size, own.end_id):
        return own
    # Some SentencePiece models, and those that keras-hub makes of tokenizer.json, find these.
    read = read.spelling_none(own.special_tokens)
    # SentencePiece's own models read the sign of a space as a space.
    names = [*own.special_tokens, *own.found_texts()]
    found = [f"x {text}y" for text in names if SPACE_MARK not in text]
    if any(read.encode(text) != own.encode(text) for text in (*TRIED, *found)):
        return own
    # Llama 3's, of which keras-hub knows the merges alone.
    words = own.whole_words()
    if read.encode_batch(words) != own.encode_batch(words):
        return own
    space = read.special.leading_space
    return read.with_special(dataclasses.replace(own.special, leading_space=space))


def _first(
    by_keras_hub: Callable[[Sequence[str]], Tokenizer], *stops: Sequence[str]
) -> Tokenizer | None:
    """Returns what keras-hub reads with the first of these stop tokens with which it does."""
    for texts in stops:
        with contextlib.suppress(ConfigError, TokenizerError):
            return by_keras_hub(texts)
    return None


def _own(folder: str) -> tuple[Tokenizer | None, TokenizerError | None]:
    """Returns the tokenizer of the folder's file as it is, or why it is not taken."""
    if file_of(folder) is None:
        return None, None
    try:
        return load_tokenizer(folder), None
    except TokenizerError as error:
        return None, error
