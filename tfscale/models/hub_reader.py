"""`HubReader`: how a decoder of keras-hub becomes a `TransformerLM`, a class for each architecture.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head.
"""

import abc
from collections.abc import Sequence
from typing import ClassVar

import keras
import numpy as np
from keras.layers import Layer

from tfscale.compat.keras_weights import assign_rows
from tfscale.files.json_text import JsonObject
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM
from tfscale.registry import HUB_READERS


class HubReader(abc.ABC):
    """Reads one architecture: its options, and its weights.

    A reader is a subclass in a file of `tfscale/models/hub_readers`, registered by
    `tfscale.register`. What it forgets is found by `from_keras_hub`, which compares logits.

    Attributes:
        name: the file's.
        summary: the models that it reads, for messages.
        backbones: names of the classes of keras-hub; their subclasses are read too.
        scale_offset: added to the scales of RMS norms, which some models store less 1.
        backbone: the network that is read, in float32.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    backbones: ClassVar[tuple[str, ...]]
    scale_offset: ClassVar[float] = 0.0

    def __init__(self, backbone: keras.Model):
        self.backbone = backbone

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the architecture known by its name; `tfscale.register` calls it."""
        HUB_READERS.add(getattr(cls, "name", ""), cls)

    @property
    def learned_positions(self) -> int:
        """Tokens for which the model has learned positions; 0 for rotary ones."""
        return 0

    @property
    def final_norm(self) -> Layer:
        """The normalization after the last block."""
        return self.backbone.layer_norm

    @abc.abstractmethod
    def options(self) -> JsonObject:
        """Returns the options of `TransformerConfig` that are not GPT-2's.

        Raises:
            ConfigError: an option of the model that `TransformerConfig` cannot express.
        """

    @abc.abstractmethod
    def read_block(self, block: TransformerBlock, layer: Layer) -> None:
        """Assigns the weights of a block from the layer of keras-hub."""

    def read(self, network: TransformerLM) -> None:
        """Assigns all weights of a network of these options."""
        for block, layer in zip(network.blocks, self.backbone.transformer_layers, strict=True):
            self.read_block(block, layer)
        size, embedding = network.config.vocabulary_size, self.backbone.token_embedding
        assign_rows(network.token_embedding.embeddings, embedding.embeddings)
        if not network.config.tie_embeddings:
            assign_rows(
                network.token_embedding.reverse_embeddings, embedding.reverse_embeddings, size
            )
        self.read_norm(network.final_norm, self.final_norm)

    def read_norm(self, target: Layer | None, source: Layer) -> None:
        """Assigns scale, and shift where there is one, of a normalization that the block has."""
        assert target is not None
        if isinstance(target, keras.layers.LayerNormalization):
            target.gamma.assign(np.asarray(source.gamma))
            target.beta.assign(np.asarray(source.beta))
        else:
            target.scale.assign(np.asarray(source.scale) + self.scale_offset)


def read_attention(
    block: TransformerBlock, query_key_value: Sequence[Layer], output: Layer
) -> None:
    """Assigns the kernels of an attention, (D, heads, K) or (D, heads K), and its biases.

    Args:
        block: its attention is assigned to.
        query_key_value: three dense layers.
        output: a dense layer with a kernel (H, K, D).
    """
    attention = block.attention
    read_kernels(block, [np.asarray(layer.kernel) for layer in query_key_value], output)
    if attention.query_key_value.use_bias:
        biases = [np.asarray(layer.bias).reshape(-1) for layer in query_key_value]
        attention.query_key_value.bias.assign(np.concatenate(biases))
    if attention.output_projection.use_bias:
        attention.output_projection.bias.assign(np.asarray(output.bias).reshape(-1))


def read_kernels(block: TransformerBlock, kernels: Sequence[np.ndarray], output: Layer) -> None:
    """Assigns kernels (D, heads, K) side by side, and that of the output (H, K, D) with its heads
    joined."""
    flat = [kernel.reshape(kernel.shape[0], -1) for kernel in kernels]
    block.attention.query_key_value.kernel.assign(np.concatenate(flat, axis=1))
    kernel = np.asarray(output.kernel)
    block.attention.output_projection.kernel.assign(kernel.reshape(-1, kernel.shape[-1]))


def read_gated(block: TransformerBlock, gate: Layer, up: Layer, down: Layer) -> None:
    """Assigns the kernels of a feed-forward layer with a gate: (D, F) twice, and (F, D)."""
    block.expand.kernel.assign(
        np.concatenate([np.asarray(gate.kernel), np.asarray(up.kernel)], axis=1)
    )
    block.contract.kernel.assign(np.asarray(down.kernel))


def linear_scaling(factor: float) -> JsonObject:
    """Returns the options of rotary positions whose frequencies are divided by a factor."""
    return {} if factor == 1 else {"rope_scaling": "linear", "rope_factor": float(factor)}
