"""The schedule "inverse_sqrt": the peak, falling with the square root of the step."""

from tfscale.config.schedule import Operations, Schedule, Tensor
from tfscale.registry import register


@register
class InverseSqrt(Schedule):
    """The rate of Vaswani et al. 2017, scaled so that its peak is the learning rate.

    With w the step of the peak and s the number of a step, both from 1, it is peak x sqrt(w / s).
    """

    name = "inverse_sqrt"
    summary = "falls with the square root of the step, whatever the number of steps"

    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        return peak * ops.sqrt((self.warmup_steps + 1) / ops.cast(step + 1, "float32"))

    @property
    def free_steps(self) -> int | None:
        return None
