"""The index against the definition by all pairs, and planted duplicates with the drops written down."""

import collections
import itertools
import random

import numpy as np
import pytest

from benchmarks.near_duplicates import measure
from tfscale.data.quality import near_duplicates as module
from tfscale.data.quality.near_duplicates import NearDuplicates
from tfscale.text.minhash import MinHash, near_duplicates


def texts(count, seed=0):
    """Edited copies of a few texts, in any order."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(1000)]
    bases = [rng.choices(words, k=rng.randint(3, 120)) for _ in range(count // 6)]
    result = []
    for _ in range(count):
        text = list(rng.choice(bases))
        for _ in range(rng.randint(0, 6)):
            text[rng.randrange(len(text))] = rng.choice(words)
        result.append(" ".join(text))
    return result


@pytest.mark.parametrize(
    "minhash",
    [
        MinHash.of(0.8, ngram=2),
        MinHash.of(0.6, 64, ngram=2),
        MinHash.of(0.5, 10, 5, ngram=2),
        MinHash.of(0.9, 16, 1, ngram=2),
        MinHash.of(1.0, 7, ngram=2),
        MinHash.of(0.7, 40, ngram=6, unit="character"),
    ],
)
def test_the_index_gives_the_answer_of_all_pairs(minhash, monkeypatch):
    # Small, so that its levels are merged several times.
    monkeypatch.setattr(module, "_BATCH", 4)
    signatures = [minhash.signature(text) for text in texts(200)]
    wanted = near_duplicates(signatures, minhash)
    assert 10 < sum(wanted) < 190
    assert NearDuplicates(minhash).add(signatures) == wanted
    one_by_one = NearDuplicates(minhash)
    assert [one_by_one.add([signature])[0] for signature in signatures] == wanted
    assert one_by_one.add([]) == []


def test_groups_by_band_key_in_any_order_give_the_same_answer():
    """What an engine for several machines does: documents are grouped, and each group by itself."""
    minhash = MinHash.of(0.6, 64, ngram=2)
    signatures = [minhash.signature(text) for text in texts(200)]
    groups = collections.defaultdict(set)
    numbers = list(range(200))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        for key in minhash.band_keys(signatures[number]):
            groups[key].add(number)
    dropped = {
        later
        for group in groups.values()
        for earlier, later in itertools.combinations(sorted(group), 2)
        if minhash.similar(signatures[earlier], signatures[later])
    }
    found = NearDuplicates(minhash).add(signatures)
    assert dropped == set(itertools.compress(range(200), found))


def test_bands_with_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(NearDuplicates, "_hashes", lambda self, numbers: hashes_of_one(numbers, 21))
    monkeypatch.setattr(module, "_CANDIDATES", 7)
    minhash = MinHash.of(0.6, 64, ngram=2)
    signatures = [minhash.signature(text) for text in texts(100)]
    assert minhash.bands == 21
    assert NearDuplicates(minhash).add(signatures) == near_duplicates(signatures, minhash)


def hashes_of_one(numbers, bands):
    return np.ones((len(numbers), bands), np.uint64)


def test_planted_duplicates():
    words = [f"word{number}" for number in range(200)]
    original = " ".join(words)
    other = " ".join(reversed(words))
    documents = [
        original,
        other,
        original.upper() + "!!",  # The same without case and punctuation.
        " ".join([*words[:100], "new", *words[101:]]),  # 191 of 201 n-grams in common: 0.95.
        " ".join([word if n % 10 else "new" for n, word in enumerate(words)]),  # 98 of 294: 0.33.
        " ".join(words[:150]),  # 146 of 196 n-grams: 0.74.
        other,
        "short",
        "short.",
        "?",
        "!",
    ]
    minhash = MinHash.of(0.8)
    dropped = NearDuplicates(minhash).add([minhash.signature(text) for text in documents])
    assert [place for place, drop in enumerate(dropped) if drop] == [2, 3, 6, 8]


def test_a_document_is_dropped_for_an_earlier_one_that_was_dropped_itself():
    words = [f"w{number}" for number in range(100)]
    chain = [" ".join(words[start : start + 80]) for start in (0, 5, 10, 15, 20)]
    minhash = MinHash.of(0.8, 256, ngram=1)  # 75 of 85 words in common: 0.88; two steps: 0.78.
    signatures = [minhash.signature(text) for text in chain]
    assert NearDuplicates(minhash).add(signatures) == [False, True, True, True, True]
    assert NearDuplicates(minhash).add([signatures[0], signatures[4]]) == [False, False]


def test_recall_and_precision_of_planted_copies():
    figures = measure(2_000, words=60, copies=0.3, threshold=0.8)
    assert figures["copies_at_threshold"] == 122
    assert figures["dropped"] == 120
    assert figures["recall_beyond_margin"] > 0.98
    assert figures["precision_beyond_margin"] > 0.98
