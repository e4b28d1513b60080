"""When a run ends: after a number of steps, or when its minutes are over."""

import abc
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfscale.compat.keras_optimizers import learning_rate_of
from tfscale.config import TrainConfig
from tfscale.distribution.workers import Workers
from tfscale.errors import CheckpointError
from tfscale.training.timed_schedule import TimedSchedule

WITHOUT_END = 2**62
"""Steps of a `fit` that the clock ends."""
_CALL_SHARE = 0.05
"""Largest share of the minutes that a call of the train step takes, after which it is asked how
many steps are left."""
_STEEPEST = 4
"""How many times faster than before the rate may come down when a pause has taken the time that was
left."""


class RunLength(abc.ABC):
    """The end of a run, and the last moment from which a longer run could go on.

    Attributes:
        total: optimizer steps of the whole run, as far as is known now.
        stops: step counts at whose multiples a call of the train step ends; the list changes.
    """

    total: int | None
    stops: list[int]

    @abc.abstractmethod
    def is_over(self, step: int) -> bool:
        """Returns whether the run has ended after so many steps."""

    @abc.abstractmethod
    def starts_decay(self, step: int) -> bool:
        """Returns whether the rates of the next call depend on the end of the run, and those before
        do not."""

    @abc.abstractmethod
    def plan(self, step: int, seconds: float) -> None:
        """Prepares the next call. All workers call it, in the same order.

        Args:
            step: steps that were taken.
            seconds: time of the run by now; that of the chief counts.
        """

    @abc.abstractmethod
    def state(self, step: int) -> dict[str, Any]:
        """Returns what a checkpoint at a step must hold so that the run goes on alike."""

    @abc.abstractmethod
    def resume(self, state: Mapping[str, Any], step: int) -> None:
        """Goes on from the state of a checkpoint. All workers call it; the chief has the state."""


class StepsLength(RunLength):
    """A run of a number of steps.

    Args:
        config: the options; epochs are made into steps.
    """

    def __init__(self, config: TrainConfig):
        self.total = config.total_steps
        free = config.chosen_schedule(self.total).free_steps
        self._decay = free if free and free < self.total else None
        self.stops = [*_regular(config), *([self._decay] if self._decay else [])]

    def is_over(self, step: int) -> bool:
        assert self.total is not None
        return step >= self.total

    def starts_decay(self, step: int) -> bool:
        return step == self._decay

    def plan(self, step: int, seconds: float) -> None:
        """Does nothing: the steps are known."""

    def state(self, step: int) -> dict[str, Any]:
        return {}

    def resume(self, state: Mapping[str, Any], step: int) -> None:
        """Does nothing: the steps are known."""


