"""The ids of many texts in one array."""

import itertools
from collections.abc import Callable

import numpy as np

_GROUP = 256
"""Texts whose ids are lists at a time. Python looks for cycles among the newest lists whenever
there are 700, which takes a tenth of the time of thousands of short texts."""


def joined_ids(
    encode_batch: Callable[[list[str]], list[list[int]]], texts: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids of texts, and how many are of each; see `Tokenizer.encode_joined`.

    Args:
        encode_batch: gives the ids of some texts as lists.
        texts: all of them.
    """
    groups = [np.empty(0, np.int32)]
    counts = [np.empty(0, np.int64)]
    for start in range(0, len(texts), _GROUP):
        encoded = encode_batch(texts[start : start + _GROUP])
        counts.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        ids = itertools.chain.from_iterable(encoded)
        groups.append(np.fromiter(ids, np.int32, counts[-1].sum()))
    return np.concatenate(groups), np.concatenate(counts)
