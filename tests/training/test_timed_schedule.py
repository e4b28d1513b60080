"""A schedule that is dealt out over the steps that are left: exact at its end, and without a jump."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.config import TrainConfig
from tfscale.training.schedule import RegisteredSchedule, build_schedule
from tfscale.training.timed_schedule import NOMINAL_STEPS, TimedSchedule


def timed(name="linear", warmup=0, **options):
    return build_schedule(
        TrainConfig(schedule=name, learning_rate=1.0, warmup_steps=warmup, minutes=1, **options)
    )


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_the_last_step_has_the_last_rate_by_hand():
    schedule = timed(final_learning_rate_fraction=0.0)
    # Without an aim each step stands for itself, of a million.
    assert rates(schedule, (0, 1)) == pytest.approx([1.0, 1.0], abs=2e-6)
    schedule.aim(done=2, left=10)
    expected = [1 - k / 10 for k in range(1, 11)]
    assert rates(schedule, range(2, 12)) == pytest.approx(expected, abs=2e-6)
    assert rates(schedule, (11, 12, 1000)) == [0.0, 0.0, 0.0]
    # After four of them twice as many are left as there seemed to be: the rest is dealt out anew.
    schedule.aim(done=6, left=12)
    expected = [0.6 - 0.6 * k / 12 for k in range(1, 13)]
    assert rates(schedule, range(6, 18)) == pytest.approx(expected, abs=3e-6)
    assert float(schedule(5)) == pytest.approx(0.6, abs=3e-6)


def test_the_warmup_counts_steps_and_the_rest_begins_after_it():
    schedule = timed(warmup=4, final_learning_rate_fraction=0.0)
    schedule.aim(done=1, left=13)  # Three of the warm-up, and ten.
    expected = [0.2, 0.4, 0.6, 0.8] + [1 - k / 10 for k in range(1, 11)]
    assert rates(schedule, range(14)) == pytest.approx(expected, abs=2e-6)
    schedule.aim(done=1, left=2)  # The end comes before that of the warm-up.
    assert rates(schedule, range(4)) == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
def test_rates_never_jump_and_always_end(name):
    """Estimates of what is left that change by a factor of three at each call."""
    schedule, random, done, found = timed(name, warmup=3), np.random.default_rng(0), 0, []
    for left in [40, 120, 30, 90, 25, 60, 12, 5]:
        schedule.aim(done, left)
        count = min(int(random.integers(2, 5)), left)
        found += rates(schedule, range(done, done + count))
        done += count
    schedule.aim(done, 6)
    found += rates(schedule, range(done, done + 6))
    after = found[3:]
    assert sorted(after, reverse=True) == after
    final = {"cosine": 0.1, "linear": 0.1, "wsd": 0.0}[name]
    assert found[-1] == pytest.approx(final, abs=1e-6)


def test_what_decides_no_rate_needs_no_clock():
    for name in ("constant", "inverse_sqrt"):
        assert type(timed(name, warmup=4)) is RegisteredSchedule
    assert float(timed("inverse_sqrt", warmup=4)(19)) == pytest.approx(0.5)


def test_it_is_the_same_compiled_on_replicas_and_from_a_file():
    strategy = tfscale.strategy("mirrored")
    with strategy.scope():
        schedule = timed("wsd", warmup=2, decay_fraction=0.5)
        step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @tf.function
    def on_replicas():
        def replica():
            return tf.function(schedule, jit_compile=True)(step)

        return strategy.run(replica)

    for aim in ((0, 20), (9, 6)):
        schedule.aim(*aim)
        for number in (1, 3, 9, 14):
            step.assign(number)
            found = strategy.experimental_local_results(on_replicas())
            assert [float(one) for one in found] == [float(schedule(number))] * 2
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(again) is TimedSchedule and again.plan == schedule.plan
    assert rates(again, range(20)) == rates(schedule, range(20))
    assert schedule.last == NOMINAL_STEPS + 1
