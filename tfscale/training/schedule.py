"""Learning rate by optimizer step, as a schedule of Keras."""

from collections.abc import Mapping

import keras
from keras import ops

from tfscale.config import TrainConfig
from tfscale.config.schedule import Schedule
from tfscale.errors import check_range
from tfscale.registry import SCHEDULES
from tfscale.training.timed_schedule import NOMINAL_STEPS, TimedSchedule


@keras.saving.register_keras_serializable("tfscale")
class RegisteredSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `warmup_steps`, then follows a registered schedule.

    The first step has peak / (warmup_steps + 1), not 0, so that it is not wasted. Steps are counted
    in whole numbers, so the rates of step 2**24 and the one after it differ.

    Args:
        schedule: name of the schedule, such as "cosine".
        peak: the highest learning rate.
        warmup_steps: optimizer steps of the warm-up.
        steps: optimizer steps of the whole run.
        options: what the schedule reads besides; see `Schedule.takes`.

    Example:
        RegisteredSchedule("constant", peak=0.5, warmup_steps=1, steps=9)(0)    # 0.25
    """

    def __init__(
        self,
        schedule: str,
        peak: float,
        warmup_steps: int,
        steps: int,
        options: Mapping[str, float] | None = None,
    ):
        kind: type[Schedule] = SCHEDULES.get(schedule)
        self.peak, self.warmup_steps, self.steps = peak, warmup_steps, steps
        self.schedule = kind(steps, warmup_steps, kind.completed(options or {}))

    def __call__(self, step):
        step = ops.cast(step, "int64")
        warmup = self.peak * ops.cast(step + 1, "float32") / (self.warmup_steps + 1)
        after = self.schedule.after_warmup(step, self.peak, ops)
        return ops.where(step < self.warmup_steps, warmup, after)

    def get_config(self):
        return {
            "schedule": self.schedule.name,
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
            "options": dict(self.schedule.options),
        }


@keras.saving.register_keras_serializable("tfscale")
class WarmupSchedule(RegisteredSchedule):
    """Stands in files of earlier versions, which had a cosine down to `final` alone.

    Args:
        peak: the highest learning rate.
        warmup_steps: optimizer steps of the warm-up.
        steps: optimizer steps of the whole run.
        final: learning rate at the last step and after it.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int, final: float):
        fraction = {"final_learning_rate_fraction": final / peak}
        super().__init__("cosine", peak, warmup_steps, steps, fraction)
        self.final = final

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
            "final": self.final,
        }


def build_schedule(config: TrainConfig) -> RegisteredSchedule | TimedSchedule:
    """Returns the schedule of a training config; one that follows the clock for minutes.

    Raises:
        ConfigError: the config has no learning rate, which then is the model family's (see
            `TrainConfig.for_model`), or its length is in epochs.
    """
    check_range(config.learning_rate > 0, "learning_rate", config.learning_rate, "more than 0")
    timed = config.minutes is not None
    steps = config.warmup_steps + NOMINAL_STEPS if timed else config.total_steps
    chosen = config.chosen_schedule(steps)
    schedule = RegisteredSchedule(
        config.schedule, config.learning_rate, config.warmup_steps, steps, chosen.options
    )
    # Rates that do not depend on the end of the run need no clock.
    return TimedSchedule(schedule) if timed and chosen.free_steps is not None else schedule


def length_notes(config: TrainConfig, steps: int) -> list[str]:
    """Returns what to say of a warm-up or a decay that does not fit into the steps of a run."""
    notes = []
    if config.warmup_steps >= steps:
        reached = config.learning_rate * steps / (config.warmup_steps + 1)
        notes.append(
            f"warning: warmup_steps={config.warmup_steps} is not over within steps={steps}: the"
            f" learning rate ends at {reached:.3g} and never is {config.learning_rate:g}; give"
            " fewer --train.warmup_steps"
        )
    elif config.decay_steps is not None and config.decay_steps > steps - config.warmup_steps:
        notes.append(
            f"warning: decay_steps={config.decay_steps} and warmup_steps={config.warmup_steps} are"
            f" more than steps={steps}: the learning rate comes down right after the warm-up, in"
            f" {steps - config.warmup_steps} steps; give fewer --train.decay_steps"
        )
    return notes
