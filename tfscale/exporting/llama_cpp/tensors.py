"""The tensors of a network by the names and in the order that llama.cpp reads them.

Matrices are stored as (outputs, inputs), the transpose of a kernel of Keras.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head, V
vocabulary, C context.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import keras
import numpy as np

from tfscale.config import TransformerConfig
from tfscale.exporting.llama_cpp.architectures import Architecture
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.models.layers import TransformerBlock
from tfscale.models.rope import frequencies
from tfscale.models.transformer import TransformerLM

ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class NamedTensor:
    """A tensor of a file.

    Attributes:
        name: as llama.cpp calls it.
        shape: of the tensor.
        values: returns it, float32; called once, so that one tensor at a time is in memory.
        rounds: whether a recipe applies to it; vectors and position tables stay float32.
    """

    name: str
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]
    rounds: bool = True


def named_tensors(network: DecodingNetwork, kind: Architecture) -> Iterator[NamedTensor]:
    """Yields the tensors of a network.

    Args:
        network: its weights are read when the values are asked for.
        kind: the architecture, which must compute the network's options.

    Example:
        {tensor.name: tensor.values() for tensor in named_tensors(network, kind)}
    """
    network = cast(TransformerLM, network)  # Its options say that it is one.
    config = network.config
    table = network.token_embedding
    yield _matrix("token_embd", table.embeddings)
    if config.positions == "learned":
        assert network.position_embedding is not None
        positions = network.position_embedding.embeddings
        yield NamedTensor(
            "position_embd.weight", tuple(positions.shape), lambda: _array(positions), rounds=False
        )
    if not config.tie_embeddings:
        yield _matrix("output", table.reverse_embeddings, transposed=True)
    yield from _norm("output_norm", network.final_norm)
    if config.rope_scaling == "llama3":
        factors = rope_factors(config)
        yield NamedTensor(ROPE_FACTORS, factors.shape, lambda: factors, rounds=False)
    for index, block in enumerate(network.blocks):
        yield from _block(f"blk.{index}", block, kind, config)


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


def _array(weight: keras.Variable) -> np.ndarray:
    return np.asarray(weight, np.float32)


def _matrix(name: str, weight: keras.Variable, transposed: bool = False) -> NamedTensor:
    shape = tuple(weight.shape)
    if transposed:
        return NamedTensor(
            f"{name}.weight", shape[::-1], lambda: np.ascontiguousarray(_array(weight).T)
        )
    return NamedTensor(f"{name}.weight", shape, lambda: _array(weight))


def _vector(name: str, size: int, values: Callable[[], np.ndarray]) -> NamedTensor:
    return NamedTensor(name, (size,), values, rounds=False)


def _bias(name: str, layer: keras.layers.Dense, size: int) -> NamedTensor:
    """The bias of a layer, or zeros where it has none."""
    return _vector(
        f"{name}.bias",
        size,
        lambda: _array(layer.bias) if layer.use_bias else np.zeros(size, np.float32),
    )


def _norm(name: str, layer: keras.layers.Layer) -> Iterator[NamedTensor]:
    if not isinstance(layer, keras.layers.LayerNormalization):
        yield _vector(f"{name}.weight", layer.scale.shape[0], lambda: _array(layer.scale))
        return
    size = layer.gamma.shape[0]
    yield _vector(f"{name}.weight", size, lambda: _array(layer.gamma))
    yield _vector(
        f"{name}.bias",
        size,
        lambda: np.zeros(size, np.float32) if layer.beta is None else _array(layer.beta),
    )


def _block(
    name: str, block: TransformerBlock, kind: Architecture, config: TransformerConfig
) -> Iterator[NamedTensor]:
    attention, learned = block.attention, config.positions == "learned"
    yield from _norm(f"{name}.attn_norm", block.attention_norm)
    yield from _query_key_value(name, block, kind, config)
    if config.query_key_norm:
        yield from _norm(f"{name}.attn_q_norm", attention.query_norm)
        yield from _norm(f"{name}.attn_k_norm", attention.key_norm)
    output = attention.output_projection
    yield _matrix(f"{name}.attn_output", output.kernel, transposed=True)
    if learned:
        yield _bias(f"{name}.attn_output", output, config.hidden_dim)
    if block.attention_output_norm is not None:
        yield from _norm(f"{name}.post_attention_norm", block.attention_output_norm)
        yield from _norm(f"{name}.post_ffw_norm", block.feed_forward_output_norm)
    yield from _norm(f"{name}.ffn_norm", block.feed_forward_norm)
    yield from _feed_forward(name, block, kind, config)
    if learned:
        yield _bias(f"{name}.ffn_up", block.expand, config.feed_forward_width)
        yield _bias(f"{name}.ffn_down", block.contract, config.hidden_dim)


def _query_key_value(
    name: str, block: TransformerBlock, kind: Architecture, config: TransformerConfig
) -> Iterator[NamedTensor]:
    layer, width = block.attention.query_key_value, config.head_width
    heads = (config.num_heads, config.kv_heads, config.kv_heads)
    if kind.joined:
        yield _matrix(f"{name}.attn_qkv", layer.kernel, transposed=True)
        if config.positions == "learned":
            yield _bias(f"{name}.attn_qkv", layer, sum(heads) * width)
        return
    ends = np.cumsum([count * width for count in heads]).tolist()
    for letter, start, end in zip("qkv", [0, *ends], ends, strict=False):
        turned = kind.interleaved and letter != "v"

        def rows(weight: keras.Variable, start=start, end=end, turned=turned) -> np.ndarray:
            part = np.ascontiguousarray(_array(weight)[..., start:end].T)
            return interleave(part, width) if turned else part

        yield NamedTensor(
            f"{name}.attn_{letter}.weight",
            (end - start, config.hidden_dim),
            lambda rows=rows: rows(layer.kernel),
        )
        if layer.use_bias:
            yield _vector(
                f"{name}.attn_{letter}.bias", end - start, lambda rows=rows: rows(layer.bias)
            )


def _feed_forward(
    name: str, block: TransformerBlock, kind: Architecture, config: TransformerConfig
) -> Iterator[NamedTensor]:
    kernel, size = block.expand.kernel, config.feed_forward_width
    if not config.gated or kind.joined_gate:
        yield _matrix(f"{name}.ffn_up", kernel, transposed=True)
    else:
        shape = (size, config.hidden_dim)
        yield NamedTensor(
            f"{name}.ffn_gate.weight",
            shape,
            lambda: np.ascontiguousarray(_array(kernel)[:, :size].T),
        )
        yield NamedTensor(
            f"{name}.ffn_up.weight", shape, lambda: np.ascontiguousarray(_array(kernel)[:, size:].T)
        )
    yield _matrix(f"{name}.ffn_down", block.contract.kernel, transposed=True)
