"""tfscale's own attention layer, which has a cached form.

Shapes: C context, G key-value heads, K width of a head.
"""

from tfscale.models.attention import CausalSelfAttention
from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class CausalSelfAttentionStep(LayerStep):
    """Calls the layer's own `cached`."""

    name = "causal_self_attention"
    layers = "`tfscale.models.attention.CausalSelfAttention`"
    keeps = "cache"
    condition = "`causal=True`, called without `visible`"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        layer = call.layer
        if not layer.causal or call.arguments.get("visible") is not None:
            raise call.refused("attends to later tokens (causal=False, or visible)")
        shape = 1, context, layer.num_kv_heads, layer.head_dim
        self.shapes = {"k": shape, "v": shape}

    @classmethod
    def classes(cls):
        return (CausalSelfAttention,)

    def step(self, arguments, kept, place, compute):
        output, keys, values = self.layer.cached(
            arguments["inputs"], kept["k"], kept["v"], place.positions, place.mask
        )
        return output, {"k": keys, "v": values}
