"""One step of an LSTM language model, as tfscale, stock Keras and PyTorch take it, with Adam and
clipping.

    python -m benchmarks.lstm_side ours|keras|torch --steps 60 --repeats 5
        [--precision mixed_bfloat16]

Embedding, 2 layers of 200 units, sequences of 35, batch 20, vocabulary 4,000, random tokens, all
cores. PyTorch's bfloat16 is `torch.autocast`. Prints the best tokens per second of the repeats, by
the clock and by the processor's time of all cores.
"""

import argparse
import json
import os
from collections.abc import Callable

import numpy as np

from benchmarks.rounds import best_rates

VOCABULARY, UNITS, LAYERS, LENGTH, BATCH = 4000, 200, 2, 35, 20
RATE, CLIP = 1e-3, 1.0


def batches(steps: int) -> np.ndarray:
    """Tokens (steps, BATCH, LENGTH + 1)."""
    return (
        np.random.default_rng(0).integers(0, VOCABULARY, (steps, BATCH, LENGTH + 1)).astype("int32")
    )


def keras_network(ours: bool, precision: str):
    """The network of both Keras sides; `ours` with the layers of tfscale."""
    import keras

    from tfscale.models.recurrent_layers import LSTM

    keras.config.set_dtype_policy(precision)
    kind = LSTM if ours else keras.layers.LSTM
    ids = keras.Input((LENGTH,), batch_size=BATCH, dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, UNITS)(ids)
    for _ in range(LAYERS):
        x = kind(UNITS, return_sequences=True)(x)
    return keras.Model(ids, keras.layers.Dense(VOCABULARY)(x))


def ours(steps: int, precision: str) -> Callable[[], None]:
    """`LanguageModel`'s own step, many to a call."""
    import keras
    import tensorflow as tf

    from tfscale.training.language_model import LanguageModel

    model = LanguageModel(keras_network(True, precision))
    model.compile(keras.optimizers.Adam(RATE), clip_norm=CLIP)
    data = batches(steps)
    dataset = tf.data.Dataset.from_tensor_slices((data[:, :, :-1], data[:, :, 1:])).repeat()
    iterator, step = iter(dataset), model.train_step_runner
    assert step is not None
    return lambda: step.run(iterator, steps) and None


def stock(steps: int, precision: str) -> Callable[[], None]:
    """Keras's `train_on_batch` in a compiled loop: its `fit` with all steps in one execution."""
    import keras
    import tensorflow as tf

    network = keras_network(False, precision)
    network.compile(
        keras.optimizers.Adam(RATE, global_clipnorm=CLIP),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=True,
        steps_per_execution=steps,
    )
    data = batches(steps)
    dataset = tf.data.Dataset.from_tensor_slices((data[:, :, :-1], data[:, :, 1:])).repeat()
    return lambda: network.fit(dataset, steps_per_epoch=steps, verbose=0) and None


def torch_step(steps: int, precision: str) -> Callable[[], None]:
    """`nn.LSTM`, eager, with the optimizer that is fastest on a CPU."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, UNITS)
            self.lstm = nn.LSTM(UNITS, UNITS, LAYERS, batch_first=True)
            self.output = nn.Linear(UNITS, VOCABULARY)

        def forward(self, ids):
            return self.output(self.lstm(self.embedding(ids))[0])

    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), RATE, fused=True)
    data = torch.from_numpy(batches(steps).astype("int64"))

    def run() -> None:
        for batch in data:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16"):
                logits = network(batch[:, :-1])
                loss = functional.cross_entropy(
                    logits.reshape(-1, VOCABULARY), batch[:, 1:].reshape(-1)
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()

    return run


def main() -> None:
    """Times one side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("ours", "keras", "torch"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    options = parser.parse_args()
    side = {"ours": ours, "keras": stock, "torch": torch_step}[options.side]
    run = side(options.steps, options.precision)
    print(json.dumps(best_rates(run, options.repeats, options.steps * BATCH * LENGTH)))


if __name__ == "__main__":
    main()
