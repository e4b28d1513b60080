"""`tfscale.Model` and stock Keras in turn, in one process, on one of `benchmarks.fit_models`.

    python -m benchmarks.fit_side cnn --steps-per-execution 20 --steps 60 --rounds 10
    python -m benchmarks.fit_side cnn --task evaluate
    taskset -c 0 python -m benchmarks.fit_side cnn --clock cpu      # on a machine that is busy

Each round trains every side for an epoch of some steps, in another order each time, so that a slow
second of the machine falls on all of them and the ratios within a round can be trusted. Prints a
JSON object: `what` the model is, and the `rates` of each side, steps per second in every round.
"""

import argparse
import json
import time
from collections.abc import Callable

import keras
import tensorflow as tf

import tfscale
from benchmarks.fit_models import LANGUAGE, MODELS, FitModel
from benchmarks.keras_side import EpochSeconds

OURS, LANGUAGE_MODEL = "tfscale.Model", "tfscale.LanguageModel"
STOCK = {"Keras, XLA": True, "Keras, no XLA": False}
"""Sides of stock Keras, each with its `jit_compile`."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""What counts: time that passes, or time that the process computes on any core."""

Clock = Callable[[], float]
Side = Callable[[int], float]
"""A function of a number of steps: the seconds that they take."""


def loss() -> keras.losses.Loss:
    """Returns the loss of all models."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def stock(model: FitModel, jit_compile: bool, steps_per_execution: int) -> keras.Model:
    """Returns a network, compiled by stock Keras."""
    network = model.network()
    network.compile(
        model.optimizer(clips=True),
        loss(),
        metrics=list(model.metrics),
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    return network


def ours(model: FitModel, steps_per_execution: int) -> keras.Model:
    """Returns a network in a `tfscale.Model`, compiled with its defaults."""
    wrapped = tfscale.Model(model.network())
    wrapped.compile(
        model.optimizer(clips=False),
        loss(),
        metrics=list(model.metrics),
        clip_norm=model.clip_norm,
        steps_per_execution=steps_per_execution,
    )
    return wrapped


def language(model: FitModel) -> keras.Model:
    """Returns a network in a `tfscale.LanguageModel`, whose loss is its own."""
    wrapped = tfscale.LanguageModel(model.network())
    wrapped.compile(model.optimizer(clips=False), clip_norm=model.clip_norm)
    return wrapped


def fits(model: keras.Model, data: tf.data.Dataset, clock: Clock, **options: int) -> Side:
    """Returns what times an epoch, without what `fit` does before and after it."""

    def seconds(steps: int) -> float:
        timer = EpochSeconds(clock)
        model.fit(
            data, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[timer], **options
        )
        return timer.seconds[0]

    return seconds


def evaluates(model: keras.Model, data: tf.data.Dataset, clock: Clock) -> Side:
    """Returns what times `evaluate`."""

    def seconds(steps: int) -> float:
        began = clock()
        model.evaluate(data, steps=steps, verbose=0)
        return clock() - began

    return seconds


def sides(name: str, task: str, steps_per_execution: int, clock: Clock) -> dict[str, Side]:
    """Returns all sides of a model, by name."""
    model = MODELS[name]
    arrays = model.data(model.batch_size * 64)
    # Every batch has the same shape; what all sides do with another last batch is not measured.
    rows = tf.data.Dataset.from_tensor_slices(arrays)
    data = rows.batch(model.batch_size, drop_remainder=True).repeat().prefetch(2)
    timed = fits if task == "fit" else evaluates
    found = {OURS: timed(ours(model, steps_per_execution), data, clock)}
    for side, jit_compile in STOCK.items():
        found[side] = timed(stock(model, jit_compile, steps_per_execution), data, clock)
    if name == LANGUAGE and task == "fit":
        options = {"steps_per_call": steps_per_execution}
        found[LANGUAGE_MODEL] = fits(language(model), data, clock, **options)
    return found


def in_rounds(sides: dict[str, Side], steps: int, rounds: int) -> dict[str, list[float]]:
    """Returns the steps per second of each side in each round, after one that is not timed.

    The order of the sides moves on by one from round to round, and every other time it is turned
    around.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(steps)
    for number in range(rounds):
        names = list(sides)
        first = number % len(names)
        order = names[first:] + names[:first]
        for name in order if number % 2 else reversed(order):
            rates[name].append(steps / sides[name](steps))
    return rates


def main() -> None:
    """Times the sides of a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--task", choices=("fit", "evaluate"), default="fit")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    found = sides(options.model, options.task, options.steps_per_execution, clock)
    rates = in_rounds(found, options.steps, options.rounds)
    print(json.dumps({"what": MODELS[options.model].what, "rates": rates}))


if __name__ == "__main__":
    main()
