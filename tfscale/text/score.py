"""Perplexity and bits per byte from summed log-likelihoods.

NumPy only, so that the device side scores alike.

A score is a sum over tokens, never a mean of means: scores of unequal batches, windows or files are
added.

Bits per byte are those of a code from which the text itself can be read again. Where tokens lose
text (an unknown word, the amount of white space), the bits that would spell it are added to those
of the tokens: see `tfscale.text.tokenizers.lost`. Without them a vocabulary would look the better
the fewer words it has.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import DataError

STREAMS = 8
"""Most streams that a text is cut into for a model that carries its state; read side by side, they
take less time."""
STREAM_TOKENS = 4096
"""Least tokens of such a stream where there are several, so that the few states that begin at zero
hardly count."""


@dataclass(frozen=True)
class ScoredText:
    """Facts about a text beside its tokens.

    Args:
        utf8_bytes: bytes of the text, as cleaned; 0 where they are not known (a part of a split).
        unknown_tokens: how many of its tokens are the unknown token; None where they were not
            counted.
        lost_bits: bits that spell what the tokens lose of the text; None where that is not known.
    """

    utf8_bytes: int = 0
    unknown_tokens: int | None = None
    lost_bits: float | None = None


@dataclass(frozen=True)
class Score:
    """The negative log-likelihood that a model gives to a text.

    Args:
        nll: summed over the tokens, in nats.
        tokens: tokens that were predicted, the end token of each document included.
        utf8_bytes: bytes of the text that these tokens stand for; 0 where it is not known (a part
            of a split).
        cloze: each token was predicted from both sides. Such likelihoods do not multiply to that of
            the text: they are neither a perplexity nor a compression, and are reported under names
            of their own.
        unknown_tokens, lost_bits: see `ScoredText`; the default is a text of which nothing is lost.

    Example:
        whole = Score(nll=70.0, tokens=20, utf8_bytes=64) + Score(nll=12.5, tokens=5, utf8_bytes=16)
        whole.perplexity, whole.bits_per_byte
    """

    nll: float
    tokens: int
    utf8_bytes: int = 0
    cloze: bool = False
    unknown_tokens: int | None = None
    lost_bits: float | None = 0.0

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise DataError(
                "nothing to score: the text has 0 tokens; give a text of 1 token or more"
            )

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
        """Bits per UTF-8 byte of the text, those of lost text included.

        So any two tokenizers compare.

        None where the bytes, or what the tokens lose, are not known.
        """
        charged = self.charged_bits_per_byte
        return None if charged is None else self.nll / math.log(2) / self.utf8_bytes + charged

    @property
    def charged_bits_per_byte(self) -> float | None:
        """The bits per byte that spell text that the tokens lose."""
        return (
            self.lost_bits / self.utf8_bytes
            if self.utf8_bytes and self.lost_bits is not None
            else None
        )

    @property
    def unknown_share(self) -> float | None:
        """The unknown tokens as a share of all; None where they were not counted."""
        return None if self.unknown_tokens is None else self.unknown_tokens / self.tokens

    def of(self, text: ScoredText) -> "Score":
        """Returns the same likelihood with what is known about the text."""
        return dataclasses.replace(self, **dataclasses.asdict(text))

    def __add__(self, other: "Score") -> "Score":
        """Returns the score of both texts; figures that one of them lacks are unknown."""
        bytes_known = self.utf8_bytes and other.utf8_bytes
        counted = self.unknown_tokens is not None and other.unknown_tokens is not None
        lost_known = self.lost_bits is not None and other.lost_bits is not None
        return Score(
            self.nll + other.nll,
            self.tokens + other.tokens,
            self.utf8_bytes + other.utf8_bytes if bytes_known else 0,
            self.cloze,
            (self.unknown_tokens or 0) + (other.unknown_tokens or 0) if counted else None,
            (self.lost_bits or 0.0) + (other.lost_bits or 0.0) if lost_known else None,
        )

    def to_dict(self) -> dict[str, float | int | None]:
        """Returns the figures that every command prints."""
        unknown = {"unknown_tokens": self.unknown_tokens, "unknown_share": self.unknown_share}
        if self.cloze:
            return {
                "cloze_nll_per_token": self.nll_per_token,
                "pseudo_perplexity": self.perplexity,
                "tokens": self.tokens,
                "bytes": self.utf8_bytes or None,
                **unknown,
            }
        return {
            "nll_per_token": self.nll_per_token,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "tokens": self.tokens,
            "bytes": self.utf8_bytes or None,
            **unknown,
            "charged_bits_per_byte": self.charged_bits_per_byte,
        }


def stream_starts(tokens: int) -> list[int]:
    """Returns where the state of a model that carries it begins at zero, in a scored text.

    A text of up to 8,191 tokens is one stream; a longer one is cut into as many streams of equal
    length (the last one may be shorter) as have 4,096 tokens each, 8 at most. The first input of a
    stream is the token before it.

    Example:
        stream_starts(10_000)    # [0, 5000]
    """
    count = min(STREAMS, max(1, tokens // STREAM_TOKENS))
    length = -(-tokens // count)
    return [index * length for index in range(count)]


def reading_starts(
    inputs: Sequence[int], length: int, *, carries: bool = False, document_start: int | None = None
) -> list[int]:
    """Returns the places in a scored text at which a model that reads token by token begins anew.

    Args:
        inputs: what it reads.
        length: tokens of a window.
        carries: whether it carries its state from window to window.
        document_start: the id that begins a document, for a model that keeps documents apart; None
            for one that reads on.

    Example:
        reading_starts([1, 5, 6, 1, 7, 8, 9], 4, document_start=1)    # [0, 3, 4]
    """
    total = len(inputs)
    starts = set(stream_starts(total) if carries else range(0, total, length))
    if document_start is not None:
        starts |= {place for place, token in enumerate(inputs) if token == document_start}
    return sorted(starts)


def token_nll(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each target, in nats.

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
