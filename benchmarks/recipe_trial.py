"""One training of a search for a recipe, in a process of its own.

    python -m benchmarks.recipe_trial '{"model": {"hidden_dim": 64}, "train": {"steps": 100}}'
        --data DIR

The run is that of `tfscale train` without checkpoints: the same batches, optimizer and step. The
loss of the whole validation split is taken every `train.validate_every` steps and at the last one.
The last line of stdout is JSON; `run` says what is in it.

The time is CPU time of the process, because that depends little on what else runs. Validation is
not in it. Nor is compilation: the first call of the step counts at the rate of those after it.
"""

import argparse
import importlib.metadata
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

PACKAGES = ("tfscale", "tensorflow", "keras")


class Meter(keras.callbacks.Callback):
    """Takes the validation loss at fixed steps, and the CPU time of the steps between.

    Args:
        every: steps between validations.
        last: the last step, after which there is one, too.
        validate: returns the loss in nats per token.
        clock: seconds that the process has computed.
    """

    def __init__(
        self,
        every: int,
        last: int,
        validate: Callable[[], float],
        clock: Callable[[], float] = time.process_time,
    ):
        super().__init__()
        self.every, self.last, self.validate, self.clock = every, last, validate, clock
        self.calls: list[tuple[int, float]] = []
        """Step after each call of the compiled loop, and the seconds of the call."""
        self.losses: list[tuple[int, float]] = []
        """Steps with a validation, and its loss."""
        self.ended = 0.0
        """When the last call ended, in seconds since the epoch."""
        self._since = 0.0

    def on_train_begin(self, logs=None):
        self._since = self.clock()

    def on_train_batch_end(self, batch, logs=None):
        self.after(int(self.model.train_step_runner.step.numpy()))

    def after(self, step: int) -> None:
        """Records a call that ended with a step."""
        self.calls.append((step, self.clock() - self._since))
        self.ended = time.time()
        if step % self.every == 0 or step == self.last:
            self.losses.append((step, self.validate()))
        self._since = self.clock()

    def seconds_per_step(self) -> float:
        """Returns the CPU seconds of a step over all calls but the first, which compiles; over the
        first if there is no other."""
        (first, compiling), *others = self.calls
        steps = self.calls[-1][0] - first
        return sum(seconds for _, seconds in others) / steps if others else compiling / first

    def seconds_until(self, step: int) -> float:
        """Returns the CPU seconds of the steps up to one with which a call ended."""
        first = self.calls[0][0]
        later = sum(seconds for at, seconds in self.calls[1:] if at <= step)
        return first * self.seconds_per_step() + later


@dataclass(frozen=True)
class Training:
    """A training that is over.

    Attributes:
        meter: what was measured of it.
        failed: why it ended before its last step, or None.
        tokens_per_step: tokens of a global batch.
        parameters: of the model.
    """

    meter: Meter
    failed: str | None
    tokens_per_step: int
    parameters: int


def train(options: Mapping[str, Any], data: str, clock: Callable[[], float]) -> Training:
    """Trains, and validates on the way.

    Args:
        options: `model` and `train`, options of a family (`family`, a Transformer if left out) and
            of `TrainConfig`, and perhaps `seed`.
        data: data folder of `tfscale prepare`.
        clock: seconds of what is measured.
    """
    import tensorflow as tf

    from benchmarks.recipe_search import configs
    from tfscale.data.manifest import Manifest
    from tfscale.errors import TrainingError
    from tfscale.models import parameter_count
    from tfscale.runs.compiled import compiled_model
    from tfscale.runs.reading import Reading
    from tfscale.runs.train import fit_to_data

    manifest = Manifest.load(data)
    model_config, config = configs(options)
    model_config = fit_to_data(model_config, manifest)
    reading = Reading(data, manifest, model_config, config.for_model(model_config))
    config = reading.config
    model = compiled_model(reading, tf.distribute.get_strategy())
    validation = reading.validation(1)

    def validate() -> float:
        nll, tokens = model.summed_loss(validation)
        return nll / tokens

    meter, failed = Meter(config.validate_every, config.steps, validate, clock), None
    try:
        model.fit(
            reading.training(),
            epochs=1,
            steps_per_epoch=config.steps,
            verbose=0,
            callbacks=[meter],
            steps_per_call=config.log_every,
            stop_at_multiples_of=(config.validate_every,),
            checked=True,
        )
    except TrainingError as error:
        failed = str(error)
    tokens = config.global_batch_size * model_config.sequence_length
    return Training(meter, failed, tokens, parameter_count(model_config))


def run(options: Mapping[str, Any], data: str) -> dict[str, Any]:
    """Trains by `train`, and returns what is known of it.

    Returns:
        `checks`, a list of `step`, `loss` (nats per token of the whole validation split) and
        `cpu_seconds` (of the steps so far); `failed`, why it ended before its last step, or None;
        `cpu_seconds`, `seconds`, `compile_cpu_seconds`, `tokens_per_cpu_second`, `parameters`,
        `tokens_per_step` and `versions`.
    """
    began = time.perf_counter()
    training = train(options, data, time.process_time)
    seconds = time.perf_counter() - began
    meter = training.meter
    per_step = meter.seconds_per_step() if meter.calls else math.nan
    done = meter.calls[-1][0] if meter.calls else 0
    return {
        "checks": [
            {"step": step, "loss": loss, "cpu_seconds": meter.seconds_until(step)}
            for step, loss in meter.losses
        ],
        "failed": training.failed,
        "steps": done,
        "cpu_seconds": meter.seconds_until(done) if done else 0.0,
        "compile_cpu_seconds": meter.calls[0][1] - meter.calls[0][0] * per_step if done else None,
        "seconds": seconds,
        "tokens_per_cpu_second": training.tokens_per_step / per_step if done else None,
        "tokens_per_step": training.tokens_per_step,
        "parameters": training.parameters,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    """Trains, and prints the result as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("options", type=json.loads)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    print(json.dumps(run(options.options, options.data)))


if __name__ == "__main__":
    main()
