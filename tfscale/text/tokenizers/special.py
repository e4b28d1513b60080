"""Special tokens: those that begin and end a text, and those of chat formats.

Tokenizers that tfscale trains begin and end every document with one token. Models that others
trained have a token of their own before a text (`<bos>`), none at all, or several after it
(`<eos>`, `<end_of_turn>`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import PromptError
from tfscale.files.json_text import JsonObject

CHAT_MARK = re.compile(r"<\|[^<>|\s]+\|>|<(?:start|end)_of_\w+>")
"""A text in the form of the tokens of chat formats, such as `<|eot_id|>` or `<start_of_turn>`."""


ENDS_A_TURN = re.compile(r"<end_of_turn>|<\|(?:eot_id|eom_id|im_end|end)\|>")
"""The tokens that end an answer in the chat formats of Gemma, Llama 3, Qwen and Phi."""


@dataclass(frozen=True)
class SpecialTokens:
    """The beginning and the end of a text, as a tokenizer's folder has them.

    By default the end token is both.

    Attributes:
        start_id: the token before the first of a text; None for the end token.
        in_prompts: whether a prompt begins with the start token too. Without it a prompt is read as
            it is, and only an empty one begins with the start token.
        stop_ids: tokens that end a completion beside the end token.
        leading_space: whether the first word of a text is read with a space before it, as
            SentencePiece's `add_dummy_prefix` does.
    """

    start_id: int | None = None
    in_prompts: bool = True
    stop_ids: tuple[int, ...] = ()
    leading_space: bool = False

    def to_config(self) -> JsonObject:
        """Returns entries of the tokenizer's configuration.

        Defaults are left out, so that earlier digests stay.
        """
        entries: JsonObject = {}
        if self.start_id is not None:
            entries["start_id"] = self.start_id
        if not self.in_prompts:
            entries["start_in_prompts"] = False
        if self.stop_ids:
            entries["stop_ids"] = list(self.stop_ids)
        if self.leading_space:
            entries["leading_space"] = True
        return entries

    @classmethod
    def from_config(cls, config: JsonObject) -> "SpecialTokens":
        """Returns the tokens that `to_config` wrote.

        Raises:
            ValueError: an entry of another type.
        """
        start, stops = config.get("start_id"), config.get("stop_ids", [])
        in_prompts, space = config.get("start_in_prompts", True), config.get("leading_space", False)
        ids = [*stops, *([] if start is None else [start])] if isinstance(stops, list) else [None]
        if not all(type(id) is int for id in ids) or {type(in_prompts), type(space)} != {bool}:
            raise ValueError(f"start_id={start!r}, stop_ids={stops!r} are not token ids")
        return cls(start, in_prompts, tuple(stops), space)


def as_inputs(ids: Sequence[int] | np.ndarray, end_id: int, start_id: int | None) -> np.ndarray:
    """Returns the tokens of a stream as a network reads them.

    Every document begins with the start token.

    A stream is d1 END d2 END. As targets its tokens stay what they are; as inputs the END before a
    document's first token is the start token, so that each document is read as START d and is to be
    continued by d END, as a model that was trained on single texts knows it. Nothing changes where
    one token does both.

    Args:
        ids: tokens of any shape; the token before the first of a stream is END.
        end_id: the token after each document.
        start_id: the token before each document; None for the end token.

    Returns:
        int32, of the same shape.

    Example:
        as_inputs([1, 5, 1, 6], end_id=1, start_id=2)    # [2, 5, 2, 6]
    """
    tokens = np.asarray(ids, np.int32)
    return (
        tokens
        if start_id in (None, end_id)
        else np.where(tokens == end_id, np.int32(start_id), tokens)
    )


def split_at_special(text: str, tokens: Mapping[str, int]) -> Iterator[str | int]:
    """Cuts a text at the texts of special tokens, the longest first.

    Args:
        text: a prompt.
        tokens: text -> id of the tokenizer's special tokens.

    Yields:
        Ids of special tokens, and the texts between them where these are not empty.

    Raises:
        PromptError: the text has a mark of a chat format that the tokenizer does not know.

    Example:
        list(split_at_special("<|user|>Hi", {"<|user|>": 7}))    # [7, "Hi"]
    """
    if not tokens:
        parts = [text]
    else:
        known = sorted(tokens, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, known))})", text)
    for number, part in enumerate(parts):
        if number % 2:
            yield tokens[part]
        elif part:
            if unknown := CHAT_MARK.search(part):
                raise PromptError(
                    f"the tokenizer has no special token {unknown[0]!r}; it has {few(tokens)}"
                )
            yield part


def few(tokens: Mapping[str, int]) -> str:
    """Returns the texts of special tokens for a message: eight, and how many more there are."""
    names = list(tokens)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "none") + more


def turns_end_with(tokens: Mapping[str, int], stop_ids: Sequence[int]) -> list[str]:
    """Returns the tokens of chat formats that end an answer and are not stop tokens.

    Args:
        tokens: text -> id of the tokenizer's special tokens.
        stop_ids: its stop tokens.
    """
    return [
        text for text, id in tokens.items() if ENDS_A_TURN.fullmatch(text) and id not in stop_ids
    ]
