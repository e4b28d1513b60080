"""When a run of some minutes ends: a clock that is a number here, and machines of changing speed."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tests.slow import slow_but
from tfscale.config import TrainConfig
from tfscale.errors import CheckpointError, ConfigError
from tfscale.runs.length import MinutesLength, StepsLength
from tfscale.training.schedule import build_schedule
from tfscale.training.timed_schedule import TimedSchedule


def alone():
    return types.SimpleNamespace(gather=lambda values: np.array([values], float))


class Machine:
    """Trains by a clock that it moves itself, as the loop of `fit` and the recorder do."""

    def __init__(self, config, step_seconds, pauses=None, compiling=20.0, workers=None):
        self.step_seconds, self.pauses = step_seconds, pauses or {}
        self.compiling, self.clock, self.step, self.rates = compiling, 0.0, 0, []
        self.config = config
        self.schedule = build_schedule(config)
        self.rate_at = tf.function(self.schedule)
        timed = self.schedule if isinstance(self.schedule, TimedSchedule) else None
        self.length = MinutesLength(config, timed, workers or alone(), lambda: self.step)
        self.kept = []

    def run(self, until=10**9):
        self.prepare()
        self.clock += self.compiling
        while not self.length.is_over(self.step) and self.step < until:
            stops = [stop - self.step % stop for stop in self.length.stops]
            for _ in range(min([self.config.log_every, *stops])):
                self.rates.append(float(self.rate_at(tf.constant(self.step))))
                self.step += 1
                self.clock += self.step_seconds(self.clock)
                self.clock += self.pauses.get(self.step, 0.0)
            if not self.length.is_over(self.step):
                self.prepare()
        return self

    def prepare(self):
        self.length.plan(self.step, self.clock)
        if self.length.starts_decay(self.step):
            self.kept.append(self.step)


def config(schedule="cosine", minutes=10.0, **options):
    options = {"warmup_steps": 20, "learning_rate": 1.0, **options}
    return TrainConfig(schedule=schedule, minutes=minutes, **options)


SPEEDS = {
    "steady": lambda clock: 0.5,
    "slower and slower": lambda clock: 0.2 + clock / 600,
    "faster and faster": lambda clock: 1.0 - clock / 800,
    "half as fast at the end": lambda clock: 0.4 if clock < 450 else 0.8,
}


SCHEDULES = ["cosine", "linear", "wsd", "constant", "inverse_sqrt"]


@pytest.mark.parametrize(
    "schedule, speed",
    slow_but(
        [(schedule, speed) for schedule in SCHEDULES for speed in SPEEDS],
        *((schedule, "slower and slower") for schedule in SCHEDULES),
        *(("wsd", speed) for speed in ("steady", "faster and faster", "half as fast at the end")),
    ),
)
def test_it_ends_in_time_at_the_last_rate(schedule, speed):
    machine = Machine(config(schedule), SPEEDS[speed]).run()
    assert 600 * 0.97 < machine.clock < 600 * 1.02
    after = machine.rates[20:]
    assert sorted(after, reverse=True) == after
    final = {"cosine": 0.1, "linear": 0.1, "wsd": 0.0, "constant": 1.0}
    if schedule in final:
        assert machine.rates[-1] == pytest.approx(final[schedule], abs=1e-6)
    assert machine.rates[:20] == pytest.approx([(s + 1) / 21 for s in range(20)])


def test_the_middle_of_the_schedule_is_the_middle_of_the_time():
    machine = Machine(config(), SPEEDS["steady"]).run()
    # 20 s of compilation, 580 s of steps of half a second: 1,160, of which 20 are the warm-up.
    assert machine.step == pytest.approx(1160, abs=3)
    assert machine.rates[20 + 570] == pytest.approx(0.55, abs=0.02)


def test_compilation_and_pauses_do_not_make_the_rate_jump():
    pauses = {250: 30.0, 500: 30.0}
    machine = Machine(config(), SPEEDS["steady"], pauses, compiling=120.0).run()
    assert machine.clock == pytest.approx(600, abs=12)
    drops = -np.diff(machine.rates[20:])
    assert drops.max() < 0.005 and machine.rates[-1] == pytest.approx(0.1, abs=1e-6)


def test_a_pause_that_takes_the_rest_of_the_time_leaves_a_call_to_come_down():
    machine = Machine(config(log_every=20), SPEEDS["steady"], {600: 400.0}).run()
    assert machine.step == 620 and machine.rates[-1] == pytest.approx(0.1, abs=1e-6)
    assert -np.diff(machine.rates[600:]).min() < 0.06


def test_a_run_that_goes_on_counts_the_time_that_was_used():
    first = Machine(config("wsd", decay_fraction=0.4), SPEEDS["steady"]).run(until=400)
    saved, clock = first.length.state(first.step), first.clock
    second = Machine(config("wsd", decay_fraction=0.4), SPEEDS["steady"])
    second.length.resume(saved, first.step)
    second.step, second.clock = first.step, clock
    second.run()
    assert 600 * 0.97 < second.clock < 600 * 1.02 and second.rates[-1] == pytest.approx(0, abs=1e-6)
    # The rate goes on where it was.
    assert second.rates[0] == pytest.approx(first.rates[-1], abs=0.01)
    assert second.length.state(second.step)["over_after"] == 600.0
    for minutes, over in ((10.0, True), (12.0, False)):
        third = Machine(config("wsd", decay_fraction=0.4, minutes=minutes), SPEEDS["steady"])
        third.length.resume(second.length.state(second.step), second.step)
        assert third.length.is_over(second.step) == over


@pytest.mark.parametrize("plan", [[1, 2], [1, 2, 0], [1, 2, "x"]], ids=repr)
def test_a_damaged_plan_is_one_line(plan):
    with pytest.raises(CheckpointError, match="at step 9 is damaged: its plan of the learning"):
        Machine(config(), SPEEDS["steady"]).length.resume({"plan": plan}, 9)


def test_the_state_before_the_decay_is_known():
    machine = Machine(config("wsd"), SPEEDS["slower and slower"]).run()
    first_below = next(s for s, rate in enumerate(machine.rates) if s >= 20 and rate < 1.0)
    assert machine.kept and machine.kept[-1] <= first_below < machine.kept[-1] + 20
    assert Machine(config(), SPEEDS["steady"]).run().kept == []


def test_every_worker_follows_the_chief():
    sent = []

    class Chief:
        def gather(self, values):
            sent.append(list(values))
            return np.array([values, [7.0] * len(values)])

    class Other:
        def gather(self, values):
            return np.array([sent.pop(0), values], float)

    chief = Machine(config(), SPEEDS["steady"], workers=Chief()).run()
    other = Machine(config(), lambda clock: 5.0, compiling=1.0, workers=Other()).run()
    assert not sent and other.step == chief.step and other.rates == chief.rates


def test_steps_are_what_they_are():
    length = StepsLength(TrainConfig(steps=100, schedule="wsd", warmup_steps=5, validate_every=30))
    assert (length.total, length.stops) == (100, [30, 250, 80])
    assert [length.starts_decay(step) for step in (79, 80, 81)] == [False, True, False]
    assert [length.is_over(step) for step in (99, 100)] == [False, True]
    assert length.state(80) == {}
    with pytest.raises(ConfigError, match="train.epochs is given, from which the number of steps"):
        StepsLength(TrainConfig(epochs=2))
