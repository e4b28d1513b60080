"""Completes a prompt token by token, by any decoder; NumPy alone, as the device needs it."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfscale.config import SamplingConfig
from tfscale.errors import ConfigError, PromptError
from tfscale.inference.sampling import next_token
from tfscale.text.tokenizers import StreamDecoder, Tokenizer

HIDDEN_SCORE = -1e4
"""Added to the attention score of a cache position that may not be seen."""


class Decoder(Protocol):
    """A model that reads tokens one after the other and remembers them."""

    context_length: int | None
    """Most tokens that it can hold; None without bound."""

    def reset(self) -> None:
        """Forgets all tokens."""

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` (one or more) after those before; returns the logits (V,) after the last."""


@dataclass(frozen=True)
class Generation:
    """A completion.

    `text` is what follows the prompt, up to a stop string. `tokens` are all ids drawn, without the
    stop token; `prompt_tokens` counts the start token that is read before a prompt.
    `tokens_per_second` is that of drawing and decoding, without the prompt; None if only one token
    was drawn, which the prompt gives. `stopped_by` is "length", "stop" (a stop
    string), "end" (a stop token) or "context" (it is full). `drawn` is the number of
    tokens where a runtime does not tell which they are, and `tokens` is empty.
    `unknown_prompt_tokens` counts the tokens of the prompt that are the unknown token: what they
    stood for in the text, the model has not read.
    """

    text: str
    prompt_tokens: int
    tokens: list[int]
    tokens_per_second: float | None
    stopped_by: str
    drawn: int | None = None
    unknown_prompt_tokens: int = 0

    @property
    def token_count(self) -> int:
        """Tokens that were drawn, without the stop token."""
        return len(self.tokens) if self.drawn is None else self.drawn


class _StopStrings:
    """Passes text on up to the first stop string; holds back what may begin one."""

    def __init__(self, stop: Sequence[str]):
        self.stop = stop
        self.held = ""
        self.found = False

    def push(self, text: str) -> str:
        self.held += text
        starts = [start for start in (self.held.find(stop) for stop in self.stop) if start >= 0]
        if starts:
            self.found = True
            passed, self.held = self.held[: min(starts)], ""
            return passed
        keep = max((self._beginning(stop) for stop in self.stop), default=0)
        end = len(self.held) - keep
        passed, self.held = self.held[:end], self.held[end:]
        return passed

    def _beginning(self, stop: str) -> int:
        longest = min(len(stop) - 1, len(self.held))
        return next((n for n in range(longest, 0, -1) if self.held.endswith(stop[:n])), 0)


class _Completion:
    """The text of the tokens that were drawn, up to the first stop string."""

    def __init__(self, spelling: StreamDecoder, stop: Sequence[str]):
        self._spelling, self._stops = spelling, _StopStrings(stop)
        self.text = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._stops.found

    def push(self, token: int) -> Iterator[str]:
        """Gives the text that is certain with this token, if any."""
        yield from self._certain(self._stops.push(self._spelling.push(token)))

    def finish(self) -> Iterator[str]:
        """Gives what was held back, where no stop string came."""
        if not self.stopped:
            yield from self._certain(self._stops.push(self._spelling.flush()))
            yield from self._certain(self._stops.held)

    def _certain(self, text: str) -> Iterator[str]:
        if text:
            self.text += text
            yield text


def check_fits(count: int, position: int, context_length: int | None) -> None:
    """Refuses to read no token, or `count` tokens from `position` on that the context cannot hold.

    Raises:
        PromptError: says how many there are.
    """
    if not count:
        raise PromptError("no token to read; give one or more")
    if context_length is not None and position + count > context_length:
        raise PromptError(
            f"{position + count} tokens do not fit into the model's context of {context_length}"
        )


def prefill_chunk(
    remaining: int, position: int, context_length: int, lengths: Sequence[int]
) -> tuple[int, int]:
    """Chooses the call of fixed length that reads the next tokens of a prompt.

    A call of length S writes the cache from `position` to `position + S`. It may run past the
    tokens that are left (the mask hides what it writes there, later tokens overwrite it) but never
    past the context: there the write would be shifted back over earlier tokens. The longest call
    that fits and of which at least half is used is taken: one padded call of 64 is faster than
    eight calls of 8, and a few tokens are read as fast one by one.

    Args:
        remaining: tokens still to read, 1 or more.
        position: tokens read so far.
        context_length: positions in the cache.
        lengths: lengths of the calls that the model has.

    Returns:
        The call's length, and how many of the tokens it reads; (0, 1) where no call fits and one
        token is decoded.

    Example:
        prefill_chunk(100, 0, 128, [8, 64])   # (64, 64)
        prefill_chunk(36, 64, 128, [8, 64])   # (64, 36): 28 pads
        prefill_chunk(6, 121, 128, [8, 64])   # (0, 1): 121 + 8 would overrun
    """
    usable = [n for n in lengths if position + n <= context_length and n <= 2 * remaining]
    if remaining == 1 or not usable:
        return 0, 1
    return max(usable), min(max(usable), remaining)


