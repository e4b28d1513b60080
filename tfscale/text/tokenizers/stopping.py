"""Further tokens that end a completion, as a user names them."""

import dataclasses
from collections.abc import Sequence

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.special import few


def with_stops(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> Tokenizer:
    """Returns the same tokenizer with further tokens that end a completion.

    Args:
        tokenizer: any; its own stop tokens stay.
        texts: of its special tokens, such as `<|eot_id|>`.
        name: of the tokenizer, for the message.

    Raises:
        TokenizerError: a text is not one of its special tokens.

    Example:
        with_stops(load_tokenizer("llama3"), ["<|eot_id|>"], "llama3")
    """
    if not texts:
        return tokenizer
    tokens = tokenizer.special_tokens
    if unknown := [text for text in texts if text not in tokens]:
        raise TokenizerError(
            f"{unknown[0]!r} is not a special token of {name}, whose special tokens"
            f" are {few(tokens)}; a text that ends a completion is given to generate, as stop"
        )
    stops = (*tokenizer.special.stop_ids, *(tokens[text] for text in texts))
    return tokenizer.with_special(dataclasses.replace(tokenizer.special, stop_ids=stops))
