"""Continuations of contexts as token ids, and how likely they are. NumPy only.

Context and continuation are cut into tokens as lm-evaluation-harness does (`_encode_pair` and
`_loglikelihood_tokens` of version 0.4), so that the likelihoods are of the same tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import DataError
from tfscale.text.score import token_nll
from tfscale.text.tokenizers import Tokenizer

Progress = Callable[[int, int], None]
"""Is called with the continuations done and those in all."""


@dataclass(frozen=True)
class Continuation:
    """Tokens whose likelihood after others is asked for.

    Attributes:
        context: ids that are read before, one or more.
        tokens: ids of the continuation, one or more.
    """

    context: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The ids that a model reads; the last ones predict `tokens`."""
        return self.context + self.tokens[:-1]

    def cut(self, length: int | None) -> "Continuation":
        """Returns what fits into a model that reads `length` tokens: the end of the context.

        Raises:
            DataError: the continuation alone has more tokens.
        """
        if length is None or len(self.context) + len(self.tokens) <= length + 1:
            return self
        if len(self.tokens) > length:
            raise DataError(
                f"a choice has {len(self.tokens)} tokens, and the model reads {length}; longer ones"
                " cannot be scored"
            )
        return Continuation(self.context[len(self.tokens) - length - 1 :], self.tokens)


@dataclass(frozen=True)
class Scored:
    """The likelihood of a continuation.

    Attributes:
        log_likelihood: log-probabilities of its tokens, summed, in nats.
        greedy: whether each of its tokens is the likeliest one.
    """

    log_likelihood: float
    greedy: bool


@dataclass(frozen=True)
class ContinuationModel:
    """A model of the next token, as far as it scores continuations.

    Attributes:
        tokenizer: the model's.
        context_length: most tokens that it reads; None without bound.
        score: continuations, and what is called with the progress -> their likelihoods, in order.
    """

    tokenizer: Tokenizer
    context_length: int | None
    score: Callable[[Sequence[Continuation], Progress | None], list[Scored]]


def continuation(tokenizer: Tokenizer, context: str, text: str) -> Continuation:
    """Returns a text after a context as token ids.

    White space at the end of the context belongs to the continuation. Both are cut into tokens
    together, and the continuation has those beyond the number of tokens of the context alone. The
    context begins as a prompt does, with the start token where the model was trained so; an empty
    one is the start token.

    Args:
        tokenizer: the model's; the texts are cleaned as its own were.
        context: what is read before.
        text: the continuation.

    Raises:
        DataError: the continuation has no token of its own.

    Example:
        continuation(ByteTokenizer(), "a ", "b")    # context [256, 97], tokens [32, 98]
    """
    clean = tokenizer.cleaner.beginning
    before = context.rstrip()
    whole = tokenizer.encode(clean(context + text))
    known = tokenizer.encode(clean(before)) if before else []
    if len(whole) <= len(known):
        raise DataError(f"the choice {text[:60]!r} gives no token after its context")
    return Continuation(tuple(tokenizer.prompt_ids(known)), tuple(whole[len(known) :]))


def scored(logits: np.ndarray, tokens: Sequence[int]) -> Scored:
    """Returns the likelihood of a continuation of n tokens.

    Args:
        logits: (n, V) of any float type, at the token before each.
        tokens: ids (n,).

    Example:
        scored(np.log([[0.25, 0.75]]), [1])    # log 0.75, and it is the likeliest
    """
    targets = np.asarray(tokens)
    greedy = bool((np.asarray(logits).argmax(axis=-1) == targets).all())
    return Scored(-float(token_nll(logits, targets).sum()), greedy)
