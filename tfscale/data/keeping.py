"""Which documents of a text are kept where no quality option is set."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tfscale.config import PrepareConfig
from tfscale.data.splits import document_digest, split_hash
from tfscale.text.cleaning import Cleaner


@dataclass
class Dropped:
    """Documents that are not kept, for the manifest.

    Attributes:
        cleaned_away: those of which cleaning left nothing.
        duplicates: those that are the same as an earlier one (`drop_duplicates`).
    """

    cleaned_away: int = 0
    duplicates: int = 0


def kept_texts(
    texts: Iterable[str],
    clean: Cleaner,
    config: PrepareConfig,
    dropped: Dropped,
    seen: set[bytes],
) -> Iterator[tuple[str, int]]:
    """Yields the cleaned text of each document that is kept, and its `split_hash`, in order.

    Args:
        texts: the documents.
        clean: the cleaning.
        config: for `seed` and `drop_duplicates`.
        dropped: is added to.
        seen: digests of the earlier documents of the same split; is added to.
    """
    # Without a step there is no call for each of many short documents.
    for text in map(clean, texts) if clean.steps else texts:
        if not text:
            dropped.cleaned_away += 1
            continue
        digest = document_digest(text.encode("utf-8"), config.seed)
        if config.drop_duplicates:
            if digest in seen:
                dropped.duplicates += 1
                continue
            seen.add(digest)
        yield text, split_hash(digest)
