"""Llama 2 (Touvron et al. 2023), Llama 3 to 3.2 (Grattafiori et al. 2024), and models of its
shape."""

from keras.layers import Layer

from tfscale.compat import keras_hub as hub
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import HubReader, read_attention, read_gated
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Llama(HubReader):
    """Reads `LlamaBackbone`; that of Llama 3 is one."""

    name = "llama"
    summary = "Llama 2 to 3.2 and SmolLM2"
    backbones = ("LlamaBackbone",)

    def options(self) -> JsonObject:
        backbone = self.backbone
        return {
            "hidden_dim": backbone.hidden_dim,
            "num_layers": backbone.num_layers,
            "num_heads": backbone.num_query_heads,
            "num_kv_heads": backbone.num_key_value_heads,
            "feed_forward_dim": backbone.intermediate_dim,
            "positions": "rope",
            "normalization": "rms",
            "activation": "swiglu",
            "rope_base": float(backbone.rope_max_wavelength),
            "norm_epsilon": backbone.layer_norm_epsilon,
            "dropout": backbone.dropout,
            "tie_embeddings": backbone.token_embedding.tie_weights,
            **self.rope_scaling(),
        }

    def rope_scaling(self) -> JsonObject:
        """Returns the options of stretched positions.

        Raises:
            ConfigError: they are stretched linearly.
        """
        backbone = self.backbone
        if backbone.rope_position_scaling_factor != 1:
            raise ConfigError(
                "the model has rope_position_scaling_factor="
                f"{backbone.rope_position_scaling_factor:g}, which keras-hub's Llama does not apply"
                " (0.32), so that no copy could be compared with what it was trained as"
            )
        if backbone.rope_frequency_adjustment_factor is None:
            return {}
        return {
            "rope_scaling": "llama3",
            "rope_factor": float(backbone.rope_frequency_adjustment_factor),
            "rope_low_frequency_factor": float(backbone.rope_low_freq_factor),
            "rope_high_frequency_factor": float(backbone.rope_high_freq_factor),
            "rope_original_length": backbone.rope_pretraining_sequence_length,
        }

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        theirs = hub.llama_layers(layer)
        read_attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
        self.read_norm(block.attention_norm, theirs.attention_norm)
        self.read_norm(block.feed_forward_norm, theirs.feed_forward_norm)
        read_gated(block, theirs.gate, theirs.expand, theirs.contract)
