"""A schedule of the learning rate whose end is a moment and not a step.

How many steps a training of some minutes takes is known when it is over. So the schedule is made
for a nominal run of many steps, and each step of the training stands for one of these: where the
clock says that as many steps are left as were taken, the one before the next stands in the middle.
The number of steps that are left is estimated anew at each call of the train step. What is left of
the nominal run is then dealt out over them evenly, so the rate never jumps, and it is at its last
value when the last step is taken, however the speed changes.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from tfscale.training.variables import replicated

NOMINAL_STEPS = 2**20
"""Steps of the nominal run after the warm-up; far more than a rate needs to look smooth."""


@keras.saving.register_keras_serializable("tfscale")
class TimedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Follows another schedule, whose steps it deals out over the time that is left.

    Steps of the warm-up stand for themselves. Make it inside `strategy.scope()`.

    Args:
        schedule: a schedule with `warmup_steps`, for `steps` = warmup_steps + `NOMINAL_STEPS`.
        plan: of `get_config`; a new one by default.

    Example:
        schedule = TimedSchedule(
            RegisteredSchedule("linear", 1.0, warmup_steps=0, steps=NOMINAL_STEPS)
        )
        schedule.aim(done=2, left=10)
        schedule(11)    # 0.1, the rate of the last step
    """

    def __init__(self, schedule, plan: Sequence[int] = ()):
        if isinstance(schedule, dict):
            schedule = keras.saving.deserialize_keras_object(schedule)
        self.schedule = schedule
        self.last = schedule.steps - 1
        # A step of number n from `first` on stands for that which is (n - first + 1) / left of the
        # way from `reached` to the last. Without an aim each step stands for itself.
        self._plan = tuple(map(int, plan)) or (0, -1, self.last + 1)
        self._variable = replicated(list(self._plan), tf.int64)

    @property
    def plan(self) -> tuple[int, int, int]:
        """`first`, `reached` and `left`: the whole state, for a checkpoint."""
        first, reached, left = self._plan
        return first, reached, left

    @plan.setter
    def plan(self, plan: Sequence[int]) -> None:
        self._plan = tuple(map(int, plan))
        self._variable.assign(list(self._plan))

    def aim(self, done: int, left: int) -> None:
        """Deals out what is left of the nominal run.

        Args:
            done: updates that the optimizer has made.
            left: updates until the end, 1 or more.
        """
        warmup = self.schedule.warmup_steps
        first = max(done, warmup)
        self.plan = (first, self.nominal(first - 1), max(1, left - (first - done)))

    def nominal(self, step: int) -> int:
        """Returns the step of the nominal run that a step stands for."""
        if step < self.schedule.warmup_steps:
            return step
        first, reached, left = self._plan
        return min(self.last, reached + max(0, step - first + 1) * (self.last - reached) // left)

    def __call__(self, step):
        step = ops.cast(step, "int64")
        first, reached, left = tf.unstack(tf.convert_to_tensor(self._variable))
        # Whole numbers, so that a resumed run computes the very same.
        dealt = reached + ops.maximum(0, step - first + 1) * (self.last - reached) // left
        nominal = ops.minimum(self.last, dealt)
        return self.schedule(ops.where(step < self.schedule.warmup_steps, step, nominal))

    def get_config(self):
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "plan": list(self._plan),
        }
