"""The recipe "none": weights as they are trained."""

from tfscale.models.recipe import Recipe, StoredWeight, WeightFormat
from tfscale.registry import register


@register
class Float32(Recipe):
    """float32 weights."""

    name = "none"
    words = "float32"
    # The same float32 arithmetic in another order.
    perplexity_change = 1e-4

    def format_of(self, weight: StoredWeight) -> WeightFormat:
        return WeightFormat(bits=32)
