"""SmolLM3 (Bakouch et al. 2025): Llama's parts, and layers without positions."""

from keras.layers import Layer

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import HubReader, read_attention, read_gated
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class SmolLM3(HubReader):
    """Reads `SmolLM3Backbone`."""

    name = "smollm3"
    summary = "SmolLM3"
    backbones = ("SmolLM3Backbone",)

    @property
    def final_norm(self) -> Layer:
        return self.backbone.norm

    def options(self) -> JsonObject:
        backbone = self.backbone
        if backbone.mlp_bias:
            raise ConfigError("the model has mlp_bias=True; feed-forward biases are not taken")
        if backbone.partial_rotary_factor != 1:
            raise ConfigError(
                f"the model has partial_rotary_factor={backbone.partial_rotary_factor:g}, with"
                " which keras-hub's SmolLM3 does not compute (0.32)"
            )
        return {
            "hidden_dim": backbone.hidden_dim,
            "num_layers": backbone.num_layers,
            "num_heads": backbone.num_attention_heads,
            "num_kv_heads": backbone.num_key_value_heads,
            "feed_forward_dim": backbone.intermediate_dim,
            "positions": "rope",
            "normalization": "rms",
            "activation": "swiglu",
            "rope_base": float(backbone.rope_theta),
            "norm_epsilon": backbone.layer_norm_epsilon,
            "tie_embeddings": backbone.token_embedding.tie_weights,
            "query_key_value_bias": backbone.attention_bias,
            "no_rope_every": self._no_rope_every(),
        }

    def _no_rope_every(self) -> int:
        """Returns n where every n-th layer has no positions, and 0 where all have them."""
        layers = range(1, self.backbone.num_layers + 1)
        enabled = [layer.self_attn.use_rope for layer in self.backbone.transformer_layers]
        for every in (0, *layers[1:]):
            if enabled == [not every or layer % every > 0 for layer in layers]:
                return every
        without = [number for number, has in zip(layers, enabled, strict=True) if not has]
        raise ConfigError(
            f"the model has no positions in layers {', '.join(map(str, without))} (counted from 1);"
            " every n-th layer without them is taken"
        )

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        query_key_value = attention.q_proj, attention.k_proj, attention.v_proj
        read_attention(block, query_key_value, attention.o_proj)
        self.read_norm(block.attention_norm, layer.input_layernorm)
        self.read_norm(block.feed_forward_norm, layer.post_attention_layernorm)
        read_gated(block, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
