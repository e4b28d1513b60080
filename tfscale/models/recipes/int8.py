"""The recipe "int8": a scale for each output of a matrix and each row of a table."""

from tfscale.models.recipe import Recipe, StoredWeight, WeightFormat
from tfscale.registry import register


@register
class Int8(Recipe):
    """Matrices and tables in int8, computed in int8 where the runtime can."""

    name = "int8"
    words = "int8 (matrix products computed in int8)"
    rounds = True
    perplexity_change = 1e-2
    advice = "; try quantize=float16"
    worth = 1.0
    prunable = True
    # Codes of trained weights have 7 of 8 bits of entropy.
    packed = 0.89

    def format_of(self, weight: StoredWeight) -> WeightFormat:
        axes = weight.summed_axes
        if axes is None:
            return WeightFormat(bits=32)
        if len(axes) > 1 or len(weight.shape) > 2:
            return WeightFormat(bits=8, axis=axes)
        if weight.fused_gates:
            return WeightFormat(bits=8, axis=(0, 1), gates=weight.fused_gates)
        return WeightFormat(bits=8, axis=axes[0])
