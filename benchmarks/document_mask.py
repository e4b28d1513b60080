"""One train step with documents kept apart, and the same step without, in turn.

    python -m benchmarks.document_mask [transformer lstm gru] [--length 128] [--rows 16]
        [--document 32] [--steps 20] [--repeats 5]
    python -m benchmarks.document_mask --attention [--length 256 512 1024 2048]

4 layers of 128, or one of 256 units, vocabulary 4,096, random tokens, documents of random lengths
with one mean (0: a document is longer than a window), compiled by XLA as a run is. Prints for each
family the milliseconds of a step by the processor's time of all cores, the best of the repeats, and
the ratio of both; of a Transformer also those with documents kept apart and all scores at once.

With --attention only one layer's attention is computed, forward and backward: 4 heads of 32, 4,096
tokens in windows of the lengths, documents of 64 and 256 tokens in the mean, and windows of one
document; all scores at once beside block by block, with XLA and without.
"""

import argparse
import contextlib
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
    """Returns tokens (rows, length + 1) with a start token at the beginning of each document.

    Args:
        rows: windows.
        length: T.
        document: mean length of the documents; 0 for one that is longer than a window.
    """
    shape, rng = (rows, length + 1), np.random.default_rng(0)
    tokens = rng.integers(2, VOCABULARY, shape).astype("int32")
    if document:
        tokens[rng.random(shape) < 1 / document] = START
    return tokens


def side(
    family: str,
    apart: bool,
    tokens: np.ndarray,
    steps: int,
    xla: bool = True,
    at_once: bool = False,
    **sizes: int,
) -> Callable[[], object]:
    """Returns what takes some steps on the same windows.

    Args:
        family: of the model.
        apart: whether documents are kept apart.
        tokens: (rows, T + 1).
        steps: of a call.
        xla: whether XLA compiles the step.
        at_once: whether attention has all scores at once, at any length.
        **sizes: options of the model in place of those above.
    """
    import keras
    import tensorflow as tf

    from tfscale.models import build_network
    from tfscale.models.blockwise_rule import for_another_machine
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

    def run():
        # The first call traces.
        with for_another_machine() if at_once else contextlib.nullcontext():
            return step.run(iterator, steps)

    return run


def attention_sides(length: int, rows: int, document: int, xla: bool) -> list[Callable]:
    """Returns what computes the attention of 4 heads of 32 forward and backward: all scores at
    once, and block by block."""
    import tensorflow as tf

    from tfscale.models.attention import MINUS_INFINITY
    from tfscale.models.blockwise_attention import blockwise_attention
    from tfscale.models.documents import Documents
    from tfscale.models.visibility import hidden_keys

    segments = Documents(START).segments(tf.constant(windows(rows, length, document)[:, :-1]))
    rng = np.random.default_rng(1)
    inputs = [tf.constant(rng.normal(size=(rows, length, 4, 32)), tf.float32) for _ in range(4)]

    def at_once(query, key, value):
        hidden = hidden_keys(length, 1, causal=True, window=0, global_tokens=0, segments=segments)
        query, key, value = (tf.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
        scores = tf.matmul(query, key, transpose_b=True) + hidden * MINUS_INFINITY
        return tf.transpose(tf.matmul(tf.nn.softmax(scores), value), (0, 2, 1, 3))

    def timed(attention):
        def gradients(query, key, value, upstream):
            with tf.GradientTape() as tape:
                tape.watch([query, key, value])
                mixed = attention(query, key, value)
            return tape.gradient(mixed, [query, key, value], output_gradients=upstream)

        compiled = tf.function(gradients, jit_compile=xla, autograph=False)
        return lambda: [x.numpy() for x in compiled(*inputs)]

    return [timed(at_once), timed(lambda *x: blockwise_attention(*x, segments))]


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


def attention_rows(lengths: Sequence[int], repeats: int) -> None:
    """Prints a line for each length, mean document, and way to compile."""
    for xla in (True, False):
        for length in lengths:
            for document in (64, 256, 0):
                sides = attention_sides(length, 4096 // length, document, xla)
                at_once, blocks = (1000 * s for s in seconds(sides, repeats))
                print(
                    json.dumps(
                        {
                            "xla": xla,
                            "length": length,
                            "document": document,
                            "ms_at_once": round(at_once, 1),
                            "ms_blocks": round(blocks, 1),
                            "times_faster": round(at_once / blocks, 2),
                        }
                    ),
                    flush=True,
                )


def main() -> None:
    """Prints a line of JSON for each family, or for each attention."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help=f"of {', '.join(SIZES)}; all if left out")
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--length", type=int, nargs="+")
    parser.add_argument("--no-xla", action="store_true")
    for name, default in {"rows": 16, "document": 32, "steps": 20, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if given.attention:
        attention_rows(given.length or (256, 512, 1024, 2048), given.repeats)
        return
    tokens = windows(given.rows, (given.length or [128])[0], given.document)
    for family in given.families or SIZES:
        kinds = {"without": (False, False), "apart": (True, False)}
        if family == "transformer":
            kinds["apart_at_once"] = (True, True)
        sides = [
            side(family, apart, tokens, given.steps, not given.no_xla, at_once)
            for apart, at_once in kinds.values()
        ]
        times = [1000 * s / given.steps for s in seconds(sides, given.repeats)]
        row = {f"ms_{kind}": round(ms, 1) for kind, ms in zip(kinds, times, strict=True)}
        print(json.dumps({"family": family, **row, "ratio": round(times[1] / times[0], 3)}))


if __name__ == "__main__":
    main()
