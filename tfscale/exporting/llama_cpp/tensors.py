"""The tensors of a network by the names, in the order and the shapes that llama.cpp reads.

They are made of the network rather than of its tensors in Hugging Face's form: scales of Gemma's
norms, which that form has less 1, stay what they are bit for bit.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head, V
vocabulary, C context.
"""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np

from tfscale.config import TransformerConfig
from tfscale.exporting.llama_cpp.architectures import Architecture
from tfscale.models.hub_tensor import HubTensor, bias, table, turned, vector, zeros
from tfscale.models.hub_writer import widths
from tfscale.models.layers import TransformerBlock
from tfscale.models.rope import frequencies
from tfscale.models.transformer import TransformerLM

POSITIONS = "position_embd.weight"
"""Looked up by position and stored in float32, whatever the recipe."""


def named_tensors(network: TransformerLM, kind: Architecture) -> Iterator[HubTensor]:
    """Yields the tensors of a network; one is read when its values are asked for.

    Args:
        network: the network.
        kind: the architecture, which must compute the network's options.

    Example:
        {tensor.name: tensor.read() for tensor in named_tensors(network, kind)}
    """
    config, embedding = network.config, network.token_embedding
    yield table("token_embd.weight", embedding.embeddings)
    if network.position_embedding is not None:
        yield table(POSITIONS, network.position_embedding.embeddings)
    if not config.tie_embeddings:
        yield turned("output.weight", embedding.reverse_embeddings)
    yield from _norm("output_norm", network.final_norm)
    if config.rope_scaling == "llama3":
        factors = rope_factors(config)
        yield HubTensor("rope_freqs.weight", factors.shape, lambda: factors)
    for index, block in enumerate(network.blocks):
        for tensor in _block(block, kind, config):
            yield dataclasses.replace(tensor, name=f"blk.{index}.{tensor.name}")


def rope_factors(config: TransformerConfig) -> np.ndarray:
    """Returns by how much each frequency of the rotary positions is divided, (K / 2,) float32."""
    options, width = config.rope_options, config.head_width
    plain = config.rope_base ** (-np.arange(0, width, 2) / width)
    return (plain / frequencies(config.rope_base, options, width)).astype("float32")


def interleave(rows: np.ndarray, width: int) -> np.ndarray:
    """Returns the rows of each head in the order in which pairs that turn together are neighbours.

    Args:
        rows: (heads K, ...), in each head the first halves of all pairs and then the second ones.
        width: K.

    Example:
        interleave(numpy.arange(4), 4)    # [0, 2, 1, 3]
    """
    cut = rows.reshape(-1, 2, width // 2, *rows.shape[1:])
    return cut.swapaxes(1, 2).reshape(rows.shape)


def _norm(name: str, layer: keras.layers.Layer) -> Iterator[HubTensor]:
    if not isinstance(layer, keras.layers.LayerNormalization):
        yield vector(f"{name}.weight", layer.scale)
        return
    yield vector(f"{name}.weight", layer.gamma)
    shift = f"{name}.bias"
    yield zeros(shift, layer.gamma.shape[0]) if layer.beta is None else vector(shift, layer.beta)


def _block(
    block: TransformerBlock, kind: Architecture, config: TransformerConfig
) -> Iterator[HubTensor]:
    """Yields the tensors of a block, their names without that of the block."""
    attention, biases = block.attention, config.positions == "learned"
    yield from _norm("attn_norm", block.attention_norm)
    yield from _query_key_value(block, kind, biases)
    if attention.query_norm is not None:
        yield from _norm("attn_q_norm", attention.query_norm)
        yield from _norm("attn_k_norm", attention.key_norm)
    yield turned("attn_output.weight", attention.output_projection.kernel)
    if block.attention_output_norm is not None:
        yield from _norm("post_attention_norm", block.attention_output_norm)
        yield from _norm("post_ffw_norm", block.feed_forward_output_norm)
    yield from _norm("ffn_norm", block.feed_forward_norm)
    units = config.feed_forward_width
    if config.gated and not kind.joined_gate:
        yield turned("ffn_gate.weight", block.expand.kernel, 0, units)
        yield turned("ffn_up.weight", block.expand.kernel, units, units)
    else:
        yield turned("ffn_up.weight", block.expand.kernel)
    yield turned("ffn_down.weight", block.contract.kernel)
    if biases:
        yield bias("attn_output.bias", attention.output_projection)
        yield bias("ffn_up.bias", block.expand)
        yield bias("ffn_down.bias", block.contract)


def _query_key_value(
    block: TransformerBlock, kind: Architecture, biases: bool
) -> Iterator[HubTensor]:
    layer, width = block.attention.query_key_value, block.attention.head_dim
    if kind.joined:
        yield turned("attn_qkv.weight", layer.kernel)
        if biases:
            yield bias("attn_qkv.bias", layer)
        return
    start = 0
    for letter, count in zip("qkv", widths(block), strict=True):
        parts = [turned(f"attn_{letter}.weight", layer.kernel, start, count)]
        if layer.use_bias:
            parts.append(bias(f"attn_{letter}.bias", layer, start, count))
        for part in parts:
            in_pairs = kind.interleaved and letter != "v"
            yield _in_pairs(part, width) if in_pairs else part
        start += count


def _in_pairs(tensor: HubTensor, width: int) -> HubTensor:
    read: Callable[[], np.ndarray] = tensor.read
    return dataclasses.replace(tensor, read=lambda: interleave(read(), width))
