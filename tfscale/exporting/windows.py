"""Held-out tokens in windows, with the logits of the network that a file is compared with.

Shapes: T tokens of a window, V vocabulary.
"""

import functools

import numpy as np

from tfscale.data.pipeline import text_windows
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.models.logits import spread
from tfscale.text.score import Score, token_nll


class Windows:
    """The held-out tokens, cut as training cuts them, with the network's logits for each window.

    Args:
        reference: a network that computes in float32.
        stream: ids (N,).
        end_id: the token that comes before the first.
        start_id: what is read instead of it; None for the end token itself.
        document_mask: cut the windows where documents begin, so that each is read by itself.
    """

    def __init__(
        self,
        reference: DecodingNetwork,
        stream: np.ndarray,
        end_id: int,
        start_id: int | None = None,
        document_mask: bool = False,
    ):
        self.reference = reference
        inputs, targets, weights = text_windows(
            stream, reference.config.sequence_length, end_id, start_id
        )
        counts = (weights > 0).sum(axis=1)
        self.inputs = [row[:count] for row, count in zip(inputs, counts, strict=True)]
        self.targets = [row[:count] for row, count in zip(targets, counts, strict=True)]
        if document_mask:
            begin = end_id if start_id is None else start_id
            cuts = [np.flatnonzero(row[1:] == begin) + 1 for row in self.inputs]
            self.inputs, self.targets = (
                [part for row, cut in zip(rows, cuts, strict=True) for part in np.split(row, cut)]
                for rows in (self.inputs, self.targets)
            )
        self.logits = [self._forward(row)[: len(row)] for row in self.inputs]

    def _forward(self, ids: np.ndarray) -> np.ndarray:
        # Whole windows, so that every call has the same shape; what follows a token does not change
        # its logits.
        window = np.full(self.reference.config.sequence_length, ids[0], np.int32)
        window[: len(ids)] = ids
        return np.asarray(self.reference(window[None], training=False), np.float32)[0]

    def longest_prompt(self, least: int) -> tuple[list[int], np.ndarray]:
        """Returns the first window, repeated up to `least` tokens, and the logits after each.

        It is cut at the context. With fewer held-out tokens the longest calls that read a prompt
        would not be compared.
        """
        ids, length = self.inputs[0], self.reference.config.sequence_length
        if len(ids) >= min(least, length):
            return ids.tolist(), self.logits[0]
        longer = np.resize(ids, min(least, length))
        return longer.tolist(), self._forward(longer)[: len(longer)]

    def score(self) -> Score:
        """Returns how likely the network finds the tokens."""
        nll = sum(
            float(token_nll(logits, row).sum())
            for logits, row in zip(self.logits, self.targets, strict=True)
        )
        return Score(nll, sum(map(len, self.targets)))

    @functools.cached_property
    def spread(self) -> float:
        """Root mean square of the logits around each token's mean."""
        return spread(self.logits)
