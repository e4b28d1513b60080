"""`Schedule`: the course of the learning rate over a training, and what follows from it.

What `TrainConfig` refuses, what `--help` says, whether a run can go on longer, and which checkpoint
is kept for that are all asked of the schedule. The files of `tfscale/config/schedules/` need no
Keras until a rate is computed, so that options are checked without it.
"""

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from tfscale.registry import SCHEDULES

SCHEDULE_OPTIONS = ("final_learning_rate_fraction", "decay_fraction", "decay_steps")
"""The options of `TrainConfig` that some schedules read and others do not."""
Tensor = Any
"""A tensor of TensorFlow, which this module does not import."""
Operations = Any
"""The module `keras.ops`, likewise."""


class Schedule(abc.ABC):
    """The learning rate after the warm-up; subclasses are registered by `tfscale.register`.

    The warm-up is the same for all: the rate rises linearly to its peak over `warmup_steps` steps.

    Args:
        steps: optimizer steps of the whole run.
        warmup_steps: steps of the warm-up.
        options: value of each option in `takes`; without a value where its default is None.

    Attributes:
        name: as in `--train.schedule`.
        summary: what the rate does, for `--help`.
        takes: options of `TrainConfig` that it reads besides the learning rate and the warm-up,
            with their defaults. Any other one of `SCHEDULE_OPTIONS` is refused.

    Example:
        @tfscale.register
        class Halves(tfscale.Schedule):
            name, summary = "halves", "the peak, then half of it"

            def after_warmup(self, step, peak, ops):
                return ops.where(step < self.steps // 2, peak, peak / 2)
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    takes: ClassVar[Mapping[str, float | None]] = MappingProxyType({})

    def __init__(self, steps: int, warmup_steps: int, options: Mapping[str, float]):
        self.steps, self.warmup_steps, self.options = steps, warmup_steps, options

    @abc.abstractmethod
    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        """Returns the learning rate of a step.

        Args:
            step: number of the step from 0, an int64 scalar. Values below `warmup_steps` may come,
                whose results are not used.
            peak: the highest learning rate.
            ops: `keras.ops`.
        """

    @property
    def free_steps(self) -> int | None:
        """First steps whose rates would be the same in a longer run; None for all of them.

        A run goes on longer from a checkpoint among them. 0 is for a schedule whose every step
        depends on the number of steps.
        """
        return 0

    @classmethod
    def completed(cls, given: Mapping[str, float | None]) -> dict[str, float]:
        """Returns the options of `takes` with their defaults where no value was given."""
        values = {
            name: default if given.get(name) is None else given[name]
            for name, default in cls.takes.items()
        }
        return {name: value for name, value in values.items() if value is not None}

    def fraction(self, ops: Operations, step: Tensor, first: int, last: int) -> Tensor:
        """Returns how far a step is on the way from one step to another, from 0 to 1, in float32.

        The difference is one of whole numbers: float32 alone cannot tell steps above 2**24 apart.
        """
        return ops.clip(ops.cast(step - first, "float32") / max(1, last - first), 0.0, 1.0)

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the schedule by its name; see `tfscale.register`."""
        SCHEDULES.add(cls.name, cls)


def takers(option: str) -> list[str]:
    """Returns the names of the schedules that read an option."""
    return [name for name in SCHEDULES.names() if option in SCHEDULES.get(name).takes]


def longer_ones() -> list[str]:
    """Returns the names of tfscale's and other schedules by which a run can go on longer."""
    return [name for name in SCHEDULES.names() if _example(name).free_steps != 0]


def _example(name: str) -> Schedule:
    """Returns the schedule of a name for a run of some length."""
    kind: type[Schedule] = SCHEDULES.get(name)
    return kind(1000, 0, kind.completed({}))
