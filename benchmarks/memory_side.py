"""A train step in a process of its own, and the memory that it takes. Linux with glibc only.

    python -m benchmarks.memory_side stock --size full [--xla] [--tied]
    python -m benchmarks.memory_side model --size full [--xla] [--tied] [--micro-batches 4]
    python -m benchmarks.memory_side layers --size full [--xla] [--micro-batches 4] [--remat]
    python -m benchmarks.memory_side ours --size full --xla [--micro-batches 4] [--remat] [--chunk
    512] [--tied]

`layers` is `tfscale.Model` around a functional Transformer of Keras's own layers, whose logits are
few.

Prints the losses of the first two steps and two measures of the memory that a step needs beside
weights, optimizer state and program, that is, activations, gradients and scratch space:

- `rss_bytes`: peak resident memory of the process in its second step, less its resident memory
  right before that step. Linux resets the peak for it. The first step compiles, which takes memory
  of its own.
- `xla_bytes`: the temporary buffers and the results, such as gradients, of the largest XLA program
  of the process, as XLA's buffer assignment has them; null where nothing is compiled.
"""

import argparse
import ctypes
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, int]] = {
    "full": {
        "vocabulary_size": 32_000,
        "sequence_length": 256,
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
    },
    "quick": {
        "vocabulary_size": 4_000,
        "sequence_length": 64,
        "hidden_dim": 64,
        "num_layers": 2,
        "num_heads": 2,
    },
}
BATCH_SIZE = 16
"""Rows of the batch. With `sequence_length`, there must be no more tokens than entries of the
vocabulary."""
LAYERS_DEPTH = 2
"""How many times as deep as the others the model of Keras's layers is."""
M_MMAP_THRESHOLD = -3
"""glibc's number (malloc.h) of the block size from which malloc asks the system for each block."""


def resident_bytes(field: str) -> int:
    """VmRSS (now) or VmHWM (peak since it was reset) of this process."""
    [kilobytes] = re.findall(
        rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(kilobytes) * 1024


def return_freed_memory() -> None:
    """Has TensorFlow and malloc give freed blocks back to the system at once; what they keep would
    hide a later peak.

    To be called before TensorFlow is imported, whose CPU allocator otherwise keeps all that it ever
    had.
    """
    os.environ["TF_ONEDNN_USE_SYSTEM_ALLOCATOR"] = "1"
    ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, 128 * 1024)


def peak_bytes(function: Any) -> tuple[Any, int]:
    """Returns the result of `function()`, and by how much resident memory rose meanwhile."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_bytes("VmRSS")
    result = function()
    return result, resident_bytes("VmHWM") - before


def temporary_bytes(dump: str) -> int | None:
    """Temporary buffers and results of the largest program in XLA's dump.

    They are lines like "allocation 5: size 1234, preallocated-temp:" or "..., maybe-live-out:";
    where a result takes the place of a parameter, the line names the parameter first and is not
    counted.
    """
    buffers = re.compile(
        r"^allocation \d+: size (\d+), (?:preallocated-temp|maybe-live-out|output shape)",
        re.MULTILINE,
    )
    programs = [
        sum(int(size) for size in buffers.findall(path.read_text()))
        for path in Path(dump).glob("*-buffer-assignment.txt")
    ]
    return max(programs, default=None)


def layers_model(options: argparse.Namespace) -> Any:
    """A deep Transformer of Keras's own layers that classifies, in `tfscale.Model`, compiled."""
    import keras

    import tfscale

    size, layers = SIZES[options.size], keras.layers
    width, heads = size["hidden_dim"], size["num_heads"]
    ids = keras.Input((size["sequence_length"],), dtype="int32")
    x = layers.Embedding(size["vocabulary_size"], width)(ids)
    for _ in range(LAYERS_DEPTH * size["num_layers"]):
        normed = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(heads, width // heads, dropout=0.1)
        x = layers.Add()([x, attention(normed, normed, use_causal_mask=True)])
        hidden = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(width)(hidden))])
    outputs = layers.Dense(8)(layers.LayerNormalization()(x))
    model = tfscale.Model(keras.Model(ids, outputs))
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=options.xla,
        micro_batches=options.micro_batches,
        remat=options.remat,
    )
    return model


def steps(options: argparse.Namespace) -> Any:
    """A function that takes one step on the batch and returns its loss."""
    import keras
    import numpy as np

    import tfscale
    from tfscale.config import TransformerConfig
    from tfscale.models import build_network
    from tfscale.training.language_model import LanguageModel

    config = TransformerConfig(**SIZES[options.size], tie_embeddings=options.tied)
    shape = (BATCH_SIZE, config.sequence_length)
    # No token occurs twice: where one does, Keras's own step gave another loss (8.1472, ours
    # 8.1478); why is not known.
    ids, targets = (np.random.default_rng(s).permutation(config.vocabulary_size) for s in (0, 1))
    ids, targets = (x[: np.prod(shape)].reshape(shape).astype("int32") for x in (ids, targets))
    if options.side == "layers":
        keras.utils.set_random_seed(0)
        return fitting(layers_model(options), ids, targets % 8)
    network = build_network(config)
    optimizer = keras.optimizers.AdamW(1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model: Any = network
    if options.side == "model":
        model = tfscale.Model(network)
        micro = options.micro_batches
        model.compile(optimizer, loss, jit_compile=options.xla, micro_batches=micro)
    elif options.side == "stock":
        model.compile(optimizer, loss, jit_compile=options.xla)
        optimizer.build(network.trainable_variables)
    else:
        model = LanguageModel(network)
        model.compile(
            optimizer,
            clip_norm=0.0,
            xla=options.xla,
            micro_batches=options.micro_batches,
            remat=options.remat,
            loss_chunk_tokens=options.chunk,
        )

    return fitting(model, ids, targets)


def fitting(model: Any, ids: Any, targets: Any) -> Any:
    """A function that fits a model to one batch and returns the loss."""

    def step() -> float:
        history = model.fit(ids, targets, batch_size=BATCH_SIZE, epochs=1, shuffle=False, verbose=0)
        return history.history["loss"][0]

    return step


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_side", description=__doc__)
    parser.add_argument("side", choices=["stock", "model", "layers", "ours"])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--chunk", type=int, default=0)
    options = parser.parse_args()
    return_freed_memory()
    with tempfile.TemporaryDirectory() as dump:
        # XLA reads its flags once, when TensorFlow is imported.
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={dump} --xla_dump_hlo_as_text"
        )
        step = steps(options)
        first = step()
        second, rss = peak_bytes(step)
        print(
            json.dumps(
                {"losses": [first, second], "rss_bytes": rss, "xla_bytes": temporary_bytes(dump)}
            )
        )


if __name__ == "__main__":
    main()
