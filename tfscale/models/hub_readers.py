"""Decoders of keras-hub, one function for each architecture: its options, and how its weights are
read into a `TransformerLM`.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head.
"""

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras.layers import Layer

from tfscale.compat import keras_hub as hub
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM

Reader = tuple[JsonObject, Callable[[TransformerLM], None]]


def _gpt2(backbone: keras.Model) -> Reader:
    options = {
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_heads,
        "feed_forward_dim": backbone.intermediate_dim,
        "dropout": backbone.dropout,
        "use_bias": True,
        "activation": "gelu_tanh",
        "positions_of": backbone.max_sequence_length,
    }

    def read(network: TransformerLM) -> None:
        positions = np.asarray(backbone.position_embedding.position_embeddings)
        assert network.position_embedding is not None
        network.position_embedding.embeddings.assign(positions[: network.config.sequence_length])
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            theirs = hub.gpt2_layers(layer)
            _attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
            _norm(block.attention_norm, theirs.attention_norm)
            _norm(block.feed_forward_norm, theirs.feed_forward_norm)
            for target, source in zip(
                (block.expand, block.contract), (theirs.expand, theirs.contract), strict=True
            ):
                target.kernel.assign(source.kernel)
                target.bias.assign(source.bias)
        _ends(network, backbone)

    return options, read


def _llama(backbone: keras.Model, bias: bool = False) -> Reader:
    if hub.stretches_positions(backbone):
        raise ConfigError(
            "the model stretches its rotary positions (Llama 3.1 and later), and tfscale's have no"
            " such"
        )
    options = {
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_query_heads,
        "num_kv_heads": backbone.num_key_value_heads,
        "feed_forward_dim": backbone.intermediate_dim,
        "head_dim": hub.head_width(backbone),
        "positions": "rope",
        "normalization": "rms",
        "activation": "swiglu",
        "rope_base": float(backbone.rope_max_wavelength),
        "use_bias": bias,
        "norm_epsilon": backbone.layer_norm_epsilon,
        "dropout": backbone.dropout,
        "tie_embeddings": backbone.token_embedding.tie_weights,
        "attention_window": hub.sliding_window(backbone),
    }

    def read(network: TransformerLM) -> None:
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            theirs = hub.llama_layers(layer)
            _attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
            _norm(block.attention_norm, theirs.attention_norm)
            _norm(block.feed_forward_norm, theirs.feed_forward_norm)
            _gated(block, theirs.gate, theirs.expand, theirs.contract)
        _ends(network, backbone)

    return options, read


def _gemma(backbone: keras.Model) -> Reader:
    lacking = hub.gemma_2_options(backbone)
    if lacking:
        raise ConfigError(
            f"the model has {', '.join(lacking)} (Gemma 2), which tfscale's Transformer lacks"
        )
    options = {
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
    }

    def read(network: TransformerLM) -> None:
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            attention = layer.attention
            # Its kernels are (heads, D, K); what it turns about after the rotation, it turns alike
            # in query and key.
            kernels = [
                np.transpose(np.asarray(dense.kernel), (1, 0, 2))
                for dense in (attention.query_dense, attention.key_dense, attention.value_dense)
            ]
            _kernels(block, kernels, attention.output_dense)
            _norm(block.attention_norm, layer.pre_attention_norm, 1.0)
            _norm(block.feed_forward_norm, layer.pre_ffw_norm, 1.0)
            _gated(block, layer.gating_ffw, layer.gating_ffw_2, layer.ffw_linear)
        _ends(network, backbone, 1.0)

    return options, read


READERS: dict[str, Callable[[keras.Model], Reader]] = {
    "GPT2Backbone": _gpt2,
    "LlamaBackbone": _llama,
    "MistralBackbone": _llama,
    # Queries, keys and values of Qwen have biases; the others stay zero.
    "QwenBackbone": functools.partial(_llama, bias=True),
    "GemmaBackbone": _gemma,
}
"""By class; Llama 3 is a Llama."""


def _attention(block: TransformerBlock, dense: Sequence[Layer], output: Layer) -> None:
    _kernels(block, [np.asarray(layer.kernel) for layer in dense], output)
    attention = block.attention
    if not attention.use_bias:
        return
    attention.query_key_value.bias.assign(
        np.concatenate([np.asarray(layer.bias).reshape(-1) for layer in dense])
    )
    if output.bias is not None:
        attention.output_projection.bias.assign(np.asarray(output.bias).reshape(-1))


def _kernels(block: TransformerBlock, kernels: list[np.ndarray], output: Layer) -> None:
    """Kernels (D, heads, K) side by side, and that of the output (H, K, D) with its heads
    joined."""
    flat = [kernel.reshape(kernel.shape[0], -1) for kernel in kernels]
    block.attention.query_key_value.kernel.assign(np.concatenate(flat, axis=1))
    kernel = np.asarray(output.kernel)
    block.attention.output_projection.kernel.assign(kernel.reshape(-1, kernel.shape[-1]))


def _gated(block: TransformerBlock, gate: Layer, up: Layer, down: Layer) -> None:
    block.expand.kernel.assign(
        np.concatenate([np.asarray(gate.kernel), np.asarray(up.kernel)], axis=1)
    )
    block.contract.kernel.assign(down.kernel)


def _norm(target: Layer, source: Layer, added: float = 0.0) -> None:
    """Scale, and shift where there is one; `added` for layers that hold the scale's distance from
    1."""
    if isinstance(target, keras.layers.LayerNormalization):
        target.gamma.assign(source.gamma)
        target.beta.assign(source.beta)
    else:
        target.scale.assign(np.asarray(source.scale) + added)


def _ends(network: TransformerLM, backbone: keras.Model, added: float = 0.0) -> None:
    """Token embedding, last normalization and, where it is one of its own, the output table."""
    size, embedding = network.config.vocabulary_size, backbone.token_embedding
    network.token_embedding.embeddings.assign(np.asarray(embedding.embeddings)[:size])
    if not network.config.tie_embeddings:
        network.token_embedding.reverse_embeddings.assign(
            np.asarray(embedding.reverse_embeddings)[:, :size]
        )
    _norm(network.final_norm, backbone.layer_norm, added)
