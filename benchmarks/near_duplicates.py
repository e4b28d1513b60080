"""Near duplicates that were planted: how many are found, how fast, and in how much memory.

Made-up documents, of which some are edited copies of earlier ones. For each copy the exact Jaccard
similarity with its original is known, because n-grams of both are compared as sets:

    python -m benchmarks.near_duplicates --documents 1000000

recall is the share of the copies at or above the threshold that are dropped, precision the share of
the dropped documents that are such copies. An estimate by P numbers has a standard error of up to
0.5 / sqrt(P), so that copies near the threshold go either way; the second pair of figures leaves
out those within 0.05 of it.
"""

import argparse
import itertools
import json
import random
import resource
import time
from collections.abc import Iterator

from tfscale.data.quality.near_duplicates import NearDuplicates
from tfscale.text.minhash import MinHash

NEAR = 0.05
"""Distance from the threshold that the second pair of figures leaves out."""
_BATCH = 1000
_SYLLABLES = "ba de ki lo mu na pe ri so tu va we xi yo zu cha fle gri sto tra".split()


def documents(
    count: int, words: int, copies: float, seed: int = 0
) -> Iterator[tuple[str, str | None]]:
    """Yields documents, and of the copies their originals.

    Args:
        count: how many.
        words: of a document, on average.
        copies: share of the documents that are copies; a tenth to nothing of their words is
            replaced.
        seed: of the random numbers.
    """
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(20_000)]
    originals: list[str] = []
    for _ in range(count):
        if originals and rng.random() < copies:
            original = rng.choice(originals)
            text = original.split()
            for place in rng.sample(range(len(text)), rng.randint(0, len(text) // 10)):
                text[place] = rng.choice(vocabulary)
            yield " ".join(text), original
        else:
            text = rng.choices(vocabulary, k=rng.randint(words // 2, 3 * words // 2))
            original = " ".join(text)
            # Some of the texts are enough to copy from; all of them would fill the memory.
            if len(originals) < 10_000:
                originals.append(original)
            yield original, None


def jaccard(minhash: MinHash, first: str, second: str) -> float:
    """Returns the exact similarity of two documents."""
    one, other = set(minhash.shingles(first)), set(minhash.shingles(second))
    return len(one & other) / len(one | other)


def batched(
    pairs: Iterator[tuple[str, str | None]], size: int
) -> Iterator[list[tuple[str, str | None]]]:
    """Yields lists of that many, the last of which may be shorter."""
    while batch := list(itertools.islice(pairs, size)):
        yield batch


def measure(count: int, words: int, copies: float, threshold: float) -> dict[str, float]:
    """Looks for near duplicates; returns the figures."""
    minhash = MinHash.of(threshold)
    index = NearDuplicates(minhash)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = {"signatures": 0.0, "index": 0.0}
    found: list[tuple[float, bool]] = []
    for batch in batched(documents(count, words, copies), _BATCH):
        start = time.perf_counter()
        signatures = [minhash.signature(text) for text, _ in batch]
        middle = time.perf_counter()
        dropped = index.add(signatures)
        seconds["signatures"] += middle - start
        seconds["index"] += time.perf_counter() - middle
        for (text, original), drop in zip(batch, dropped, strict=True):
            if original is not None or drop:
                found.append((jaccard(minhash, original, text) if original else 0.0, drop))
    figures: dict[str, float] = {
        "documents": count,
        "copies_at_threshold": sum(similarity >= threshold for similarity, _ in found),
        "dropped": sum(dropped for _, dropped in found),
        "bands": minhash.bands,
        "rows": minhash.rows,
        **{f"{name}_us_per_document": 1e6 * value / count for name, value in seconds.items()},
        "index_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name, margin in (("", 0.0), ("_beyond_margin", NEAR)):
        clear = [pair for pair in found if not margin or abs(pair[0] - threshold) > margin]
        copies_there = [dropped for similarity, dropped in clear if similarity >= threshold]
        right = [similarity >= threshold for similarity, dropped in clear if dropped]
        figures[f"recall{name}"] = sum(copies_there) / max(len(copies_there), 1)
        figures[f"precision{name}"] = sum(right) / max(len(right), 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=100, help="of a document, on average")
    parser.add_argument("--copies", type=float, default=0.2, help="share of edited copies")
    parser.add_argument("--threshold", type=float, default=0.8)
    options = parser.parse_args()
    figures = measure(options.documents, options.words, options.copies, options.threshold)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
