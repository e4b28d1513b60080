"""Data of short lines, for runs that look at documents."""

from pathlib import Path

import numpy as np

from tfscale.config import PrepareConfig
from tfscale.data.prepare import prepare


def prepared_lines(folder: Path, shards: int = 0) -> str:
    """Writes a data folder of 150 lines of 4 to 60 bytes, each a document, tokenized by bytes."""
    words = "red blue green old new big small cat mat sat".split()
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(words, 1 + n % 13)) for n in range(150)]
    (folder / "text.txt").write_text("\n".join(lines))
    config = PrepareConfig(
        text=[str(folder / "text.txt")],
        documents="line",
        tokenizer="byte",
        output=str(folder / "data"),
        validation_fraction=0.1,
        test_fraction=0.0,
        shards=shards,
    )
    prepare(config, progress=False)
    return config.output
