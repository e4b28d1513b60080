"""One train step with documents kept apart, and the same step without, in turn.

    python -m benchmarks.document_mask [transformer lstm gru] [--length 128] [--rows 16]
        [--document 32] [--steps 20] [--repeats 5]

4 layers of 128, or one of 256 units, vocabulary 4,096, random tokens, documents of one length,
compiled by XLA as a run is. Prints for each family the milliseconds of a step by the processor's
time of all cores, the best of the repeats, and the ratio of both.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np

VOCABULARY, START = 4096, 1
SIZES = {
    "transformer": {"hidden_dim": 128, "num_layers": 4, "num_heads": 4},
    "lstm": {"hidden_dim": 256, "embedding_dim": 128},
    "gru": {"hidden_dim": 256, "embedding_dim": 128},
}


def windows(rows: int, length: int, document: int) -> np.ndarray:
    """Returns tokens (rows, length + 1) with a start token at the beginning of each document."""
    shape = (rows, length + 1)
    tokens = np.random.default_rng(0).integers(2, VOCABULARY, shape).astype("int32")
    tokens[:, ::document] = START
    return tokens


def side(
    family: str,
    apart: bool,
    tokens: np.ndarray,
    steps: int,
    xla: bool = True,
    **sizes: int,
) -> Callable[[], object]:
    """Returns what takes some steps on the same windows.

    Args:
        family: of the model.
        apart: whether documents are kept apart.
        tokens: (rows, T + 1).
        steps: of a call.
        xla: whether XLA compiles the step.
        **sizes: options of the model in place of those above.
    """
    import keras
    import tensorflow as tf

    from tfscale.models import build_network
    from tfscale.registry import FAMILIES
    from tfscale.training.language_model import LanguageModel

    options = SIZES[family] | {"sequence_length": tokens.shape[1] - 1} | sizes
    config = FAMILIES.get(family)(vocabulary_size=VOCABULARY, **options)
    model = LanguageModel(build_network(config))
    mask = {"document_mask": True, "document_start": START} if apart else {}
    model.compile(keras.optimizers.Adam(1e-3), clip_norm=1.0, xla=xla, **mask)
    batch = tf.data.Dataset.from_tensors((tokens[:, :-1], tokens[:, 1:])).repeat()
    iterator, step = iter(batch), model.train_step_runner
    assert step is not None
    return lambda: step.run(iterator, steps)


def seconds(sides: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Returns the least seconds of the processor that each side takes, run in turn."""
    for run in sides:
        run()
    best = [float("inf")] * len(sides)
    for _ in range(repeats):
        for index, run in enumerate(sides):
            began = time.process_time()
            run()
            best[index] = min(best[index], time.process_time() - began)
    return best


def main() -> None:
    """Prints a line of JSON for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help=f"of {', '.join(SIZES)}; all if left out")
    for name, default in {
        "length": 128,
        "rows": 16,
        "document": 32,
        "steps": 20,
        "repeats": 5,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    tokens = windows(given.rows, given.length, given.document)
    for family in given.families or SIZES:
        sides = [side(family, apart, tokens, given.steps) for apart in (False, True)]
        without, apart = (1000 * s / given.steps for s in seconds(sides, given.repeats))
        print(
            json.dumps(
                {
                    "family": family,
                    "ms_without": round(without, 1),
                    "ms_apart": round(apart, 1),
                    "ratio": round(apart / without, 3),
                }
            )
        )


if __name__ == "__main__":
    main()
