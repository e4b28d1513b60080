"""Gemma 3 (Kamath et al. 2025), without pictures: Gemma 2's parts, norms of queries and keys, and
two bases of rotary positions."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject, JsonValue
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import Allowed, parts_of, scaling_of
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.hub_writer import every_nth, rope_parameters
from tfscale.models.hub_writers.gemma2 import Gemma2
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


def _positions(fields: HubFields, windowed: bool) -> JsonObject:
    """Returns the options of rotary positions, those of layers with a window among them."""
    both = fields.inner("rope_parameters")
    if fields.get("rope_parameters") and both.get(FULL) is None and both.get(SLIDING) is None:
        fields.expect("rope_parameters", ({FULL: {}, SLIDING: {}},), None)
    everywhere = {"rope_theta": fields.get("rope_theta", 1_000_000.0), **both.inner(FULL).content}
    everywhere |= fields.inner("rope_scaling").content
    options = both.of({"rope_parameters": everywhere}).rope(1_000_000.0)
    if not windowed:
        return options
    local = fields.get("rope_local_base_freq", 10_000.0)
    near = {"rope_theta": local, **both.inner(SLIDING).content}
    windows = both.of({"rope_parameters": near}).rope(10_000.0)
    if windows == options and "rope_scaling" in options:
        return options
    if "rope_scaling" in windows:
        both.expect(SLIDING, ({"rope_theta": local, "rope_type": "default"},), None)
    return {**options, "local_rope_base": windows["rope_base"]}


@register
class Gemma3(Gemma2):
    """Writes `Gemma3ForCausalLM`; reads that part of `Gemma3ForConditionalGeneration` too."""

    name = "gemma3_text"
    summary = "Gemma 3 (text)"
    architecture = "Gemma3ForCausalLM"
    divided = True
    inside = "gemma3"
    # Those of transformers' Gemma3TextConfig: the published files of 4 B and more leave them out.
    omitted: ClassVar[Mapping[str, JsonValue]] = MappingProxyType(
        {
            "vocab_size": 262_208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131_072,
        }
    )
    parts: ClassVar[Mapping[str, Allowed]] = {
        **Gemma2.parts,
        "query_key_norm": (True,),
        "local_rope_base": None,
        # transformers 5 reads the entry of Gemma 2 and leaves scores as they are.
        "attention_soft_cap": (0,),
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        bases = (config.rope_base, config.local_rope_base)
        return (
            # Constants of keras-hub.
            bases == (1_000_000, 10_000)
            # That of its norms of queries and keys.
            and config.norm_epsilon == 1e-6
            and config.global_every == 6
            and scaling_of(config) != "llama3"
            and config.tie_embeddings
            and not parts_of(config)["query_scale_dim"]
        )

    def options(self, fields: HubFields) -> JsonObject:
        fields.expect("attn_logit_softcapping", (None,), None)
        layers = fields.whole("num_hidden_layers")
        pattern = fields.whole("sliding_window_pattern", fields.get("_sliding_window_pattern") or 6)
        kinds = fields.layer_kinds(layers, every_nth(pattern, layers))
        windows = fields.windows(kinds, fields.whole("sliding_window", 4096))
        return {
            **self.gemma2_sizes(fields),
            "query_key_norm": True,
            "logit_soft_cap": fields.cap("final_logit_softcapping"),
            **windows,
            **_positions(fields, windowed=bool(windows["attention_window"])),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        described = super().describe(config)
        everywhere = rope_parameters(config)
        local = config.local_rope_base
        windowed = {"rope_theta": local, "rope_type": "default"} if local else everywhere
        if windowed["rope_type"] == "default":
            described["rope_local_base_freq"] = windowed["rope_theta"]
        else:
            # Versions before transformers 5 scale layers without a window alone: let them fail.
            del described["rope_scaling"]
        return {
            **described,
            "rope_parameters": {FULL: everywhere, SLIDING: windowed},
            "sliding_window_pattern": config.global_every or config.num_layers + 1,
            "use_bidirectional_attention": False,
        }

    def norm_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        yield from super().norm_tensors(block)
        yield from self.query_key_norms(block)
