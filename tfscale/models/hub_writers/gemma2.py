"""Gemma 2 (Riviere et al. 2024): Gemma's parts, norms after both layers of a block, soft caps, and
windows."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import HubFields
from tfscale.models.hub_parts import Allowed, parts_of
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.hub_writer import every_nth, layer_kinds
from tfscale.models.hub_writers.gemma import GEMMA_PARTS, Gemma
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Gemma2(Gemma):
    """Writes `Gemma2ForCausalLM`."""

    name = "gemma2"
    summary = "Gemma 2"
    architecture = "Gemma2ForCausalLM"
    divided = True
    parts: ClassVar[Mapping[str, Allowed]] = {
        **GEMMA_PARTS,
        "sandwich_norm": (True,),
        "attention_soft_cap": None,
        "logit_soft_cap": None,
        "attention_window": None,
        "global_every": None,
        "query_scale_dim": None,
    }

    @classmethod
    def obstacles(cls, config: TransformerConfig) -> list[str]:
        found = super().obstacles(config)
        if config.hidden_dim % config.num_heads:
            found.append(
                f"hidden_dim={config.hidden_dim} (it has multiples of num_heads={config.num_heads})"
            )
        return found

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        parts = parts_of(config)
        windows = parts["attention_window"] and config.global_every == 2
        return super().reads_back(config) and bool(windows) and not parts["query_scale_dim"]

    def options(self, fields: HubFields) -> JsonObject:
        layers = fields.whole("num_hidden_layers")
        return {
            **self.gemma2_sizes(fields),
            **fields.rope(self.base),
            "attention_soft_cap": fields.cap("attn_logit_softcapping", 50.0),
            "logit_soft_cap": fields.cap("final_logit_softcapping", 30.0),
            **fields.windows(
                fields.layer_kinds(layers, every_nth(2, layers)),
                fields.whole("sliding_window", 4096),
            ),
        }

    def gemma2_sizes(self, fields: HubFields) -> JsonObject:
        """Returns the options that Gemma 2 and 3 have but for positions, windows and caps."""
        tanh = "gelu_pytorch_tanh"
        fields.expect("hidden_activation", (tanh,), tanh)
        return {
            **self.gemma_sizes(fields),
            "sandwich_norm": True,
            "query_scale_dim": fields.whole("query_pre_attn_scalar", 256),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        return {
            **super().describe(config),
            "query_pre_attn_scalar": config.query_scale_dim or config.head_width,
            "attn_logit_softcapping": config.attention_soft_cap or None,
            "final_logit_softcapping": config.logit_soft_cap or None,
            "sliding_window": config.attention_window or config.sequence_length,
            "layer_types": layer_kinds(config),
        }

    def norm_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        yield self.scale("input_layernorm.weight", block.attention_norm)
        yield self.scale("post_attention_layernorm.weight", block.attention_output_norm)
        yield self.scale("pre_feedforward_layernorm.weight", block.feed_forward_norm)
        yield self.scale("post_feedforward_layernorm.weight", block.feed_forward_output_norm)
