"""The part of the training text that a tokenizer is trained on."""

from collections.abc import Iterator

from tfscale.data.splits import TRAIN
from tfscale.data.spool import Spool
from tfscale.text.tokenizers.cutting import split_long

_PART = 4000
"""Characters of a part of a document, which is taken or passed over as a whole."""


def tokenizer_sample(spool: Spool, characters: int) -> Iterator[str]:
    """Takes parts of the training documents, spread evenly.

    At any place, the same share of what came before has been taken.

    Args:
        spool: the documents.
        characters: how many to take; all where the text has no more. The first part, of up to
            8,000, is always taken.
    """
    pieces = spool.all_pieces
    total = sum(len(piece.text) for piece in pieces() if piece.part.split == TRAIN)
    sample = Sample(characters, total)
    for piece in pieces():
        if piece.part.split == TRAIN:
            for part in parts_of(piece.text, sample.whole):
                if sample.takes(len(part)):
                    yield part


class Sample:
    """Which parts of the training documents are taken, one after the other, by their lengths.

    Args:
        characters: how many to take.
        total: characters of all parts.

    Attributes:
        whole: whether all is taken.
    """

    def __init__(self, characters: int, total: int):
        self._share = characters / max(total, 1)
        self._seen = self._taken = 0
        self.whole = self._share >= 1

    def takes(self, length: int) -> bool:
        """Returns whether the next part, of so many characters, is taken."""
        self._seen += length
        if self._taken + length <= self._seen * self._share or not self._taken:
            self._taken += length
            return True
        return False


def parts_of(text: str, whole: bool) -> Iterator[str]:
    """Cuts a piece of a document into the parts of which a sample is made.

    A cut is where a token ends, or after 4,000 characters if no such place comes.

    Args:
        text: the piece.
        whole: whether all is taken, so that no other cuts are needed.
    """
    for part in split_long(text, _PART):
        if whole or len(part) <= 2 * _PART:
            yield part
        else:
            yield from (part[start : start + _PART] for start in range(0, len(part), _PART))
