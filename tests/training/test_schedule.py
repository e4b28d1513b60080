"""Learning rates by hand sums, what each schedule reads, and what is said of runs that are too short."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.config import GRUConfig, TrainConfig
from tfscale.config.models import network_families
from tfscale.config.schedule import longer_ones
from tfscale.errors import ConfigError
from tfscale.registry import SCHEDULES
from tfscale.training.schedule import (
    RegisteredSchedule,
    WarmupSchedule,
    build_schedule,
    length_notes,
)


def schedule_of(name, **options):
    return build_schedule(TrainConfig(schedule=name, learning_rate=1.0, **options))


# All rise to 1 by (step + 1) / 5 until step 4; the last of 15 steps is step 14.
RISE = {0: 0.2, 1: 0.4, 3: 0.8, 4: 1.0}
HAND_SUMS = [
    # Half a cosine from step 4 to step 14, in the middle of which it is (1 + 0.1) / 2.
    ("cosine", {}, {9: 0.55, 14: 0.1, 20: 0.1}),
    ("cosine", {"final_learning_rate_fraction": 0.0}, {9: 0.5, 14: 0.0}),
    # A tenth of 0.9 is lost at each of the ten steps.
    ("linear", {}, {5: 0.91, 9: 0.55, 13: 0.19, 14: 0.1, 20: 0.1}),
    ("linear", {"final_learning_rate_fraction": 0.5}, {9: 0.75, 14: 0.5}),
    ("constant", {}, {5: 1.0, 14: 1.0, 10**6: 1.0}),
    # 20 % of 15 are 3 steps: 1 - sqrt of 1/3, 2/3 and 1.
    ("wsd", {}, {11: 1.0, 12: 1 - math.sqrt(1 / 3), 13: 1 - math.sqrt(2 / 3), 14: 0.0, 20: 0.0}),
    ("wsd", {"decay_steps": 4}, {10: 1.0, 11: 0.5, 14: 0.0}),
    ("wsd", {"decay_fraction": 0.6, "final_learning_rate_fraction": 0.2}, {5: 1.0, 6: 1 - 0.8 / 3}),
    # The peak is that of the fifth step, so step s - 1 has sqrt(5 / s).
    ("inverse_sqrt", {}, {5: math.sqrt(5 / 6), 19: 0.5, 499: 0.1}),
]


@pytest.mark.parametrize("name,options,expected", HAND_SUMS)
def test_rates_by_hand(name, options, expected):
    schedule = schedule_of(name, steps=15, warmup_steps=4, **options)
    found = {step: float(schedule(step)) for step in RISE | expected}
    assert found == pytest.approx(RISE | expected, abs=1e-6)


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_large_step_numbers_are_told_apart(name):
    """float32 has no 2**24 + 1; beside 64-bit numbers the rates are right to its rounding."""
    steps = 2**24 + 1001
    schedule = schedule_of(name, steps=steps, warmup_steps=2**24)
    assert float(schedule(2**24 - 10)) < 1.0
    # The decay of wsd is cut to the steps after the warm-up, and begins with the first of them.
    assert name == "wsd" or float(schedule(2**24)) == 1.0
    step = 2**24 + 501
    done = 501 / 1000
    expected = {
        "cosine": 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 1 - 0.9 * done,
        "constant": 1.0,
        "wsd": 1 - math.sqrt(502 / 1001),
        "inverse_sqrt": math.sqrt((2**24 + 1) / (step + 1)),
    }[name]
    assert float(schedule(step)) == pytest.approx(expected, rel=2e-7)
    moving = [float(schedule(step + 10 * k)) for k in range(4)]
    assert name == "constant" or sorted(set(moving), reverse=True) == moving
    assert schedule(tf.constant(step, tf.int64)).dtype == tf.float32


@pytest.mark.parametrize("name,options", [row[:2] for row in HAND_SUMS])
def test_schedules_survive_serialization(name, options):
    schedule = schedule_of(name, steps=15, warmup_steps=4, **options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in range(20)] == [
        float(schedule(step)) for step in range(20)
    ]
    assert again.get_config() == schedule.get_config()


def test_schedules_of_earlier_versions_are_read():
    old = WarmupSchedule(peak=0.003, warmup_steps=4, steps=15, final=0.0003)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(old))
    new = build_schedule(TrainConfig(learning_rate=0.003, warmup_steps=4, steps=15))
    assert type(again) is WarmupSchedule
    assert [float(again(step)) for step in range(20)] == [float(new(step)) for step in range(20)]


def test_in_a_compiled_step_rates_are_the_same():
    schedule = schedule_of("wsd", steps=15, warmup_steps=4)
    compiled = tf.function(schedule, jit_compile=True)
    steps = range(18)
    found = [float(compiled(tf.constant(step, tf.int64))) for step in steps]
    np.testing.assert_allclose(found, [float(schedule(step)) for step in steps], rtol=1e-6)


@pytest.mark.parametrize(
    "name,free", [("cosine", 0), ("linear", 0), ("constant", None), ("inverse_sqrt", None)]
)
def test_longer_runs_have_the_free_steps_in_common(name, free):
    assert TrainConfig(schedule=name).chosen_schedule(100).free_steps == free


def test_the_stable_part_is_free_to_the_bit():
    short, long = (schedule_of("wsd", steps=steps, warmup_steps=4) for steps in (100, 177))
    free = short.schedule.free_steps
    assert free == 80
    assert [float(short(s)) for s in range(free)] == [float(long(s)) for s in range(free)]
    assert float(short(free)) < float(long(free)) == 1.0
    assert longer_ones() == ["constant", "inverse_sqrt", "wsd"]


def test_a_stranger_adds_a_schedule():
    class Halves(tfscale.Schedule):
        """The peak, and half of it from the middle on."""

        name, summary = "halves", "the peak, then half of it"

        def after_warmup(self, step, peak, ops):
            return ops.where(step < self.steps // 2, peak, peak / 2)

    tfscale.register(Halves)
    try:
        schedule = schedule_of("halves", steps=10, warmup_steps=1)
        assert [float(schedule(s)) for s in (0, 1, 4, 5, 9)] == [0.5, 1.0, 1.0, 0.5, 0.5]
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
        assert type(again.schedule) is Halves
        with pytest.raises(ConfigError, match="no effect with train.schedule=halves; leave it out"):
            TrainConfig(schedule="halves", final_learning_rate_fraction=0.1)
    finally:
        del SCHEDULES._registered["halves"]


def test_a_warmup_or_a_decay_that_is_not_over_is_said():
    assert length_notes(TrainConfig(learning_rate=1e-3, warmup_steps=19), 20) == []
    config = TrainConfig(learning_rate=1e-3, steps=20, warmup_steps=100)
    assert float(build_schedule(config)(19)) == pytest.approx(0.000198, abs=5e-7)
    for name in SCHEDULES.names():
        config = TrainConfig(learning_rate=1e-3, steps=20, warmup_steps=100, schedule=name)
        assert float(build_schedule(config)(19)) == pytest.approx(0.000198, abs=5e-7)
        (note,) = length_notes(config, 20)
        assert (
            "warmup_steps=100 is not over within steps=20: the learning rate ends at 0.000198 and"
            in note
        )
    config = TrainConfig(
        learning_rate=1.0, steps=20, warmup_steps=4, schedule="wsd", decay_steps=17
    )
    (note,) = length_notes(config, 20)
    assert "decay_steps=17 and warmup_steps=4 are more than steps=20" in note and "in 16" in note
    rates = [float(build_schedule(config)(step)) for step in (3, 4, 19)]
    assert rates == pytest.approx([0.8, 1 - math.sqrt(1 / 16), 0.0], abs=1e-6)
    assert length_notes(config, 21) == []


def test_each_family_has_a_learning_rate_of_its_own():
    taken = {
        name: TrainConfig().for_model(config()).learning_rate
        for name, config in network_families().items()
    }
    slow, fast = ("bert", "nnlm"), ("rnn", "bilstm")
    muons = {"lstm": 3e-2, "gru": 1.5e-2, "transformer": 1e-2}
    wanted = dict.fromkeys(slow, 1e-3) | dict.fromkeys(fast, 5e-3) | muons
    assert taken == pytest.approx(wanted)
    named = TrainConfig(learning_rate=0.25).for_model(GRUConfig())
    assert named.learning_rate == 0.25
    with pytest.raises(
        ConfigError, match="learning_rate=0.0 is out of range; expected more than 0"
    ):
        build_schedule(TrainConfig())


def test_the_defaults_of_a_schedule_are_filled_in():
    """A run writes them down, so that another default does not change one that goes on."""
    filled = [TrainConfig(schedule=n).for_model(GRUConfig()) for n in ("linear", "wsd", "constant")]
    assert [(c.final_learning_rate_fraction, c.decay_fraction, c.steps) for c in filled] == [
        (0.1, None, 1000),
        (0.0, 0.2, 1000),
        (None, None, 1000),
    ]
    given = TrainConfig(schedule="wsd", decay_steps=7, epochs=2).for_model(GRUConfig())
    assert (given.decay_steps, given.decay_fraction, given.steps) == (7, None, None)
    assert given.for_model(GRUConfig()) == given


def test_without_warmup_the_first_step_has_the_peak():
    assert float(build_schedule(TrainConfig(learning_rate=0.5, warmup_steps=0))(0)) == 0.5


def test_a_schedule_needs_a_name_that_is_registered():
    with pytest.raises(ConfigError, match="no schedule 'cosin'; did you mean 'cosine'"):
        RegisteredSchedule("cosin", 1.0, 0, 10)
