"""Pairs of texts as rows of numbers, and tokens as texts. NumPy only: training and device do the
same.

A row has a source part of S and a target part of U tokens. With "prefix" they are packed: the start
token, the source, the end token, the target, end tokens up to S + U, as a language model has read
its documents. With "encoder_decoder" each part has its place: the start token, the source, end
tokens up to S; the end token, the target, end tokens up to S + U. The start token is the end token,
but for models that were imported with one of their own.

Shapes: N examples, T = S + U tokens of a row, P = T (prefix) or U (encoder_decoder) logits of it, V
vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfscale.tasks.examples import Example
from tfscale.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Row:
    """One example.

    `ids` (T,); `start`, the place of the end token after which the target comes; and whether its
    source and its target had to be cut.
    """

    ids: np.ndarray
    start: int
    source_cut: bool
    target_cut: bool


class SequenceEncoder:
    """Pairs of texts to rows, and tokens to texts.

    Args:
        task: "translate" or "summarize".
        tokenizer: the model's.
        architecture: "prefix" or "encoder_decoder".
        source_length: S, the source, the start token and the end token.
        target_length: U, most tokens that are written.

    Example:
        encoder = SequenceEncoder("translate", tokenizer, "prefix", 32, 32)
        ids = encoder.encode(example).ids
    """

    labels: tuple[str, ...] = ()
    several = False

    def __init__(
        self,
        task: str,
        tokenizer: Tokenizer,
        architecture: str,
        source_length: int,
        target_length: int,
    ):
        self.task, self.tokenizer, self.architecture = task, tokenizer, architecture
        self.source_length, self.target_length = source_length, target_length
        self.sequence_length = source_length + target_length
        self.first_logit = 0 if architecture == "prefix" else source_length
        """The place in a row of the first token that has logits."""

    def encode(self, example: Example) -> Row:
        """The row of an example; its target part is empty where the example has no target.

        The source is cleaned as the text was that the tokenizer was made for. The target stays as
        it is: it says what is to be written.
        """
        end, source = (
            self.tokenizer.end_id,
            self.tokenizer.encode(self.tokenizer.cleaner(example.text)),
        )
        target = self.tokenizer.encode(example.target) if example.target else []
        kept = source[: self.source_length - 2]
        ids = np.full(self.sequence_length, end, np.int32)
        ids[0] = self.tokenizer.start_id
        ids[1 : 1 + len(kept)] = kept
        start = 1 + len(kept) if self.architecture == "prefix" else self.source_length
        written = target[: self.target_length - 1]
        ids[start + 1 : start + 1 + len(written)] = written
        return Row(ids, start, len(kept) < len(source), len(target) > self.target_length)

    def start_of(self, ids: np.ndarray) -> int:
        """`Row.start` of ids (T,)."""
        if self.architecture != "prefix":
            return self.source_length
        return 1 + int(np.argmax(ids[1:] == self.tokenizer.end_id))

    def targets(self, example: Example, row: Row) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that are to be written and their weights, both (P,): the target and its end
        token, else 0.

        A target that is cut has no end token: nothing shall learn to end there.
        """
        tokens = [*self.tokenizer.encode(example.target), self.tokenizer.end_id][
            : self.target_length
        ]
        size = self.sequence_length - self.first_logit
        targets, weights = np.zeros(size, np.int32), np.zeros(size, np.float32)
        first = row.start - self.first_logit
        targets[first : first + len(tokens)] = tokens
        weights[first : first + len(tokens)] = 1
        return targets, weights

    def decode(self, tokens: Sequence[int]) -> dict[str, Any]:
        """The prediction that written tokens stand for: `text`, without white space around it."""
        return {"text": self.tokenizer.decode([int(token) for token in tokens]).strip()}
