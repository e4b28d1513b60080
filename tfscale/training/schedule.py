"""Learning rate by optimizer step: a linear warm-up, then half a cosine or a constant."""

import math

import keras
from keras import ops

from tfscale.config import TrainConfig
from tfscale.errors import check_range


@keras.saving.register_keras_serializable("tfscale")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak` over `warmup_steps`, then falls by half a cosine to `final`.

    The first step has peak / (warmup_steps + 1), not 0, so that it is not wasted. With `final ==
    peak` the rate is constant after the warm-up (Loshchilov and Hutter 2017 for the cosine).

    Args:
        peak: the highest learning rate.
        warmup_steps: optimizer steps of the warm-up.
        steps: optimizer steps of the whole run.
        final: learning rate at the last step and after it.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int, final: float):
        self.peak, self.warmup_steps, self.steps, self.final = peak, warmup_steps, steps, final

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup = self.peak * (step + 1) / (self.warmup_steps + 1)
        span = max(1, self.steps - 1 - self.warmup_steps)
        done = ops.clip((step - self.warmup_steps) / span, 0.0, 1.0)
        cosine = self.final + (self.peak - self.final) * 0.5 * (1 + ops.cos(math.pi * done))
        return ops.where(step < self.warmup_steps, warmup, cosine)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "steps": self.steps,
            "final": self.final,
        }


def build_schedule(config: TrainConfig) -> WarmupSchedule:
    """Returns the schedule of a training config.

    Raises:
        ConfigError: the config has no learning rate, which then is the model family's; see
            `TrainConfig.for_model`.
    """
    check_range(config.learning_rate > 0, "learning_rate", config.learning_rate, "more than 0")
    fraction = config.final_learning_rate_fraction if config.schedule == "cosine" else 1.0
    return WarmupSchedule(
        config.learning_rate, config.warmup_steps, config.steps, config.learning_rate * fraction
    )


def warmup_note(config: TrainConfig) -> str | None:
    """Returns what to say of a warm-up that the training ends before; None where it does not."""
    if config.warmup_steps < config.steps:
        return None
    reached = config.learning_rate * config.steps / (config.warmup_steps + 1)
    return (
        f"warning: warmup_steps={config.warmup_steps} is not over within steps={config.steps}: the"
        f" learning rate ends at {reached:.3g} and never is {config.learning_rate:g}; give fewer"
        " --train.warmup_steps"
    )
