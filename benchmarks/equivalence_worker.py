"""One process of `make equivalence`: trains every case under one strategy and writes losses and
weights.

    python -m benchmarks.equivalence_worker mirrored --devices 4 --output FOLDER [--quick]

Each case: 50 steps, clipping on, an average of the weights, and a last batch of each pass that has
36 rows for 48.
"""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale import models
from tfscale.config import (
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    NNLMConfig,
    RNNConfig,
    TrainConfig,
    TransformerConfig,
)
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.distribution.strategy import strategy
from tfscale.distribution.workers import Workers
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer

STEPS, BATCH_SIZE, VOCABULARY, LENGTH = 50, 48, 50, 12
SMALL = {
    # The bounds of this page were measured with GPT-2's parts.
    "transformer": TransformerConfig(
        vocabulary_size=VOCABULARY,
        sequence_length=LENGTH,
        hidden_dim=16,
        num_layers=2,
        num_heads=2,
        **GPT2_PARTS,
    ),
    "lstm": LSTMConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16
    ),
    "gru": GRUConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16
    ),
    "rnn": RNNConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16
    ),
    "nnlm": NNLMConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16
    ),
    "bilstm": BiLSTMConfig(
        vocabulary_size=VOCABULARY, sequence_length=LENGTH, embedding_dim=8, hidden_dim=16
    ),
}
QUICK = ("transformer", "lstm")
"""Families of the short form: a block with residual sums, and a loop."""
OPTIMIZERS = {
    "adamw": lambda network: keras.optimizers.AdamW(1e-2),
    "sgd": lambda network: keras.optimizers.SGD(0.1),
    "muon": lambda network: _by_name("muon", 3e-3, network),
    "adafactor": lambda network: _by_name("adafactor", 0.1, network),
}
OF_ALL_FAMILIES = ("adamw", "sgd")
"""Optimizers that every family is trained with; the others with those of the short form."""


def _by_name(name: str, rate: float, network: keras.Model) -> keras.optimizers.Optimizer:
    config = TrainConfig(
        optimizer=name, learning_rate=rate, schedule="constant", warmup_steps=0, steps=STEPS
    )
    return build_optimizer(config, network)


@dataclass(frozen=True)
class Case:
    """A training; the strategy is that of the process."""

    family: str
    precision: str
    optimizer: str
    micro_batches: int

    @property
    def name(self) -> str:
        """File name of the case's results."""
        return "-".join(map(str, dataclasses.astuple(self)))


def cases(quick: bool = False, optimizers: Sequence[str] = tuple(OPTIMIZERS)) -> list[Case]:
    """All cases of some optimizers, or a few of each kind."""
    micros = (1, 2) if quick else (1, 2, 4)
    families = QUICK if quick else SMALL
    full = [
        combined
        for combined in itertools.product(families, ("float32",), OPTIMIZERS, micros)
        if combined[2] in OF_ALL_FAMILIES or combined[0] in QUICK
    ]
    low = itertools.product(families, ("mixed_bfloat16", "mixed_float16"), ("sgd",), micros)
    wanted = [c for c in full if c[2] == "sgd"] if quick else [*full, *low]
    return [Case(*values) for values in wanted if values[2] in optimizers]


def controls(case: Case) -> list[Case]:
    """The case in every number of micro-batches that divides its batch: 1, 2, 3, 4, 6 ... 48.

    In mixed precision their differences on one device are the control: each part rounds for itself.
    """
    divisors = [micro for micro in range(1, BATCH_SIZE + 1) if BATCH_SIZE % micro == 0]
    return [dataclasses.replace(case, micro_batches=micro) for micro in divisors]


def make_windows(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids and targets (rows, LENGTH): each token follows from the one before, nine times out of
    ten."""
    rng = np.random.default_rng(seed)
    stream = np.zeros((rows, LENGTH + 1), "int32")
    stream[:, 0] = rng.integers(0, VOCABULARY, rows)
    for t in range(LENGTH):
        follows = (stream[:, t] * 3 + 1) % VOCABULARY
        stream[:, t + 1] = np.where(
            rng.random(rows) < 0.9, follows, rng.integers(0, VOCABULARY, rows)
        )
    return stream[:, :-1], stream[:, 1:]


class Losses(keras.callbacks.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])
        beat(len(self.values))


def train(case: Case, chosen: tf.distribute.Strategy, xla: bool = True) -> dict[str, np.ndarray]:
    """Trains a case; returns its losses (STEPS,), and weights and their averages by name."""
    data = (
        tf.data.Dataset.from_tensor_slices(make_windows(3 * BATCH_SIZE + 36))
        .batch(BATCH_SIZE)
        .repeat()
    )
    with chosen.scope():
        network = models.build_network(SMALL[case.family], case.precision, seed=1)
        model = LanguageModel(network)
        model.compile(
            OPTIMIZERS[case.optimizer](network),
            clip_norm=0.5,
            ema_decay=0.9,
            micro_batches=case.micro_batches,
            xla=xla,
        )
    losses = Losses()
    model.fit(
        data, epochs=1, steps_per_epoch=STEPS, steps_per_call=1, verbose=0, callbacks=[losses]
    )
    step = model.train_step_runner
    assert step is not None
    weights = {f"weight/{i}": v.numpy() for i, v in enumerate(step.variables)}
    averages = {f"weight/average-{i}": v.numpy() for i, v in enumerate(step.averages)}
    return {"losses": np.array(losses.values), **weights, **averages}


def path(options: argparse.Namespace, case: Case) -> str:
    """Returns the file with the results of a case."""
    return os.path.join(options.output, f"{case.name}.npz")


def main() -> None:
    """Trains all cases under one strategy that the output folder does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("strategy", choices=["single", "mirrored", "multi_worker"])
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--output", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    options = parser.parse_args()
    follow_launcher()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if options.strategy != "multi_worker":
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * options.devices
        )
    chosen = strategy(options.strategy)
    beat(0)
    wanted = cases(options.quick, options.optimizers)
    if options.strategy == "single":
        wanted += [c for case in wanted if case.precision != "float32" for c in controls(case)]
    # Listed before the first is trained, so that all workers leave out the same ones.
    missing = [case for case in dict.fromkeys(wanted) if not os.path.exists(path(options, case))]
    for case in missing:
        results = train(case, chosen, xla=not options.quick)
        if Workers(chosen).is_chief:
            # Renamed when it is whole, so that a file of a run that was stopped is none.
            np.savez(path(options, case) + ".partial.npz", **results)
            os.replace(path(options, case) + ".partial.npz", path(options, case))


if __name__ == "__main__":
    main()
