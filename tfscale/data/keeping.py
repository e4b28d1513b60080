"""Which documents of a text are kept where no quality option is set."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tfscale.config import PrepareConfig
from tfscale.data.splits import document_digests, split_hashes
from tfscale.data.spool import Documents
from tfscale.text.cleaning import Cleaner

BATCH_CHARACTERS = 1 << 18
"""Characters after which a batch is full; a process gets as many at a time."""


@dataclass
class Dropped:
    """Documents that are not kept, for the manifest.

    Attributes:
        cleaned_away: those of which cleaning left nothing.
        duplicates: those that are the same as an earlier one (`drop_duplicates`).
    """

    cleaned_away: int = 0
    duplicates: int = 0


def batches_of(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yields documents, some at a time: work on many short ones is done for all at once."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def kept_documents(
    batches: Iterable[list[str]],
    clean: Cleaner,
    config: PrepareConfig,
    dropped: Dropped,
    seen: set[bytes],
) -> Iterator[Documents]:
    """Yields the documents that are kept, cleaned, in order.

    Args:
        batches: the documents, some at a time.
        clean: the cleaning.
        config: for `seed` and `drop_duplicates`.
        dropped: is added to.
        seen: digests of the earlier documents of the same split; is added to.
    """
    for batch in batches:
        # Without a step there is no call for each of many short documents.
        cleaned = map(clean, batch) if clean.steps else batch
        texts = [text for text in cleaned if text]
        dropped.cleaned_away += len(batch) - len(texts)
        contents = [text.encode("utf-8") for text in texts]
        digests = document_digests(contents, config.seed)
        if config.drop_duplicates:
            new = [_is_new(digest, seen) for digest in digests]
            dropped.duplicates += new.count(False)
            texts = list(itertools.compress(texts, new))
            contents = list(itertools.compress(contents, new))
            digests = list(itertools.compress(digests, new))
        yield Documents(texts, contents, split_hashes(digests))


def _is_new(digest: bytes, seen: set[bytes]) -> bool:
    if digest in seen:
        return False
    seen.add(digest)
    return True
