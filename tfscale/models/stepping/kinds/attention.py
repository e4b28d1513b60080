"""Attention layers of Keras: keys and values of all earlier tokens are kept in a cache.

Shapes: T tokens, S tokens of a call, C context, H query heads, G key-value heads, K width of a key,
W width of a value.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import attention_parts
from tfscale.models.cached import cached_attention, out_of_window, write_cache
from tfscale.models.stepping.layer_step import LayerCall, LayerStep, is_same
from tfscale.registry import register

_HIDDEN = -1e9


@register
class AttentionStep(LayerStep):
    """Attends from the tokens of a step to the cached keys and values, and to their own."""

    name = "attention"
    layers = "`MultiHeadAttention`, `GroupQueryAttention`"
    keeps = "cache"
    condition = (
        "query, value and key are one tensor; `use_causal_mask=True`, or an `attention_mask` that"
        " is the lower triangle; ids that `mask_zero=True` hides do not occur in texts"
    )

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        _check(call)
        self._parts = parts = attention_parts(call.layer)
        self.shapes = {
            "k": (1, context, parts.groups, parts.key_width),
            "v": (1, context, parts.groups, parts.value_width),
        }
        self.ignores_padding = call.arguments.get("value_mask") is not None

    @classmethod
    def classes(cls):
        return keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention

    def step(self, arguments, kept, place, compute):
        # A copy has no mask of padding, which would be that of the tokens of this call alone.
        parts, x = self._parts, tf.identity(arguments["query"])
        query = parts.query(x) * parts.key_width**-0.5
        keys = write_cache(kept["k"], parts.key(x), place.positions)
        values = write_cache(kept["v"], parts.value(x), place.positions)
        mask = place.mask
        if parts.window is not None:
            beyond = out_of_window(place.positions, keys.shape[1], parts.window)
            mask = mask + tf.cast(beyond, tf.float32) * _HIDDEN
        mixed = cached_attention(query, keys, values, mask)
        if parts.gate is not None:
            mixed = mixed * parts.gate(x)
        return parts.output(mixed), {"k": keys, "v": values}


def _check(call: LayerCall) -> None:
    given = call.arguments
    query, value, key = given["query"], given["value"], given.get("key")
    if not is_same(query, value) or not (key is None or is_same(query, key)):
        raise call.refused("attends to another tensor than its query (cross-attention)")
    if len(np.shape(query)) != 3 or getattr(call.layer, "attention_axes", (1,)) != (1,):
        raise call.refused("attends over other axes than that of the tokens")
    if given.get("return_attention_scores"):
        raise call.refused("gives its attention scores too (return_attention_scores=True)")
    masks = [given.get(name) for name in ("query_mask", "value_mask", "key_mask")]
    if any(mask is not None and not is_same(mask, masks[1]) for mask in masks):
        raise call.refused("is given other masks for its query than for its values")
    length = query.shape[1]
    sees = np.ones((1, length, length), bool)
    if given.get("use_causal_mask"):
        sees = np.tril(sees)
    if (mask := given.get("attention_mask")) is not None:
        sees = sees & np.asarray(mask, bool)
    if not (sees == np.tril(np.ones((length, length), bool))).all():
        what = "attention_mask" if mask is not None else "use_causal_mask=False"
        raise call.refused(
            f"does not attend to all earlier tokens, or to later ones ({what}); give"
            " use_causal_mask=True and no attention_mask"
        )
