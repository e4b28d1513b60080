"""The schedule "cosine": half a cosine from the peak to a fraction of it."""

import math

from tfscale.config.schedule import Operations, Schedule, Tensor
from tfscale.registry import register


@register
class Cosine(Schedule):
    """Half a cosine that ends at the last step (Loshchilov and Hutter 2017)."""

    name = "cosine"
    summary = "half a cosine down to the last step"
    takes = {"final_learning_rate_fraction": 0.1}

    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        final = peak * self.options["final_learning_rate_fraction"]
        done = self.fraction(ops, step, self.warmup_steps, self.steps - 1)
        return final + (peak - final) * 0.5 * (1 + ops.cos(math.pi * done))
