"""One process of `make equivalence`: trains the cases of `tfscale.Model` under one strategy.

    python -m benchmarks.equivalence_fits tfscale mirrored --devices 4 --output FOLDER [--quick]

Writes, for each case and number of micro-batches, what `fit` and `evaluate` returned and the final
weights; or, in a JSON file, the line by which it failed or was refused. With "keras" instead of
"tfscale" it is stock Keras that trains, without micro-batches; under "single" also with the rows of
each batch in other orders, which is the control.
"""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

import tfscale
from benchmarks.equivalence_cases import MODEL_CASES, ModelCase
from benchmarks.equivalence_models import BATCH_SIZE
from tfscale.distribution.workers import Workers
from tfscale.errors import TfscaleError
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher

EPOCHS = 6
MICRO_BATCHES, QUICK_MICRO_BATCHES = (1, 2, 4), (2,)
ORDERS, QUICK_ORDERS = 4, 2
"""Orders of the rows within batches, of which 0 is that of the data."""


@dataclass(frozen=True)
class Training:
    """A training of a case; the strategy is that of the process.

    Attributes:
        case: what is trained.
        trainer: "tfscale" or "keras".
        micro_batches: of tfscale.
        order: of the rows within batches.
    """

    case: ModelCase
    trainer: str
    micro_batches: int = 1
    order: int = 0

    @property
    def file(self) -> str:
        """Name of the file of its results, without the ending."""
        return f"{self.case.name}-{self.trainer}-{self.micro_batches}-{self.order}"


def trainings(case: ModelCase, trainer: str, strategy: str, quick: bool) -> list[Training]:
    """Returns the trainings of a case in one process."""
    if trainer == "tfscale":
        counts = QUICK_MICRO_BATCHES if quick else MICRO_BATCHES
        return [Training(case, trainer, count) for count in counts]
    orders = QUICK_ORDERS if quick else ORDERS
    wanted = range(orders if strategy == "single" else 1)
    return [Training(case, trainer, order=order) for order in wanted]


def train(training: Training, chosen: tf.distribute.Strategy, xla: bool) -> dict[str, np.ndarray]:
    """Trains a case.

    Returns:
        `fit/NAME` (EPOCHS,), `evaluate/NAME` (), and `weight/I` of the network.
    """
    case, rows = training.case, training.case.rows().reordered(training.order)
    keras.utils.set_random_seed(1)
    with chosen.scope():
        network = model = case.network()
        options: dict = {"jit_compile": xla}
        if training.trainer == "tfscale":
            model = tfscale.Model(network)
            options |= {"micro_batches": training.micro_batches}
        model.compile(optimizer=case.optimizer(), **case.compile(), **options)
    weighted = {} if rows.sample_weight is None else {"sample_weight": rows.sample_weight}
    given = {"batch_size": BATCH_SIZE, "verbose": 0, **weighted}
    fitted = model.fit(rows.x, rows.y, epochs=EPOCHS, shuffle=False, **given, **case.fit)
    evaluated = model.evaluate(rows.x, rows.y, return_dict=True, **given)
    return {
        **{f"fit/{name}": np.array(values) for name, values in fitted.history.items()},
        **{f"evaluate/{name}": np.array(value) for name, value in evaluated.items()},
        **{f"weight/{i}": np.array(weight) for i, weight in enumerate(network.get_weights())},
    }


def outcomes(
    wanted: list[Training], chosen: tf.distribute.Strategy, xla: bool
) -> Iterator[tuple[Training, dict[str, np.ndarray] | dict[str, str]]]:
    """Trains one after the other.

    Yields:
        The training, and its results or a line: {"refused": line} if tfscale says that it does not
        do this, {"failed": line} of any other error.
    """
    for number, training in enumerate(wanted):
        beat(number)
        try:
            yield training, train(training, chosen, xla)
        except TfscaleError as error:
            yield training, {"refused": str(error)}
        # Whatever goes wrong is a row of the table.
        except Exception as error:
            yield training, {"failed": one_line(error)}
        keras.backend.clear_session()


def one_line(error: Exception) -> str:
    """Returns an error as a line of at most 150 characters: its class and what it says first.

    TensorFlow puts a traceback of its own before the message of an error in a traced function.
    """
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("in user code:"):
        lines = lines[-1:]
    line = " ".join(f"{type(error).__name__}: {lines[0]}".split())
    return f"{line[:147]}..." if len(line) > 150 or len(lines) > 1 else line


def is_written(folder: str, training: Training) -> bool:
    """Returns whether a folder has the results of a training, or its line."""
    path = os.path.join(folder, training.file)
    return os.path.exists(f"{path}.npz") or os.path.exists(f"{path}.json")


def write(folder: str, training: Training, outcome: dict) -> None:
    """Writes the results of a training, or its line."""
    path = os.path.join(folder, training.file)
    if outcome.keys() & {"refused", "failed"}:
        with open(f"{path}.json", "w", encoding="utf-8") as file:
            json.dump(outcome, file)
    else:
        np.savez(f"{path}.npz", **outcome)


def main() -> None:
    """Trains all cases, or those that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trainer", choices=["tfscale", "keras"])
    parser.add_argument("strategy", choices=["single", "mirrored", "multi_worker"])
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--output", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--cases", nargs="+", choices=list(MODEL_CASES), default=list(MODEL_CASES))
    options = parser.parse_args()
    follow_launcher()
    if options.strategy != "multi_worker":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * options.devices,
        )
    chosen = tfscale.strategy(options.strategy)
    wanted = [
        training
        for name in options.cases
        for training in trainings(
            MODEL_CASES[name], options.trainer, options.strategy, options.quick
        )
        if not is_written(options.output, training)
    ]
    for training, outcome in outcomes(wanted, chosen, options.xla):
        if Workers(chosen).is_chief:
            write(options.output, training, outcome)


if __name__ == "__main__":
    main()
