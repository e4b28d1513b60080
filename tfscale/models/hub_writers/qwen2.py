"""Qwen 2 and 2.5 (Yang et al. 2024): Llama's parts, and biases of queries, keys and values."""

from collections.abc import Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, parts_of, scaling_of
from tfscale.models.hub_writer import HubWriter, layer_kinds
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register
from tfscale.text.tokenizers.word_patterns import QWEN


def window_entries(config: TransformerConfig) -> JsonObject:
    """Returns the entries of a window of the layers that have one."""
    window = parts_of(config)["attention_window"]
    if not window:
        return {"use_sliding_window": False, "sliding_window": None}
    # For versions that do not read `layer_types`, where all layers have it.
    earlier = {} if config.global_every else {"max_window_layers": 0}
    return {
        "use_sliding_window": True,
        "sliding_window": window,
        **earlier,
        "layer_types": layer_kinds(config),
    }


def windows_in(fields: HubFields) -> JsonObject:
    """Returns the options of the windows that `window_entries` describes."""
    window = fields.window(4096) if fields.flag("use_sliding_window") else 0
    layers = fields.whole("num_hidden_layers")
    first = fields.get("max_window_layers", 28)
    if type(first) is not int:
        fields.whole("max_window_layers")
    kinds = [SLIDING if window and layer >= first else FULL for layer in range(layers)]
    return fields.windows(fields.layer_kinds(layers, kinds), window)


@register
class Qwen2(HubWriter):
    """Writes `Qwen2ForCausalLM`."""

    name = "qwen2"
    summary = "Qwen 2 and 2.5"
    architecture = "Qwen2ForCausalLM"
    words = QWEN
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "query_key_value_bias": (True,),
        "attention_window": None,
        "global_every": None,
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        parts = parts_of(config)
        unread = parts["attention_window"] or parts["head_dim"]
        return not unread and scaling_of(config) != "llama3"

    def options(self, fields: HubFields) -> JsonObject:
        return {**super().options(fields), "query_key_value_bias": True, **windows_in(fields)}

    def describe(self, config: TransformerConfig) -> JsonObject:
        return {**super().describe(config), **window_entries(config)}

    def output_bias(self, block: TransformerBlock) -> bool:
        return False
