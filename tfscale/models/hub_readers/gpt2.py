"""GPT-2 (Radford et al. 2019)."""

import numpy as np
from keras.layers import Layer

from tfscale.compat import keras_hub as hub
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_reader import HubReader, read_attention
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM
from tfscale.registry import register


@register
class GPT2(HubReader):
    """Reads `GPT2Backbone`."""

    name = "gpt2"
    summary = "GPT-2"
    backbones = ("GPT2Backbone",)

    @property
    def learned_positions(self) -> int:
        return self.backbone.max_sequence_length

    def options(self) -> JsonObject:
        backbone = self.backbone
        return {
            "hidden_dim": backbone.hidden_dim,
            "num_layers": backbone.num_layers,
            "num_heads": backbone.num_heads,
            "feed_forward_dim": backbone.intermediate_dim,
            "dropout": backbone.dropout,
            "use_bias": True,
            "activation": "gelu_tanh",
        }

    def read(self, network: TransformerLM) -> None:
        super().read(network)
        positions = np.asarray(self.backbone.position_embedding.position_embeddings)
        assert network.position_embedding is not None
        network.position_embedding.embeddings.assign(positions[: network.config.sequence_length])

    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        theirs = hub.gpt2_layers(layer)
        read_attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
        self.read_norm(block.attention_norm, theirs.attention_norm)
        self.read_norm(block.feed_forward_norm, theirs.feed_forward_norm)
        for target, source in (
            (block.expand, theirs.expand),
            (block.contract, theirs.contract),
        ):
            target.kernel.assign(np.asarray(source.kernel))
            target.bias.assign(np.asarray(source.bias))