class MinutesLength(RunLength):
    """A run of some minutes, by the clock of the chief.

    The first call, whose time is mostly compilation, says nothing about the speed. From its end on
    it is measured over the later half of the calls, with all that comes between them.

    Args:
        config: the options.
        schedule: the schedule that the optimizer follows; None for one that does not depend on the
            end.
        workers: all of them follow the chief.
        updates: returns how many updates the optimizer has made.
    """

    def __init__(
        self,
        config: TrainConfig,
        schedule: TimedSchedule | None,
        workers: Workers,
        updates: Callable[[], int],
    ):
        assert config.minutes is not None
        self.total, self.stops = None, _regular(config)
        self._regular = tuple(self.stops)
        self._seconds, self._log_every = 60 * config.minutes, config.log_every
        self._schedule, self._workers, self._updates = schedule, workers, updates
        self._rate = 0.0
        """Seconds a step; 0 as long as it is not known."""
        self._ending = 0
        """The last step, once the time is over; 0 before."""
        self._ends: list[tuple[int, float]] = []
        """Steps and seconds at the beginning and at the end of each call of this process."""

    def is_over(self, step: int) -> bool:
        return self.total is not None and step >= self.total

    def plan(self, step: int, seconds: float) -> None:
        self._measure(step, seconds)
        left, call = map(int, self._workers.gather(self._estimate(step, seconds))[0])
        self.total = step + left if left else None
        # A count above the steps that were taken is the next multiple of itself.
        self.stops[:] = [*self._regular, step + call, *([self.total] if self.total else [])]
        if self._schedule is not None and left:
            self._schedule.aim(self._updates(), left)

    def _measure(self, step: int, seconds: float) -> None:
        self._ends.append((step, seconds))
        if len(self._ends) > 2:
            since_step, since = self._ends[max(1, len(self._ends) // 2)]
            self._rate = (seconds - since) / (step - since_step)

    def _estimate(self, step: int, seconds: float) -> tuple[int, int]:
        """Returns the steps that are left, 0 if nobody knows, and the most of the next call."""
        if self._rate <= 0:
            return 0, 1
        left = max(int((self._seconds - seconds) / self._rate), self._least(step))
        if seconds >= self._seconds:
            # The last steps are counted once, or each look at the clock would add some.
            self._ending = self._ending or step + left
            left = self._ending - step
        call = max(1, int(_CALL_SHARE * self._seconds / self._rate))
        return max(1, left), call

    def _least(self, step: int) -> int:
        """Returns the fewest steps in which the rate comes down, should a pause such as a long
        validation have taken the time for them."""
        if self._schedule is None:
            return 1
        warmup = self._schedule.schedule.warmup_steps
        done = self._schedule.nominal(self._updates() - 1) - warmup + 1
        ahead = self._schedule.last - warmup + 1 - done
        if done <= 0:
            return 1
        at_this_pace = ahead * max(1, step - warmup) / done
        return min(self._log_every, math.ceil(at_this_pace / _STEEPEST))

    def starts_decay(self, step: int) -> bool:
        if self._schedule is None:
            return False
        free, done = self._schedule.schedule.schedule.free_steps, self._updates()
        if not free:
            return False
        last = self._schedule.nominal(done + self._log_every - 1)
        return self._schedule.nominal(done - 1) < free <= last

    def state(self, step: int) -> dict[str, Any]:
        plan = () if self._schedule is None else self._schedule.plan
        return {
            "plan": list(plan),
            "seconds_per_step": self._rate,
            "over_after": self._seconds if self.is_over(step) else 0.0,
        }

    def resume(self, state: Mapping[str, Any], step: int) -> None:
        rate, over = state.get("seconds_per_step", 0.0), state.get("over_after", 0.0)
        plan = state.get("plan") or [0, 0, 0]
        is_whole = len(plan) == 3 and all(isinstance(number, int) for number in plan)
        if not is_whole or any(plan) and plan[2] < 1:
            raise CheckpointError(
                f"the checkpoint at step {step:,} is damaged: its plan of the learning rate should"
                f" be three whole numbers, the last of them 1 or more; received {plan!r}"
            )
        sent = self._workers.gather([rate, over, *plan])[0]
        self._rate = float(sent[0])
        if self._schedule is not None and sent[2:].any():
            self._schedule.plan = tuple(map(int, sent[2:]))
        # A run that is over goes on if it is given more minutes.
        self.total = step if sent[1] and sent[1] >= self._seconds else None


def run_length(
    config: TrainConfig, optimizer: keras.optimizers.Optimizer, workers: Workers
) -> RunLength:
    """Returns when a run ends.

    Args:
        config: the options; epochs are made into steps.
        optimizer: of the run, with the schedule of `build_schedule`.
        workers: of the run.
    """
    if config.minutes is None:
        return StepsLength(config)
    schedule = learning_rate_of(optimizer)
    timed = schedule if isinstance(schedule, TimedSchedule) else None
    return MinutesLength(config, timed, workers, lambda: int(optimizer.iterations.numpy()))


def _regular(config: TrainConfig) -> list[int]:
    """Returns the step counts at whose multiples something is done."""
    return [config.validate_every, config.checkpoint_every]
