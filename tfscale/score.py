"""Perplexity and bits per byte from summed log-likelihoods; NumPy only, so that the device side scores alike.

A score is a sum over tokens, never a mean of means: scores of unequal batches, windows or files are added.
"""

import math
from dataclasses import dataclass

import numpy as np

from tfscale.errors import DataError

STREAMS = 8
"""Most streams that a text is cut into for a model that carries its state; read side by side, they take less time."""
STREAM_TOKENS = 4096
"""Least tokens of such a stream where there are several, so that the few states that begin at zero hardly count."""


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood that a model gives to a text.

    Args:
        nll: summed over the tokens, in nats.
        tokens: tokens that were predicted, the end token of each document included.
        utf8_bytes: bytes of the text that these tokens stand for; 0 where it is not known (a part of a split).
        cloze: each token was predicted from both sides. Such likelihoods do not multiply to that of the text: they are
            no perplexity and no compression, and are reported under names of their own.

    Example:
        whole = Score(nll=70.0, tokens=20, utf8_bytes=64) + Score(nll=12.5, tokens=5, utf8_bytes=16)
        whole.perplexity, whole.bits_per_byte
    """

    nll: float
    tokens: int
    utf8_bytes: int = 0
    cloze: bool = False

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise DataError("nothing to score: the text has 0 tokens; give a text of 1 token or more")

    @property
    def nll_per_token(self) -> float:
        """Nats per token."""
        return self.nll / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the nats per token; infinite where that exceeds the range of a float."""
        return math.exp(self.nll_per_token) if self.nll_per_token < 709 else math.inf

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per UTF-8 byte of the text, which compares any two tokenizers; None where the bytes are not known."""
        return self.nll / math.log(2) / self.utf8_bytes if self.utf8_bytes else None

    def __add__(self, other: "Score") -> "Score":
        """The score of both texts; its bytes are known only if those of both are."""
        known = self.utf8_bytes and other.utf8_bytes
        return Score(
            self.nll + other.nll, self.tokens + other.tokens, self.utf8_bytes + other.utf8_bytes if known else 0,
            self.cloze,
        )  # fmt: skip

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures that every command prints."""
        if self.cloze:
            return {
                "cloze_nll_per_token": self.nll_per_token,
                "pseudo_perplexity": self.perplexity,
                "tokens": self.tokens,
                "bytes": self.utf8_bytes or None,
            }
        return {
            "nll_per_token": self.nll_per_token,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "tokens": self.tokens,
            "bytes": self.utf8_bytes or None,
        }


def stream_starts(tokens: int) -> list[int]:
    """Where the state of a model that carries it begins at zero, in a text that is scored.

    A text of up to 8,191 tokens is one stream; a longer one is cut into as many streams of equal length (the last one
    may be shorter) as have 4,096 tokens each, 8 at most. The first input of a stream is the token before it.

    Example:
        stream_starts(10_000)    # [0, 5000]
    """
    count = min(STREAMS, max(1, tokens // STREAM_TOKENS))
    length = -(-tokens // count)
    return [index * length for index in range(count)]


def token_nll(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each target, in nats.

    Args:
        logits: (..., V), any float type; computed in float64.
        targets: ids (...), each from 0 to V - 1.

    Returns:
        float64 (...): log(sum(exp(logits))) - logits[target], from logits shifted by their maximum.

    Example:
        token_nll(np.zeros((3, 256)), np.array([0, 7, 255]))  # log(256) three times
    """
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shifted, np.asarray(targets, np.int64)[..., None], axis=-1)[..., 0]
    return np.log(np.exp(shifted).sum(axis=-1)) - chosen
