"""The recipe "int4": matrices in blocks of weights that share a scale."""

import math

from tfscale.models.recipe import StoredWeight, WeightFormat, block_of
from tfscale.models.recipes.int8 import Int8
from tfscale.registry import register


@register
class Int4(Int8):
    """Matrices in int4, in blocks of 64 or 32 weights; tables, and what has no blocks, in int8."""

    name = "int4"
    words = "int4 in blocks, embedding tables int8"
    blocks_in = {"FULLY_CONNECTED": "matrix/"}
    # The rounded weights cost perplexity: 0.3 to 1 % without fine-tuning for them, 0.6 % (fresh).
    perplexity_change = 0.05
    advice = "; fine-tune for it (tfscale compress --quantize), or try quantize=int8"
    # Trained for it, int4 loses far less than its bits.
    worth = 0.98
    tunable = True
    prunable = False
    packed = 0.97
    tables_in_blocks = False

    def format_of(self, weight: StoredWeight) -> WeightFormat:
        in_int8 = super().format_of(weight)
        axes = weight.summed_axes
        if axes is None or in_int8.bits != 8 or in_int8.gates or weight.convolved:
            return in_int8
        block = block_of(math.prod(weight.shape[axis] for axis in axes))
        if not block or (weight.is_table and not self.tables_in_blocks):
            return in_int8
        return WeightFormat(bits=4, axis=in_int8.axis, block=block)
