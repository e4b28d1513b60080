"""Signatures and bands: pinned bytes, hand sums, and exact similarities as the reference."""

import hashlib
import random

import numpy as np
import pytest

from tfscale.text.minhash import MinHash, bands_for, found
from tfscale.text.words import ngrams, words_of


@pytest.mark.parametrize(
    "text, words",
    [
        ("It's (not) a TEST.", ["it", "s", "not", "a", "test"]),
        ("中文 カナ", ["中", "文", "カ", "ナ"]),
        ("«Où» Straße—ÉTÉ", ["où", "straße", "été"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("... !?", []),
        ("E\u0301te\u0301", ["\xe9t\xe9"]),
        ("\ufeffhy\xadphen a \u200bb\u200bc", ["hyphen", "a", "b", "c"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_shingles():
    assert ngrams("a b c".split(), 2) == ["a b", "b c"]
    assert ngrams("ab", 3, "") == []
    two = MinHash(0.8, 8, 2, ngram=2)
    assert two.shingles("One, two THREE") == ["one two", "two three"]
    assert two.shingles("One!") == ["one"]
    assert two.shingles("?!") == ["?!"]  # Not the same as every other text without words.
    assert MinHash(0.8, 8, 2, ngram=3, unit="character").shingles("A bc") == ["a b", " bc"]


def test_bands_by_hand():
    assert bands_for(0.8, 112) == 16
    assert found(0.8, 16, 7) == pytest.approx(1 - (1 - 0.2097152) ** 16)
    assert found(0.8, 14, 8) < 0.95 < found(0.8, 16, 7)
    assert bands_for(1.0, 10) == 1
    assert bands_for(0.1, 10) == 10  # Even bands of one number find fewer than 95 %.
    assert MinHash.of(0.8, bands=14).rows == 8
    assert MinHash.of(0.7, 10).agreeing == 7
    assert MinHash.of(0.75, 10).agreeing == 8


def test_a_signature_is_the_same_on_every_machine():
    minhash = MinHash.of(0.8)
    signature = minhash.signature(
        "The lighthouse keeper counted the ships that passed before dawn."
    )
    assert len(signature) == 4 * 112
    assert hashlib.sha256(signature).hexdigest()[:16] == "95c76bfa4c86021f"
    assert minhash.described == {
        "bands": 16,
        "rows": 7,
        "agreeing": 90,
        "signature": "rensa.RMinHash 2, seed 1",
    }


def test_band_keys_are_the_signature_cut():
    minhash = MinHash(0.5, permutations=5, bands=2)
    signature = np.arange(5, dtype="<u4").tobytes()
    assert minhash.band_keys(signature) == [
        b"\0\0" + np.array([0, 1], "<u4").tobytes(),
        b"\0\1" + np.array([2, 3], "<u4").tobytes(),
    ]


def test_the_share_of_agreeing_numbers_estimates_the_jaccard_similarity():
    rng = random.Random(0)
    minhash = MinHash(0.8, permutations=1024, bands=1, ngram=1)
    errors = []
    for common in range(0, 101, 10):
        shared = [f"shared{n}" for n in range(common)]
        texts = [" ".join([*shared, *(f"{side}{n}" for n in range(100 - common))]) for side in "xy"]
        rng.shuffle(texts)
        first, second = (np.frombuffer(minhash.signature(text), "<u4") for text in texts)
        errors.append(np.mean(first == second) - common / (200 - common))
    # The standard error is at most 0.5 / sqrt(1024) = 0.016.
    assert max(map(abs, errors)) < 0.05
    assert errors[0] == pytest.approx(0, abs=0.01) and errors[-1] == 0
