"""Tokens of the spooled documents to the shards of each split."""

import contextlib
import os
from typing import Literal

from tfscale.data.manifest import Split
from tfscale.data.shards import shard_count, write_shards
from tfscale.data.splits import SPLITS, TRAIN
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
) -> dict[str, Encoded]:
    """Saves a tokenizer and appends its tokens of each split to a file of its own.

    `write_splits` cuts these files into shards.

    Args:
        directory: the data folder.
        tokenizer: what to encode by.
        spool: the documents, which are removed when they are tokenized.
        processes: how many processes tokenize.
        progress: whether to show progress on stderr.

    Returns:
        The totals of each split that has documents, without content.
    """
    tokenizer_dir = os.path.join(directory, "tokenizer")
    tokenizer.save(tokenizer_dir)
    results = encode_batches(tokenizer, tokenizer_dir, spool, processes)
    totals: dict[str, Encoded] = {}
    with contextlib.ExitStack() as stack:
        files = {
            split: stack.enter_context(open(_tokens_path(directory, split), "wb"))
            for split in SPLITS
        }
        meter = stack.enter_context(
            TextProgress(
                "tokenizing", sum(batch.text_bytes for batch in spool.batches), enabled=progress
            )
        )
        for batch, result in zip(spool.batches, results, strict=True):
            for split, encoded in result.items():
                total = totals.setdefault(split, Encoded())
                total.documents += encoded.documents
                total.tokens += encoded.tokens
                total.utf8_bytes += encoded.utf8_bytes
                total.unknown_tokens += encoded.unknown_tokens
                total.lost_bits += encoded.lost_bits
                files[split].write(encoded.content)
            meter.add(
                documents=sum(encoded.documents for encoded in result.values()),
                tokens=sum(encoded.tokens for encoded in result.values()),
                size=batch.text_bytes,
            )
    os.remove(spool.path)
    return totals


def write_splits(
    directory: str,
    totals: dict[str, Encoded],
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
        shards: of the training split; 0 for as many as `shard_count` takes.
        processes: how many shards to write at the same time.
        progress: whether to show progress on stderr.

    Returns:
        The splits that have documents, with their shards.
    """
    splits = {}
    size = sum(total.utf8_bytes for total in totals.values())
    with TextProgress("writing", size, enabled=progress) as meter:
        for split in SPLITS:
            path = _tokens_path(directory, split)
            if split in totals:
                total = totals[split]
                num_shards = shard_count(total.tokens, shards if split == TRAIN else 0)
                written = write_shards(
                    directory, split, path, 2 if dtype == "uint16" else 4, num_shards, processes
                )
                splits[split] = Split(
                    total.documents,
                    total.tokens,
                    total.utf8_bytes,
                    written,
                    total.unknown_tokens,
                    total.lost_bits,
                )
                meter.add(documents=total.documents, tokens=total.tokens, size=total.utf8_bytes)
            os.remove(path)
    return splits


def _tokens_path(directory: str, split: str) -> str:
    return os.path.join(directory, f"{split}.tokens")
