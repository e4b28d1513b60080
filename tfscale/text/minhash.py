"""MinHash signatures of documents, and the bands by which similar ones are found.

Two pure functions: document to signature, signature to band keys. Two documents are near duplicates
if they have a band key in common and their signatures agree in enough numbers. With the same
options these are the same bytes on every machine, so that any engine which groups by key finds the
same pairs.

Source: Broder 1997, "On the Resemblance and Containment of Documents"; with documents as n-grams of
five words, as in Lee et al. 2021, "Deduplicating Training Data Makes Language Models Better",
https://arxiv.org/abs/2107.06499, and 112 permutations, as in Penedo et al. 2024, "The FineWeb
Datasets", https://arxiv.org/abs/2406.17557.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfscale.errors import check_installed
from tfscale.text.words import ngrams, words_of

RECALL = 0.95
"""Share of the pairs at the threshold that the bands must find."""
_SEED = 1


@dataclass(frozen=True)
class MinHash:
    """How documents are compared.

    Attributes:
        threshold: least Jaccard similarity of near duplicates, above 0 to 1.
        permutations: P, the numbers of a signature. The similarity is estimated by the share of
            them that agree; its standard error is at most 0.5 / sqrt(P).
        bands: into how many the signature is cut.
        ngram: words or characters of an n-gram.
        unit: "word" or "character".

    Example:
        minhash = MinHash.of(threshold=0.8)
        first, second = map(minhash.signature, ("a document ...", "another ..."))
        set(minhash.band_keys(first)) & set(minhash.band_keys(second))
    """

    threshold: float
    permutations: int
    bands: int
    ngram: int = 5
    unit: Literal["word", "character"] = "word"

    @classmethod
    def of(
        cls,
        threshold: float,
        permutations: int = 112,
        bands: int = 0,
        ngram: int = 5,
        unit: Literal["word", "character"] = "word",
    ) -> "MinHash":
        """Returns it with as many bands as the threshold needs, where `bands` is 0.

        Raises:
            ConfigError: rensa, which makes the signatures, is not installed.
        """
        check_installed("corpora", "rensa")
        return cls(
            threshold, permutations, bands or bands_for(threshold, permutations), ngram, unit
        )

    @property
    def rows(self) -> int:
        """Numbers of a band. Those that are left over at the end are in none."""
        return self.permutations // self.bands

    @property
    def agreeing(self) -> int:
        """Numbers of two signatures that must agree."""
        # The product may come out above a whole number by its rounding: 0.7 * 10 does.
        return math.ceil(self.threshold * self.permutations - 1e-9)

    @property
    def described(self) -> dict[str, int | str]:
        """Entries of the manifest, besides the options."""
        import rensa

        return {
            "bands": self.bands,
            "rows": self.rows,
            "agreeing": self.agreeing,
            "signature": f"rensa.RMinHash {rensa.RMinHash.ALGORITHM_VERSION}, seed {_SEED}",
        }

    def shingles(self, text: str) -> list[str]:
        """Returns what of a document is compared: its n-grams, without case and punctuation.

        A document of fewer words (or characters) than an n-gram is one shingle as a whole; one of
        punctuation alone is compared as it is.
        """
        words = words_of(text)
        joined = " ".join(words)
        units, joint = (words, " ") if self.unit == "word" else (joined, "")
        return ngrams(units, self.ngram, joint) or [joined or text]

    def signature(self, text: str) -> bytes:
        """Returns the signature of a document: `permutations` little-endian numbers of 32 bits."""
        import rensa

        sketch = rensa.RMinHash(self.permutations, _SEED)
        sketch.update(self.shingles(text))
        return np.array(sketch.digest(), "<u4").tobytes()

    def band_keys(self, signature: bytes) -> list[bytes]:
        """Returns the keys of a signature: the number of each band (2 bytes) and its content."""
        size = 4 * self.rows
        return [
            band.to_bytes(2, "big") + signature[band * size : (band + 1) * size]
            for band in range(self.bands)
        ]

    def similar(self, first: bytes, second: bytes) -> bool:
        """Returns whether two signatures are those of near duplicates: they have a band in common,
        and agree in at least `agreeing` numbers."""
        numbers = [np.frombuffer(signature, "<u4") for signature in (first, second)]
        in_common = set(self.band_keys(first)) & set(self.band_keys(second))
        return bool(in_common) and int(np.sum(numbers[0] == numbers[1])) >= self.agreeing

    def similar_rows(self, signatures: np.ndarray, one: np.ndarray) -> np.ndarray:
        """Returns which signatures (N, P) are similar to one (P,), as (N,) bool; see `similar`."""
        equal = signatures == one
        enough = np.count_nonzero(equal, axis=1) >= self.agreeing
        in_bands = equal[enough, : self.bands * self.rows].reshape(-1, self.bands, self.rows)
        enough[enough] = np.any(np.all(in_bands, axis=2), axis=1)
        return enough


def bands_for(threshold: float, permutations: int, recall: float = RECALL) -> int:
    """Returns the fewest bands that find a pair at the threshold with the probability `recall`.

    With b bands of r rows a pair of similarity s has a band in common with the probability
    1 - (1 - s^r)^b. Fewer bands are longer, so that fewer pairs below the threshold are compared.

    Example:
        bands_for(0.8, 112)    # 16: 1 - (1 - 0.8^7)^16 = 0.977; 14 bands of 8 rows find 0.924
    """
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if found(threshold, bands, permutations // bands) >= recall:
            return bands
    return permutations


def found(similarity: float, bands: int, rows: int) -> float:
    """Returns the probability that a pair of this similarity has a band in common."""
    return 1 - (1 - similarity**rows) ** bands


def near_duplicates(signatures: Sequence[bytes], minhash: MinHash) -> list[bool]:
    """Returns which documents are dropped, by comparing all pairs: the definition, for tests.

    A document is dropped if any earlier one is similar to it, whether that one was dropped or not.
    So the answer for a document depends on itself and the set of those before it alone, and not on
    the order in which pairs are looked at.
    """
    return [
        any(minhash.similar(earlier, signature) for earlier in signatures[:place])
        for place, signature in enumerate(signatures)
    ]
