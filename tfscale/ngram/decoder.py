"""Generation by an n-gram model. NumPy only."""

from collections.abc import Sequence

import numpy as np

from tfscale.errors import PromptError
from tfscale.ngram.model import NGramModel


class NGramDecoder:
    """An n-gram model as a `tfscale.inference.generation.Decoder`.

    Args:
        model: the model; the end token stands before every document that it has counted.
        start_id: the tokenizer's start token, which is read as the end token.

    Example:
        generate(NGramDecoder(model), tokenizer, "def ", max_tokens=40).text
    """

    context_length: int | None = None

    def __init__(self, model: NGramModel, start_id: int | None = None):
        self.model, self._start_id = model, start_id
        self.vocabulary_size = model.vocabulary_size
        self._context: list[int] = []

    def reset(self) -> None:
        """Forgets all tokens."""
        self._context = []

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` (one or more); returns log-probabilities (V,) float32 after the last one."""
        if len(ids) == 0:
            raise PromptError("no token to read; give one or more")
        ids = [self.model.end_id if i == self._start_id else int(i) for i in ids]
        self._context = [*self._context, *ids][-max(1, self.model.order - 1) :]
        return self.model.next_log_probabilities(self._context)

    def mark(self) -> list[int]:
        """Returns the place reached, for `back_to`."""
        return self._context

    def back_to(self, mark: list[int]) -> None:
        """Goes back to a place."""
        self._context = mark
