"""How fast training reads its shards, on one core, and how soon a run that goes on has a batch.

    python -m benchmarks.reading_side make --data DIR --shards 100 --tokens 400000000
    python -m benchmarks.reading_side rate --data DIR --length 128
    python -m benchmarks.reading_side resume --data DIR --length 128 --step 100000

`make` writes a data folder of made-up tokens: a few frequent ones and many rare ones, as in text,
which compress about as much. `rate` gives the tokens per second of the batches alone, after the
first, with the process tied to one core. `resume` gives the seconds from the call to the first
batch of a step, TensorFlow being loaded.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from tfscale.data.index import write_index
from tfscale.data.manifest import Manifest, Split
from tfscale.data.shards import MEMBER_RECORDS, RECORD_TOKENS, write_shards
from tfscale.text.tokenizers import train_tokenizer

BATCH = 32
_VOCABULARY, _BLOCK = 8192, 4_000_000


def make(data: Path, shards: int, tokens: int) -> None:
    """Writes a data folder of so many shards and tokens."""
    tokenizer = train_tokenizer("byte", [], 257)
    tokenizer.save(str(data / "tokenizer"))
    random = np.random.default_rng(0)
    # The logarithm of an id is spread evenly: id n is met about 1 / n times as often as the first.
    ids = np.exp(random.random(min(tokens, _BLOCK)) * np.log(_VOCABULARY)) - 1
    block = np.minimum(ids, _VOCABULARY - 1).astype("<u2")
    path = data / "tokens"
    with path.open("wb") as file:
        for start in range(0, tokens, _BLOCK):
            np.roll(block, start // 7)[: tokens - start].tofile(file)
    written = write_shards(str(data), "train", str(path), 2, shards, os.cpu_count() or 1)
    path.unlink()
    files = [shard for shard, _ in written]
    write_index(str(data), files, [sizes for _, sizes in written], RECORD_TOKENS, MEMBER_RECORDS)
    # The ids are those of a larger vocabulary than the tokenizer's, which nothing here decodes.
    split = Split(1, tokens, 4 * tokens, files, 0, 0.0)
    Manifest.of(tokenizer, {"train": split}, {}, {}).save(str(data))


def rate(data: Path, length: int, seconds: float) -> float:
    """Returns the tokens per second that one core reads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    batches = iter(_dataset(data, length, 0))
    next(batches)
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        next(batches)
        count += 1
    return count * BATCH * length / passed


def resume(data: Path, length: int, step: int) -> float:
    """Returns the seconds from the call to the first batch of a step.

    A step below 0 is counted from the end of the first epoch.
    """
    import tensorflow as tf

    if step < 0:
        from tfscale.data.pipeline import steps_per_epoch

        step += steps_per_epoch(Manifest.load(str(data)), length, BATCH)
    # What TensorFlow does at its first dataset is not of this one.
    list(tf.data.Dataset.range(1))
    began = time.perf_counter()
    next(iter(_dataset(data, length, step)))
    return time.perf_counter() - began


def _dataset(data: Path, length: int, step: int):  # type: ignore[no-untyped-def]
    from tfscale.data.pipeline import training_dataset

    return training_dataset(
        str(data),
        sequence_length=length,
        global_batch_size=BATCH,
        seed=0,
        start_step=step,
        verify="size",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("make", "rate", "resume"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=400_000_000)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--step", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    result = {}
    if options.task == "make":
        make(options.data, options.shards, options.tokens)
    elif options.task == "rate":
        result["tokens_per_second"] = rate(options.data, options.length, options.seconds)
    else:
        result["seconds"] = resume(options.data, options.length, options.step)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
