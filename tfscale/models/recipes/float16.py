"""The recipe "float16": half the bytes, computed in float32."""

from tfscale.models.recipe import Recipe, StoredWeight, WeightFormat
from tfscale.registry import register


@register
class Float16(Recipe):
    """Matrices and tables in float16; vectors stay float32."""

    name = "float16"
    words = "float16 (computed in float32)"
    converted_as = "float16"
    # Weights rounded to 11 bits: perplexity moves by 1e-5 to 1e-4.
    perplexity_change = 1e-3
    advice = "; try quantize=none"

    def format_of(self, weight: StoredWeight) -> WeightFormat:
        return WeightFormat(bits=32 if weight.is_vector else 16)
