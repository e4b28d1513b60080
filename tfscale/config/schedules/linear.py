"""The schedule "linear": a straight line from the peak to a fraction of it."""

from tfscale.config.schedule import Operations, Schedule, Tensor
from tfscale.registry import register


@register
class Linear(Schedule):
    """A straight line that ends at the last step."""

    name = "linear"
    summary = "a straight line down to the last step"
    takes = {"final_learning_rate_fraction": 0.1}

    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        final = peak * self.options["final_learning_rate_fraction"]
        return peak - (peak - final) * self.fraction(ops, step, self.warmup_steps, self.steps - 1)
