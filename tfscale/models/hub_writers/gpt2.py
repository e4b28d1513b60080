"""GPT-2 (Radford et al. 2019)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import keras

from tfscale.config import TransformerConfig
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_fields import HubFields
from tfscale.models.hub_parts import LLAMA_PARTS, Allowed
from tfscale.models.hub_tensor import HubTensor, bias, table, turned, vector, zeros
from tfscale.models.hub_writer import HubWriter
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM
from tfscale.registry import register

_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu_squared": "relu2"}
_COMPUTED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
"""Entries that have one value here."""


@register
class GPT2(HubWriter):
    """Writes `GPT2LMHeadModel`; biases that the network does not have are zeros."""

    name = "gpt2"
    summary = "GPT-2"
    architecture = "GPT2LMHeadModel"
    tied = True
    # Masks, which older files hold.
    unread = r"\.attn\.(masked_)?bias$"
    parts: ClassVar[Mapping[str, Allowed]] = {
        **LLAMA_PARTS,
        "positions": ("learned",),
        "normalization": ("layer",),
        "activation": tuple(_ACTIVATIONS),
        "use_bias": (True, False),
        "query_key_value_bias": (True, False),
        "num_kv_heads": (0,),
    }

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        return (
            config.activation == "gelu_tanh"
            and config.feed_forward_width == 4 * config.hidden_dim
            and config.norm_epsilon == 1e-5
            and config.tie_embeddings
        )

    def options(self, fields: HubFields) -> JsonObject:
        for name, computed in _COMPUTED.items():
            fields.expect(name, (computed,), computed)
        names = {theirs: ours for ours, theirs in _ACTIVATIONS.items()}
        # Another name of the first one.
        names["gelu_pytorch_tanh"] = "gelu_tanh"
        fields.expect("activation_function", names, "gelu_new")
        width = fields.whole("n_embd")
        dropout = fields.get("resid_pdrop", 0.1)
        return {
            "hidden_dim": width,
            "num_layers": fields.whole("n_layer"),
            "num_heads": fields.whole("n_head"),
            "feed_forward_dim": fields.whole("n_inner", 4 * width),
            "dropout": fields.number("resid_pdrop", 0.1) if dropout else 0.0,
            "use_bias": True,
            "activation": names[fields.get("activation_function", "gelu_new")],
            "norm_epsilon": fields.number("layer_norm_epsilon", 1e-5),
            "tie_embeddings": fields.flag("tie_word_embeddings", self.tied),
        }

    def describe(self, config: TransformerConfig) -> JsonObject:
        return {
            "architectures": [self.architecture],
            "model_type": self.name,
            "vocab_size": config.vocabulary_size,
            "n_positions": config.sequence_length,
            "n_ctx": config.sequence_length,
            "n_embd": config.hidden_dim,
            "n_layer": config.num_layers,
            "n_head": config.num_heads,
            "n_inner": config.feed_forward_width,
            "activation_function": _ACTIVATIONS[config.activation],
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "layer_norm_epsilon": config.norm_epsilon,
            "initializer_range": 0.02,
            "tie_word_embeddings": config.tie_embeddings,
            "use_cache": True,
        }

    def tensors(self, network: TransformerLM) -> Iterator[HubTensor]:
        embedding, positions = network.token_embedding, network.position_embedding
        assert positions is not None
        yield table("transformer.wte.weight", embedding.embeddings)
        yield table("transformer.wpe.weight", positions.embeddings)
        for index, block in enumerate(network.blocks):
            for tensor in self.block_tensors(block):
                yield tensor.inside(f"transformer.h.{index}")
        yield from _norm("transformer.ln_f", network.final_norm)
        if not network.config.tie_embeddings:
            yield turned("lm_head.weight", embedding.reverse_embeddings)

    def block_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        # Its matrices are (D, F), as those of Keras.
        for name, layer in (
            ("attn.c_attn", block.attention.query_key_value),
            ("attn.c_proj", block.attention.output_projection),
            ("mlp.c_fc", block.expand),
            ("mlp.c_proj", block.contract),
        ):
            yield table(f"{name}.weight", layer.kernel)
            yield bias(f"{name}.bias", layer)
        yield from _norm("ln_1", block.attention_norm)
        yield from _norm("ln_2", block.feed_forward_norm)


def _norm(name: str, norm: keras.layers.Layer) -> Iterator[HubTensor]:
    yield vector(f"{name}.weight", norm.gamma)
    count = norm.gamma.shape[0]
    yield zeros(f"{name}.bias", count) if norm.beta is None else vector(f"{name}.bias", norm.beta)
