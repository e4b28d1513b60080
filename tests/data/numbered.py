"""Data folders whose training tokens are numbers, so that every token names its place."""

import json
import shutil
from unittest import mock

import numpy as np

from tfscale.data import shards
from tfscale.data.index import INDEX_FILE, write_index


def numbered_data(
    folder,
    path,
    lengths,
    dtype="uint16",
    sources=None,
    record_tokens=None,
    member_records=None,
    tokens=None,
):
    """Writes a data folder whose training tokens are 0, 1, 2 ... over all shards; returns its path.

    Args:
        folder: a data folder, which is copied but for its training shards.
        path: the new folder.
        lengths: tokens of each shard.
        dtype: how they are stored.
        sources: the source of each shard.
        record_tokens: tokens of a record.
        member_records: records of a member.
        tokens: other ids than 0, 1, 2 ..., as many as all shards have.
    """
    shutil.copytree(folder, path)
    for old in [*path.glob("train-*"), path / INDEX_FILE]:
        old.unlink()
    written, start = [], 0
    record_tokens = record_tokens or shards.RECORD_TOKENS
    member_records = member_records or shards.MEMBER_RECORDS
    sizes = {"RECORD_TOKENS": record_tokens, "MEMBER_RECORDS": member_records}
    with mock.patch.multiple(shards, **sizes):
        for number, length in enumerate(lengths):
            kind = np.dtype(dtype).newbyteorder("<")
            ids = np.arange(start, start + length) if tokens is None else tokens[start:][:length]
            ids.astype(kind).tofile(path / "tokens")
            file = str(path / "tokens")
            written += shards.write_shards(str(path), f"part{number}", file, kind.itemsize, 1, 1)
            start += length
    (path / "tokens").unlink()
    write_index(
        str(path),
        [shard for shard, _ in written],
        [sizes for _, sizes in written],
        record_tokens,
        member_records,
    )
    manifest = json.loads((path / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    train.update(tokens=start, shards=[])
    for number, (shard, _) in enumerate(written):
        fields = {name: value for name, value in vars(shard).items() if value is not None}
        if sources:
            fields["source"] = sources[number]
            counts = train.setdefault("sources", {}).setdefault(
                sources[number], {"documents": 1, "tokens": 0, "utf8_bytes": 1}
            )
            counts["tokens"] += lengths[number]
        train["shards"].append(fields)
    manifest["token_dtype"] = dtype
    (path / "manifest.json").write_text(json.dumps(manifest))
    return str(path)
