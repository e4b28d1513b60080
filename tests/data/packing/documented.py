"""Data folders of documents of given lengths, and what rows hold of them."""

import json
import shutil
from collections import Counter

import numpy as np

from tests.data.numbered import numbered_data
from tfscale.data.index import INDEX_FILE
from tfscale.data.pipeline import training_dataset

END, START = 256, 255
LAST = 254
"""The largest id in a document."""


def documents_of(lengths, seed=0):
    """Documents of so many tokens, the end token included."""
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(0, LAST + 1, n - 1), END) for n in lengths]


def documented_data(folder, path, documents, borders, source=None, start_id=None):
    """Writes a data folder whose training split is some documents; returns its path.

    Args:
        folder: a data folder of bytes, which is copied but for its training shards.
        path: the new folder.
        documents: ids of each document, which end with END.
        borders: tokens of each shard; their sum is that of the documents.
        source: the source of each shard.
        start_id: what a model reads before each document; None for END.
    """
    numbered_data(
        folder,
        path,
        borders,
        sources=source,
        record_tokens=32,
        member_records=2,
        tokens=np.concatenate(documents),
    )
    if start_id is not None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps({**manifest, "start_id": start_id}))
    return str(path)


def without_index(data, path):
    """Copies a data folder without its index; returns the copy's path."""
    shutil.copytree(data, path)
    (path / INDEX_FILE).unlink()
    return str(path)


def batches(data, count, **options):
    """The first packed batches as arrays (inputs, targets, weights)."""
    options = {"sequence_length": 16, "global_batch_size": 4, "seed": 3} | options
    dataset = training_dataset(data, packing="best_fit", **options)
    return [tuple(part.numpy() for part in batch) for batch in dataset.take(count)]


def pieces_of(documents, row_length, start_id=END):
    """How often each piece of documents should be in an epoch: pairs of inputs and targets."""
    counts = Counter()
    for document in documents:
        inputs = np.concatenate([[start_id], document[:-1]])
        for at in range(0, len(document), row_length):
            span = slice(at, at + row_length)
            counts[tuple(inputs[span].tolist()), tuple(document[span].tolist())] += 1
    return counts


def pieces_in(rows):
    """The pieces in batches: what stands between the ends of documents, and of rows."""
    counts = Counter()
    for inputs, targets, weights in rows:
        for row in range(len(inputs)):
            filled = int(weights[row].sum())
            assert weights[row].tolist() == [1.0] * filled + [0.0] * (len(weights[row]) - filled)
            ends = (np.flatnonzero(targets[row][:filled] == END) + 1).tolist()
            ends = [*ends, filled] if filled not in ends else ends
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                if end > start:
                    span = slice(start, end)
                    counts[
                        tuple(inputs[row][span].tolist()), tuple(targets[row][span].tolist())
                    ] += 1
    return counts
