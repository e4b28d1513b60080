"""Vectors of texts, from the hidden states of a network.

Shapes: B rows, T tokens, D width of the hidden states, N texts.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfscale.errors import DataError
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.text.tokenizers import Tokenizer

Pooling = Literal["mean", "last"]
"""mean: the mean of the states at the tokens of a text; last: the state at its last token."""
_TOKENS_PER_BATCH = 4096


@dataclass(frozen=True)
class _Window:
    """A part of a text that is read at once.

    Attributes:
        text: number of the text.
        ids: what is read, the tokens that begin and end a text included.
    """

    text: int
    ids: tuple[int, ...]


def embed_texts(
    network: LanguageNetwork,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pooling: Pooling = "mean",
    note: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Returns a vector for each text, from the states that the head of a task would read.

    A text is cleaned as the tokenizer's own texts were, and begins with the start token where the
    model was trained so; a model that reads both sides also reads the end token after it. Neither
    counts as a token of the text. No row is filled up: those of a batch are equally long.

    A text that is longer than the context of the network is read in windows that do not overlap,
    each by itself: the mean is over the tokens of all of them, and `last` reads the last tokens
    that the context holds.

    Args:
        network: the network.
        tokenizer: its tokenizer.
        texts: one or more, none of which is empty.
        pooling: see `Pooling`.
        note: is called with a line that says how many texts are longer than the context.

    Returns:
        float32 (N, D).

    Raises:
        DataError: there is no text, or one without a token.

    Example:
        embed_texts(run.network, run.tokenizer, ["the cat sat", "on the mat"]).shape    # (2, 256)
    """
    if not texts:
        raise DataError("there is no text to embed; give one or more")
    before = tokenizer.prompt_start
    after = (tokenizer.end_id,) if capabilities(network).is_cloze else ()
    room = _room(network, len(before) + len(after))
    by_length: dict[int, list[_Window]] = defaultdict(list)
    longer = 0
    for number, text in enumerate(texts):
        tokens = tokenizer.encode(tokenizer.cleaner(text))
        if not tokens:
            raise DataError(f"text {number + 1} of {len(texts)} has no token: {text[:40]!r}")
        longer += room is not None and len(tokens) > room
        for part in _parts(tokens, room, pooling):
            by_length[len(part)].append(_Window(number, (*before, *part, *after)))
    if longer and note is not None:
        how = "their windows are averaged" if pooling == "mean" else "their last tokens are read"
        note(f"{longer:,} of {len(texts):,} texts are longer than {room:,} tokens; {how}")

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)
    def features(ids: tf.Tensor) -> tf.Tensor:
        return tf.cast(network.features(ids, training=False), tf.float32)

    sums: list[np.ndarray | float] = [0.0] * len(texts)
    counts = [0] * len(texts)
    for length, windows in by_length.items():
        rows = max(1, _TOKENS_PER_BATCH // (length + len(before) + len(after)))
        for start in range(0, len(windows), rows):
            batch = windows[start : start + rows]
            ids = np.array([window.ids for window in batch], np.int32)
            states = features(ids).numpy()[:, len(before) : len(before) + length]
            states = states if pooling == "mean" else states[:, -1:]
            for window, own in zip(batch, states.astype(np.float64), strict=True):
                sums[window.text] = sums[window.text] + own.sum(axis=0)
                counts[window.text] += len(own)
    vectors = [total / count for total, count in zip(sums, counts, strict=True)]
    return np.stack(vectors).astype(np.float32)


def _room(network: LanguageNetwork, around: int) -> int | None:
    """Returns how many tokens of a text fit beside those around it; None without bound."""
    if capabilities(network).decodes == "state":
        return None
    return max(1, network.config.sequence_length - around)


def _parts(tokens: list[int], room: int | None, pooling: Pooling) -> list[list[int]]:
    if room is None or len(tokens) <= room:
        return [tokens]
    if pooling == "last":
        return [tokens[-room:]]
    return [tokens[start : start + room] for start in range(0, len(tokens), room)]
