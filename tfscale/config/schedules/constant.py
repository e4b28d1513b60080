"""The schedule "constant": the peak from the end of the warm-up on."""

from tfscale.config.schedule import Operations, Schedule, Tensor
from tfscale.registry import register


@register
class Constant(Schedule):
    """The peak at every step after the warm-up."""

    name = "constant"
    summary = "stays at the peak"

    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        return ops.full_like(ops.cast(step, "float32"), peak)

    @property
    def free_steps(self) -> int | None:
        return None
