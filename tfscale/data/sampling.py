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
    share = characters / max(total, 1)
    seen = taken = 0
    for piece in pieces():
        if piece.part.split != TRAIN:
            continue
        for part in _parts(piece.text, whole=share >= 1):
            seen += len(part)
            if taken + len(part) <= seen * share or not taken:
                taken += len(part)
                yield part


def _parts(text: str, whole: bool) -> Iterator[str]:
    """Cuts a text where a token ends, or after 4,000 characters if no such place comes."""
    for part in split_long(text, _PART):
        if whole or len(part) <= 2 * _PART:
            yield part
        else:
            yield from (part[start : start + _PART] for start in range(0, len(part), _PART))
