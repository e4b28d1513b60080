"""Gemma (Mesnard et al. 2024) and Gemma 2 (Riviere et al. 2024)."""

import numpy as np
from keras.layers import Layer

from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import HubReader, read_gated, read_kernels
from tfscale.models.layers import TransformerBlock
from tfscale.registry import register


@register
class Gemma(HubReader):
    """Reads `GemmaBackbone`, which is both."""

    name = "gemma"
    summary = "Gemma 1 and 2"
    backbones = ("GemmaBackbone",)
    scale_offset = 1.0

    def options(self) -> JsonObject:
        backbone = self.backbone
        window = backbone.sliding_window_size if backbone.use_sliding_window_attention else 0
        return {
            "hidden_dim": backbone.hidden_dim,
            "num_layers": backbone.num_layers,
            "num_heads": backbone.num_query_heads,
            "num_kv_heads": backbone.num_key_value_heads,
            "head_dim": backbone.head_dim,
            "feed_forward_dim": backbone.intermediate_dim // 2,
            "positions": "rope",
            "normalization": "rms",
            "activation": "geglu",
            "norm_epsilon": backbone.layer_norm_epsilon,
            "dropout": backbone.dropout,
            "scale_embeddings": True,
            "attention_soft_cap": float(backbone.attention_logit_soft_cap or 0),
            "logit_soft_cap": float(backbone.final_logit_soft_cap or 0),
            "attention_window": window,
            # Every second layer sees all tokens.
            "global_every": 2 if window else 0,
            "sandwich_norm": self.sandwich_norm(),
            "query_scale_dim": self.query_scale_dim(),
        }

    def sandwich_norm(self) -> bool:
        """Returns whether there are norms after both layers of a block.

        Raises:
            ConfigError: they are after one of them.
        """
        after_attention = self.backbone.use_post_attention_norm
        if after_attention != self.backbone.use_post_ffw_norm:
            raise ConfigError(
                f"the model has use_post_attention_norm={after_attention} and"
                f" use_post_ffw_norm={self.backbone.use_post_ffw_norm}; both or none are taken"
            )
        return after_attention

    def query_scale_dim(self) -> int:
        """Returns the width by whose square root scores are divided, 0 for that of a head.

        Raises:
            ConfigError: keras-hub divides by another one than the model's option says.
        """
        backbone = self.backbone
        by_head = backbone.query_head_dim_normalize
        applied = {
            layer.attention.query_head_dim_normalize for layer in backbone.transformer_layers
        }
        if applied == {True} and not by_head:
            raise ConfigError(
                "the model has query_head_dim_normalize=False, which keras-hub does not pass on to"
                " its layers (0.32), so that no copy could be compared with what it was trained as"
            )
        return 0 if by_head else backbone.hidden_dim // backbone.num_query_heads

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        attention = layer.attention
        # Kernels are (heads, D, K). What Gemma 1 and 2 turn about after the rotation, they turn
        # alike in query and key.
        kernels = [
            np.transpose(np.asarray(dense.kernel), (1, 0, 2))
            for dense in (attention.query_dense, attention.key_dense, attention.value_dense)
        ]
        read_kernels(block, kernels, attention.output_dense)
        self.read_norm(block.attention_norm, layer.pre_attention_norm)
        self.read_norm(block.feed_forward_norm, layer.pre_ffw_norm)
        if block.options.sandwich_norm:
            self.read_norm(block.attention_output_norm, layer.post_attention_norm)
            self.read_norm(block.feed_forward_output_norm, layer.post_ffw_norm)
        read_gated(block, layer.gating_ffw, layer.gating_ffw_2, layer.ffw_linear)