def causal_mask(position: int, length: int, context_length: int) -> np.ndarray:
    """Returns the mask (1, 1, S, C) float32 for S tokens from `position` on.

    It is 0 up to each token's own position, HIDDEN_SCORE after it.
    """
    queries = np.arange(position, position + length)[:, None]
    mask = np.where(np.arange(context_length) <= queries, 0, HIDDEN_SCORE)
    return mask.astype(np.float32)[None, None]


def generate(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int = 64,
    sampling: SamplingConfig | None = None,
    stop: Sequence[str] = (),
    on_text: Callable[[str], None] | None = None,
    parse_special: bool = False,
) -> Generation:
    """Completes `prompt`.

    The model reads the tokenizer's start token and then the prompt's tokens. That is the end token
    for models that tfscale trains from nothing; imported ones may have another, or none. Any of the
    tokenizer's stop tokens ends the completion and is not part of its text.

    Args:
        decoder: the model; it is reset first.
        tokenizer: the model's tokenizer.
        prompt: any text; the empty text asks for a document from its beginning. It is cleaned as
            the text was that the tokenizer was made for.
        max_tokens: most tokens to draw.
        sampling: how tokens are drawn; greedy if it is left out.
        stop: strings that end the completion; the text is cut before the first that occurs,
            whichever tokens it is spread over.
        on_text: is called with each new piece of text; the pieces joined are the result's text.
        parse_special: whether the texts of special tokens in the prompt, such as `<|eot_id|>`, are
            read as those tokens; they are plain text otherwise.

    Returns:
        The completion, without the prompt.

    Raises:
        PromptError: the prompt does not fit into the context, or `parse_special` finds a mark of a
            chat format that the tokenizer does not have.
        ConfigError: `max_tokens` is below 1, or a stop string is empty.

    Example:
        model = tfscale.device.load("export")
        generate(model.decoder(), model.tokenizer, "def main(", max_tokens=40, stop=["\\n\\n"]).text
    """
    pieces = stream(decoder, tokenizer, prompt, max_tokens, sampling, stop, parse_special)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            return end.value
        if on_text is not None:
            on_text(piece)


def stream(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    max_tokens: int,
    sampling: SamplingConfig | None = None,
    stop: Sequence[str] = (),
    parse_special: bool = False,
) -> Generator[str, None, Generation]:
    """Completes `prompt` piece by piece.

    Args:
        decoder: the model; it is reset first.
        tokenizer: the model's tokenizer.
        prompt: any text.
        max_tokens: most tokens to draw.
        sampling: how tokens are drawn; greedy if it is left out.
        stop: strings that end the completion.
        parse_special: whether the texts of special tokens in the prompt are read as those tokens.

    Yields:
        Each new piece of text, as soon as it is certain; the iterator's return value is the
        `Generation`.

    Raises:
        PromptError, ConfigError: as `generate`, when the first piece is asked for.

    Example:
        for piece in stream(model.decoder(), model.tokenizer, "def main(", max_tokens=40):
            print(piece, end="", flush=True)
    """
    _check_bounds(max_tokens, stop)
    sampling = sampling or SamplingConfig()
    prompt = tokenizer.cleaner.beginning(prompt)
    prompt_ids = tokenizer.encode(prompt, parse_special)
    read = tokenizer.prompt_ids(prompt_ids)
    position = len(read)
    context = decoder.context_length
    if context is not None and position > context:
        raise PromptError(
            f"the prompt has {len(prompt_ids)} tokens; the model's context of {context} takes at"
            f" most {context - len(tokenizer.prompt_start)}"
        )
    rng = np.random.default_rng(sampling.seed)
    # The start token is not part of the text; to penalize it would make completions end later.
    seen = set(prompt_ids)
    tokens: list[int] = []
    # A word tokenizer puts a space between words, where the prompt does not end in one.
    spaced = tokenizer.adds_spaces and prompt[-1:].isspace()
    previous = prompt_ids[-1] if prompt_ids and not spaced else None
    text = _Completion(StreamDecoder(tokenizer, previous), stop)
    decoder.reset()
    logits = decoder.feed(read)
    decoded, seconds, stopped_by = 0, 0.0, ""
    while not stopped_by:
        started = time.perf_counter()
        token = next_token(logits, sampling, seen, rng)
        seconds += time.perf_counter() - started
        if token in tokenizer.stop_ids:
            stopped_by = "end"
            break
        tokens.append(token)
        seen.add(token)
        yield from text.push(token)
        if text.stopped:
            stopped_by = "stop"
        elif len(tokens) == max_tokens:
            stopped_by = "length"
        elif position == context:
            stopped_by = "context"
        else:
            started = time.perf_counter()
            logits = decoder.feed([token])
            seconds += time.perf_counter() - started
            position += 1
            decoded += 1
    yield from text.finish()
    return Generation(
        text.text,
        position - decoded,
        tokens,
        decoded / seconds if decoded else None,
        "stop" if text.stopped else stopped_by,
        unknown_prompt_tokens=sum(token == tokenizer.unknown_id for token in prompt_ids),
    )


def _check_bounds(max_tokens: int, stop: Sequence[str]) -> None:
    if max_tokens < 1:
        raise ConfigError(f"max_tokens={max_tokens!r} is out of range; expected 1 or more")
    if not all(stop):
        raise ConfigError(
            "stop has an empty string; give the text that shall end the completion, such as"
            " '\\n\\n'"
        )
