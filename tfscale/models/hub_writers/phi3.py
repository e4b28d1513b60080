"""Phi 3 (Abdin et al. 2024) and Phi 4: Llama's parts, of which rotary positions may turn some."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import LLAMA_PARTS, Allowed, parts_of
from tfscale.models.hub_tensor import HubTensor, turned
from tfscale.models.hub_writer import HubWriter
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Phi3(HubWriter):
    """Writes `Phi3ForCausalLM`, whose matrices stand side by side as here."""

    name = "phi3"
    summary = "Phi 3 and 4"
    architecture = "Phi3ForCausalLM"
    grouped = False
    epsilon = 1e-5
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "rope_fraction": None,
        "attention_window": None,
        "head_dim": None,
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        # keras-hub 0.32 has no reader of such folders.
        return False

    def options(self, fields: HubFields) -> JsonObject:
        fields.expect("hidden_act", ("silu",), "silu")
        window = fields.window()
        kinds = [SLIDING if window else FULL] * fields.whole("num_hidden_layers")
        return {
            **self.sizes(fields),
            **fields.rope(self.base, fraction=True),
            **fields.windows(kinds, window),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        described = super().describe(config)
        share = {"partial_rotary_factor": config.rope_fraction}
        return {
            **described,
            **share,
            "rope_parameters": described["rope_parameters"] | share,
            "original_max_position_embeddings": config.sequence_length,
            "sliding_window": parts_of(config)["attention_window"] or None,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
        }

    def attention_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        yield turned("self_attn.qkv_proj.weight", block.attention.query_key_value.kernel)
        yield turned("self_attn.o_proj.weight", block.attention.output_projection.kernel)

    def feed_forward_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        yield turned("mlp.gate_up_proj.weight", block.expand.kernel)
        yield turned("mlp.down_proj.weight", block.contract.kernel)
