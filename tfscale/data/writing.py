"""Tokens of the spooled documents to the shards of each split."""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Literal

import numpy as np

from tfscale.data.index import write_index
from tfscale.data.manifest import SourceCounts, Split
from tfscale.data.shards import (
    MEMBER_RECORDS,
    RECORD_TOKENS,
    WrittenShard,
    shard_count,
    write_shards,
)
from tfscale.data.splits import SPLITS, TRAIN, Part
from tfscale.data.spool import Spool
from tfscale.data.tokenizing import Encoded, encode_batches
from tfscale.text.tokenizers import Tokenizer
from tfscale.ui.progress import TextProgress


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def write_tokens(
    directory: str, tokenizer: Tokenizer, spool: Spool, processes: int, progress: bool
) -> dict[Part, Encoded]:
    """Saves a tokenizer and appends its tokens of each split, and source, to a file of its own.

    `write_splits` cuts these files into shards.

    Args:
        directory: the data folder.
        tokenizer: what to encode by.
        spool: the documents, which are removed when they are tokenized.
        processes: how many processes tokenize.
        progress: whether to show progress on stderr.

    Returns:
        The totals of each part that has documents, without content.
    """
    tokenizer_dir = os.path.join(directory, "tokenizer")
    tokenizer.save(tokenizer_dir)
    results = encode_batches(tokenizer, tokenizer_dir, spool, processes)
    totals: dict[Part, Encoded] = {}
    with contextlib.ExitStack() as stack:
        files: dict[Part, BinaryIO] = {}
        meter = stack.enter_context(
            TextProgress(
                "tokenizing", sum(batch.text_bytes for batch in spool.batches), enabled=progress
            )
        )
        for batch, result in zip(spool.batches, results, strict=True):
            for part, encoded in result.items():
                if part not in files:
                    path = _tokens_path(directory, part)
                    files[part] = stack.enter_context(open(path, "wb"))
                total = totals.setdefault(part, Encoded())
                total.add(encoded)
                files[part].write(encoded.content)
            meter.add(
                documents=sum(encoded.documents for encoded in result.values()),
                tokens=sum(encoded.tokens for encoded in result.values()),
                size=batch.text_bytes,
            )
    os.remove(spool.path)
    return totals


def write_splits(
    directory: str,
    totals: dict[Part, Encoded],
    dtype: Literal["uint16", "uint32"],
    shards: int,
    processes: int,
    progress: bool,
) -> dict[str, Split]:
    """Cuts what `write_tokens` wrote into shards, and removes it.

    Args:
        directory: the data folder.
        totals: what `write_tokens` returned.
        dtype: how tokens are stored, "uint16" or "uint32".
        shards: of the training split, or of each source of it; 0 for as many as `shard_count`
            takes.
        processes: how many shards to write at the same time.
        progress: whether to show progress on stderr.

    Returns:
        The splits that have documents, with their shards.
    """
    size = sum(total.utf8_bytes for total in totals.values())
    written: dict[Part, list[WrittenShard]] = {}
    with TextProgress("writing", size, enabled=progress) as meter:
        for part in in_order_of_splits(totals):
            total, path = totals[part], _tokens_path(directory, part)
            count = shards_of(part, total, shards)
            written[part] = write_shards(
                directory, shown(part), path, np.dtype(dtype).itemsize, count, processes
            )
            meter.add(documents=total.documents, tokens=total.tokens, size=total.utf8_bytes)
            os.remove(path)
    return splits_of(directory, totals, written)


def in_order_of_splits(parts: Iterable[Part]) -> list[Part]:
    """Returns parts in the order in which their shards are written: by split, then by source."""
    return sorted(parts, key=lambda part: (SPLITS.index(part.split), part))


def shards_of(part: Part, total: Encoded, shards: int) -> int:
    """Returns how many shards a part gets; see `write_splits` and `shard_count`."""
    return shard_count(total.tokens, shards if part.split == TRAIN else 0)


def splits_of(
    directory: str, totals: Mapping[Part, Encoded], written: Mapping[Part, list[WrittenShard]]
) -> dict[str, Split]:
    """Returns the splits of what was written, and writes the index of the training shards.

    Args:
        directory: the data folder.
        totals: of each part that has documents.
        written: its shards.
    """
    splits = {}
    for split in SPLITS:
        parts = [part for part in in_order_of_splits(totals) if part.split == split]
        if parts:
            splits[split] = _split({part: totals[part] for part in parts}, written)
        if parts and split == TRAIN:
            sizes = [shard.member_sizes for part in parts for shard in written[part]]
            files = splits[split].shards
            write_index(directory, files, sizes, RECORD_TOKENS, MEMBER_RECORDS)
    return splits


def _split(totals: Mapping[Part, Encoded], written: Mapping[Part, list[WrittenShard]]) -> Split:
    """Returns a split of its parts."""
    sources = {
        part.source: SourceCounts(total.documents, total.tokens, total.utf8_bytes)
        for part, total in totals.items()
        if part.source is not None
    }
    return Split(
        sum(total.documents for total in totals.values()),
        sum(total.tokens for total in totals.values()),
        sum(total.utf8_bytes for total in totals.values()),
        [
            dataclasses.replace(shard, source=part.source)
            for part in totals
            for shard, _ in written[part]
        ],
        sum(total.unknown_tokens for total in totals.values()),
        sum(total.lost_bits for total in totals.values()),
        sources,
    )


def shown(part: Part) -> str:
    """Returns the name of a part in names of files."""
    return part.split if part.source is None else f"{part.split}.{part.source}"


def _tokens_path(directory: str, part: Part) -> str:
    return os.path.join(directory, f"{shown(part)}.tokens")
