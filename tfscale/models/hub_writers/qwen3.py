"""Qwen 3 (Yang et al. 2025): Llama's parts, norms of queries and keys, and heads of any width."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import HubFields
from tfscale.models.hub_parts import ANY_SCALING, LLAMA_PARTS, Allowed, scaling_of
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.hub_writer import HubWriter
from tfscale.models.hub_writers.qwen2 import window_entries, windows_in
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Qwen3(HubWriter):
    """Writes `Qwen3ForCausalLM`; with biases of queries, keys and values, that of the output is
    zeros."""

    name = "qwen3"
    summary = "Qwen 3"
    architecture = "Qwen3ForCausalLM"
    sized = True
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_scaling": ANY_SCALING,
        "query_key_norm": (True,),
        "query_key_value_bias": (False, True),
        "attention_window": None,
        "global_every": None,
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        return (
            not config.query_key_value_bias
            and not config.global_every
            and scaling_of(config) != "llama3"
            # Its norms of queries and keys always have this one.
            and config.norm_epsilon == 1e-5
        )

    def options(self, fields: HubFields) -> JsonObject:
        return {
            **super().options(fields),
            "query_key_norm": True,
            "query_key_value_bias": fields.flag("attention_bias"),
            **windows_in(fields),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        return {
            **super().describe(config),
            "attention_bias": config.query_key_value_bias,
            **window_entries(config),
        }

    def norm_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        yield from super().norm_tensors(block)
        yield from self.query_key_norms(block)
