"""A run of trigrams, for tests of what can be done with it."""

from pathlib import Path

import numpy as np

from tfscale.files.paths import write_json
from tfscale.ngram import count_ngrams, estimate
from tfscale.ngram.files import describe, write_model
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer


def make_trigrams(folder: Path, text: str) -> str:
    """Writes a run of trigrams of bytes, counted in a text that is there five times."""
    tokenizer = ByteTokenizer()
    ids = np.array([*tokenizer.encode(text), tokenizer.end_id] * 5)
    with count_ngrams([ids], order=3, vocabulary_size=257, end_id=256) as counts:
        model = estimate(counts, vocabulary_size=257, end_id=256)
    tokenizer.save(str(folder / "tokenizer"))
    write_model(model, str(folder / "model.ngram"))
    described = describe(model, tokenizer, str(folder / "model.ngram"))
    write_json(str(folder / "model.json"), described.to_dict())
    return str(folder)
