"""The recipe in Keras: by tfscale, as a user calls it, and by Keras's own `fit` on the same network
and data.

    python -m benchmarks.keras_side ours --data DATA_DIR --steps 100 --repeats 3
    python -m benchmarks.keras_side stock --data DATA_DIR --steps 100 --repeats 3
    [--steps-per-execution 20] python -m benchmarks.keras_side run --data DATA_DIR --steps 2000

`ours` and `stock` print tokens per second, `run` the summary of a whole run.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from benchmarks import recipe
from tfscale.config import TrainConfig
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import training_dataset
from tfscale.models import LanguageNetwork, build_network
from tfscale.models.roles import undecayed_variables
from tfscale.runs.train import train
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer
from tfscale.training.schedule import build_schedule


class EpochSeconds(keras.callbacks.Callback):
    """Notes how long each epoch takes, and so does not slow down the steps.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self.clock = clock
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = self.clock()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(self.clock() - self.began)


def network_and_data(data_dir: str) -> tuple[LanguageNetwork, tf.data.Dataset]:
    """Returns the network that both sides train, and its data."""
    network = build_network(recipe.model_config(Manifest.load(data_dir, "size").vocabulary_size))
    dataset = training_dataset(
        data_dir,
        sequence_length=recipe.SEQUENCE_LENGTH,
        global_batch_size=recipe.BATCH_SIZE,
        seed=0,
    )
    return network, dataset


def ours(data_dir: str, config: TrainConfig) -> Any:
    """`LanguageModel.fit` and what it is called with."""
    network, dataset = network_and_data(data_dir)
    model = LanguageModel(network)
    model.compile(build_optimizer(config, network), clip_norm=config.clip_norm)
    return lambda **options: model.fit(dataset, steps_per_call=recipe.STEPS_PER_CALL, **options)


def stock(data_dir: str, config: TrainConfig, steps_per_execution: int) -> Any:
    """Keras's `fit` with XLA and what it is called with."""
    network, dataset = network_and_data(data_dir)
    config = config.for_model(network.config)
    optimizer = keras.optimizers.AdamW(
        build_schedule(config),
        weight_decay=config.weight_decay,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=1e-8,
        global_clipnorm=config.clip_norm,
    )
    optimizer.exclude_from_weight_decay(var_list=undecayed_variables(network))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer, loss, jit_compile=True, steps_per_execution=steps_per_execution)
    return lambda **options: network.fit(dataset, **options)


def speed(fit: Any, steps: int, repeats: int) -> dict[str, float]:
    """Tokens per second of the best of `repeats` epochs of `steps`, after one that is not timed."""
    timer = EpochSeconds()
    fit(epochs=repeats + 1, steps_per_epoch=steps, verbose=0, callbacks=[timer])
    tokens = steps * recipe.BATCH_SIZE * recipe.SEQUENCE_LENGTH
    return {"tokens_per_second": tokens / min(timer.seconds[1:]), "first_seconds": timer.seconds[0]}


def run(data_dir: str, steps: int, optimizer: dict[str, Any]) -> dict[str, Any]:
    """A whole run, as `tfscale train` does it; `loss` is that of the last step's weights on the
    validation split."""
    config = recipe.train_config(
        steps,
        optimizer,
        result="last",
        validate_every=steps,
        checkpoint_every=steps,
        tensorboard=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        summary = train(recipe.model_config(), config, data=data_dir, output=folder, progress=False)
    return {**summary, "loss": summary["validation"]["nll_per_token"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("ours", "stock", "run"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument(
        "--optimizer", type=json.loads, default={}, help="JSON: values instead of recipe.OURS"
    )
    options = parser.parse_args()
    config = recipe.train_config(options.steps * (options.repeats + 1), recipe.NANOGPT)
    if options.task == "ours":
        result = speed(ours(options.data, config), options.steps, options.repeats)
    elif options.task == "stock":
        result = speed(
            stock(options.data, config, options.steps_per_execution), options.steps, options.repeats
        )
    else:
        result = run(options.data, options.steps, recipe.OURS | options.optimizer)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
