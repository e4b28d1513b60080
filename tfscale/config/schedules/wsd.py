"""The schedule "wsd": warm-up, a stable part at the peak, and a decay at the end."""

from collections.abc import Mapping

from tfscale.config.schedule import Operations, Schedule, Tensor
from tfscale.registry import register


@register
class WarmupStableDecay(Schedule):
    """The peak, and in the last steps a decay by 1 - sqrt (WSD; Hu et al. 2024, MiniCPM).

    Hägele et al. 2024 compare decays: over the last 20 % of the steps, 1 - sqrt(t) with t from 0 to
    1 ends lower than a straight line, and as low as a cosine of the same length. A longer run has
    the same stable part, so it goes on from the checkpoint before the decay.
    """

    name = "wsd"
    summary = "stays at the peak, then falls by 1 - sqrt over the last steps"
    takes = {"final_learning_rate_fraction": 0.0, "decay_fraction": 0.2, "decay_steps": None}

    @classmethod
    def completed(cls, given: Mapping[str, float | None]) -> dict[str, float]:
        values = super().completed(given)
        if "decay_steps" in values:
            del values["decay_fraction"]
        return values

    def after_warmup(self, step: Tensor, peak: float, ops: Operations) -> Tensor:
        # The first step of the decay is already below the peak; the last step has the final rate.
        done = self.fraction(ops, step, self._decay_start - 1, self.steps - 1)
        final = peak * self.options["final_learning_rate_fraction"]
        return peak - (peak - final) * ops.sqrt(done)

    @property
    def free_steps(self) -> int | None:
        return self._decay_start

    @property
    def decay_length(self) -> int:
        """Steps of the decay that were asked for."""
        if "decay_steps" in self.options:
            return int(self.options["decay_steps"])
        return max(1, round(self.options["decay_fraction"] * self.steps))

    @property
    def _decay_start(self) -> int:
        # A decay that is too long for the run begins right after the warm-up.
        return max(min(self.warmup_steps, self.steps - 1), self.steps - self.decay_length)
