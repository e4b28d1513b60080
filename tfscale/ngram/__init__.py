"""N-gram models: counting, modified Kneser-Ney estimation, scoring, ARPA files. NumPy only."""

from tfscale.ngram.arpa import read_arpa, write_arpa
from tfscale.ngram.count import count_ngrams
from tfscale.ngram.estimate import estimate
from tfscale.ngram.model import NGramModel

__all__ = ["NGramModel", "count_ngrams", "estimate", "read_arpa", "write_arpa"]
