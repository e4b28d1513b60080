"""The row of ids that a text classifier reads: how a text becomes one, found from examples.

People pad and cut in different ways: zeros or end tokens, before or after the text, a start token
or none. What a model was trained with is not guessed. Every way that is known here is tried on
texts whose rows are given, and the file keeps those that make all of these rows. Where they differ
on a new text, which is longer than any of the given ones, say, the text is refused.

Shapes: T ids of a row.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import ConfigError
from tfscale.text.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """One way in which ids of a text become a row.

    Attributes:
        pad_id: the id that fills the row up.
        pads_before: whether it stands before the text.
        cuts_beginning: whether the beginning of a text that is too long is left out; else its end
            is.
        start: whether the tokenizer's start token comes first.
        end: whether its end token comes last.
        keeps_marks: whether start and end token stay where the text is cut.
        cleans: whether the text is cleaned by the tokenizer's cleaner first.
    """

    pad_id: int
    pads_before: bool = False
    cuts_beginning: bool = False
    start: bool = False
    end: bool = False
    keeps_marks: bool = False
    cleans: bool = False

    def row(self, tokenizer: Tokenizer, text: str, length: int) -> np.ndarray:
        """Returns the ids (T,) int32 of a text."""
        cleaned = tokenizer.cleaner(text) if self.cleans else text
        return self.filled(tokenizer.encode(cleaned), length, tokenizer.start_id, tokenizer.end_id)

    def filled(self, ids: Sequence[int], length: int, start_id: int, end_id: int) -> np.ndarray:
        """Returns the ids (T,) int32 that ids of a text become."""
        before, after = [start_id] * self.start, [end_id] * self.end
        if self.keeps_marks:
            kept = self._cut([*ids], max(length - len(before) - len(after), 0))
            kept = [*before, *kept, *after][:length]
        else:
            kept = self._cut([*before, *ids, *after], length)
        padding = [self.pad_id] * (length - len(kept))
        return np.array([*padding, *kept] if self.pads_before else [*kept, *padding], np.int32)

    def _cut(self, ids: list[int], length: int) -> list[int]:
        return ids[max(len(ids) - length, 0) :] if self.cuts_beginning else ids[:length]


def layouts_of(tokenizer: Tokenizer, texts: Sequence[str], rows: np.ndarray) -> list[RowLayout]:
    """Returns the layouts that make every row of its text.

    Args:
        tokenizer: what made ids of the texts.
        texts: N texts.
        rows: ids (N, T), as the model reads them.

    Raises:
        ConfigError: no layout does; names the text that the best of them fails on.

    Example:
        layouts_of(tokenizer, ["a fine film"], np.array([[8, 3, 9, 0, 0]]))
    """
    cleans = (False, True) if tokenizer.cleaner.steps else (False,)
    ids = {
        cleaned: [tokenizer.encode(tokenizer.cleaner(text) if cleaned else text) for text in texts]
        for cleaned in cleans
    }
    fitting, best = [], 0
    for layout in _candidates(tokenizer, rows, cleans):
        made = (
            layout.filled(text, rows.shape[1], tokenizer.start_id, tokenizer.end_id)
            for text in ids[layout.cleans]
        )
        pairs = enumerate(zip(made, rows, strict=True))
        equal = next(
            (place for place, (ours, theirs) in pairs if not np.array_equal(ours, theirs)),
            len(texts),
        )
        best = max(best, equal)
        if equal == len(texts):
            fitting.append(layout)
    if not fitting:
        shown = " ".join(texts[best].split())[:40]
        raise ConfigError(
            f"texts: text {best} ({shown!r}) does not give row {best} of the samples by this"
            " tokenizer, with padding, start and end token in any of the ways that are known; give"
            " the texts of the samples in the same order and the tokenizer that made their ids, or"
            " neither: the file then takes ids"
        )
    return fitting


def row_of(
    layouts: Sequence[RowLayout], tokenizer: Tokenizer, text: str, length: int
) -> np.ndarray:
    """Returns the ids (T,) of a text, on which all layouts have to agree.

    Raises:
        ConfigError: they do not.
    """
    rows = [layout.row(tokenizer, text, length) for layout in layouts]
    if any(not np.array_equal(row, rows[0]) for row in rows):
        count = len(tokenizer.encode(text))
        done = "filled up" if count < length - 2 else "cut"
        raise ConfigError(
            f"the text has {count} tokens and the model reads {length}, and none of the texts that"
            f" it was exported with shows how such a text is {done}; export it with one that does,"
            " or give ids"
        )
    return rows[0]


def _candidates(
    tokenizer: Tokenizer, rows: np.ndarray, cleans: Sequence[bool]
) -> Iterator[RowLayout]:
    """Yields the known layouts, each once: what makes no difference is left out."""
    ends = rows[:, 0], rows[:, -1]
    # The most frequent first and last ids are padding, if there is any.
    counted = [np.unique(column, return_counts=True) for column in ends]
    frequent = [int(ids[counts.argmax()]) for ids, counts in counted]
    padding = sorted({0, tokenizer.start_id, tokenizer.end_id, *frequent})
    both = (False, True)
    for cleaned, start, end, cuts, before, pad_id in itertools.product(
        cleans, both, both, both, both, padding
    ):
        for keeps in both if start or end else (False,):
            yield RowLayout(
                pad_id=pad_id,
                pads_before=before,
                cuts_beginning=cuts,
                start=start,
                end=end,
                keeps_marks=keeps,
                cleans=cleaned,
            )
