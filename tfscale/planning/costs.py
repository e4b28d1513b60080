"""What a model costs: parameters, floating-point operations and activations, counted from its
config.

Shapes: T tokens of a sequence, D hidden_dim, F feed_forward_dim, H heads, U units, E embedding_dim,
V vocabulary. Operations count a multiplication and an addition as two, as is usual, and matrix
products only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tfscale.config import (
    BiLSTMConfig,
    NetworkConfig,
    NNLMConfig,
    RecurrentConfig,
    TransformerConfig,
)

HEAD_FLOATS = 2
"""float32 values per logit that live at the same time: the logits and their gradient."""


@dataclass(frozen=True)
class Costs:
    """Costs of one model.

    `forward_flops` are operations per token. The backward pass costs twice as much. The other
    figures say how many values live between forward and backward pass: `block_values` in compute
    precision and `block_float32` in float32, per token and layer; `kept_values` per token and layer
    when the layer is rematerialized; `edge_values` per token outside the layers, without the
    logits.
    """

    parameters: int
    forward_flops: float
    layers: int
    block_values: float
    block_float32: float
    kept_values: float
    edge_values: float
    vocabulary_size: int


def model_costs(config: NetworkConfig) -> Costs:
    """Counts the costs of a config.

    Example:
        model_costs(TransformerConfig(vocabulary_size=1000)).parameters
    """
    if isinstance(config, TransformerConfig):
        return _transformer(config)
    if isinstance(config, NNLMConfig):
        return _nnlm(config)
    if isinstance(config, BiLSTMConfig):
        return _bilstm(config)
    return _recurrent(config)


def matmul_shapes(config: NetworkConfig, tokens: int) -> Iterator[tuple[int, int, int]]:
    """(m, k, n) of the forward matrix products with weights, for `tokens` tokens at once."""
    if isinstance(config, TransformerConfig):
        d, f, rank = config.hidden_dim, config.feed_forward_width, config.feed_forward_rank
        inner, width = config.num_heads * config.head_width, config.embedding_rank
        keys, wide = config.kv_heads * config.head_width, f * (2 if config.gated else 1)
        forward = [(d, rank), (rank, wide), (f, rank), (rank, d)] if rank else [(d, wide), (f, d)]
        if width:
            yield from ((tokens, width, d), (tokens, d, width))
        for _ in range(config.num_layers):
            yield from ((tokens, d, inner + 2 * keys), (tokens, inner, d))
            yield from ((tokens, k, n) for k, n in forward)
        yield tokens, width or d, config.table_rows
        return
    if isinstance(config, NNLMConfig):
        window = config.context_tokens * config.embedding_dim
        yield tokens, window, config.hidden_dim
        yield tokens, config.hidden_dim + window * config.direct_connections, config.vocabulary_size
        return
    # A recurrent layer multiplies one time step at once.
    rows = max(1, tokens // config.sequence_length)
    units, width = config.hidden_dim, config.embedding_dim
    gates = 2 * 4 if isinstance(config, BiLSTMConfig) else config.gates
    for layer in range(config.num_layers):
        yield rows, (units if layer else width), gates * units
        yield rows, units, gates * units
    if isinstance(config, BiLSTMConfig):
        yield tokens, 2 * units, width
        yield tokens, width, config.vocabulary_size
        return
    if config.tie_embeddings and units != width:
        yield tokens, units, width
    if not config.tie_embeddings and config.output_rank:
        yield tokens, units, config.output_rank
    yield (
        tokens,
        (width if config.tie_embeddings else config.output_rank or units),
        config.vocabulary_size,
    )


def _product_flops(config: NetworkConfig) -> float:
    """Forward operations per token of the products with weights, from their shapes for T tokens."""
    t = config.sequence_length
    once = 0.0
    for m, k, n in matmul_shapes(config, t):
        times = t if isinstance(config, RecurrentConfig | BiLSTMConfig) and m == 1 and t > 1 else 1
        once += 2.0 * m * k * n * times
    return once / t


def _transformer(config: TransformerConfig) -> Costs:
    t, d, f = config.sequence_length, config.hidden_dim, config.feed_forward_width
    bias, v, rank, width = (
        config.use_bias,
        config.table_rows,
        config.feed_forward_rank,
        config.embedding_rank,
    )
    inner = config.num_heads * config.head_width
    keys, wide = config.kv_heads * config.head_width, f * (2 if config.gated else 1)
    norm = d * (1 + (bias and config.normalization == "layer"))
    feed_forward = (rank * (2 * d + wide + f) if rank else d * (wide + f)) + bias * (wide + d)
    block = 2 * d * (inner + keys) + bias * (inner + 2 * keys + d) + feed_forward + 2 * norm
    tables = v * (width or d) * (1 if config.tie_embeddings else 2) + 2 * width * d
    tables += t * d if config.positions == "learned" else 0
    parameters = tables + config.num_layers * block + norm
    # Scores and their use: two products of T x K by T per head, for each of T queries; nothing is
    # saved by the mask. With a window that cuts the context, a query meets two windows of keys and
    # the global ones.
    window = config.attention_window
    seen = 2 * window + config.global_tokens if window and t % window == 0 and t > 2 * window else t
    attention = config.num_layers * 2 * 2.0 * seen * inner
    return Costs(
        parameters=parameters,
        forward_flops=_product_flops(config) + attention,
        layers=config.num_layers,
        # Input, two norms, query, key and value, mixed values and the sum after attention; of the
        # feed-forward layer its input to GELU, the two factors of GELU's derivative, and GELU's
        # output.
        block_values=4 * d + 2 * inner + 2 * keys + 2 * f + 2 * wide + 2 * rank,
        # The attention weights: of each head one per key that is looked at.
        block_float32=float(config.num_heads * seen),
        kept_values=d,
        edge_values=3 * d,
        vocabulary_size=v,
    )


def _loop_values(gates: int) -> float:
    """Values per unit and token of a recurrent layer: its output, gates before and after their
    activation and two factors of their gradient, of which about half of one is gone by then (what
    XLA assigns)."""
    return 3.5 * gates + 1


def _recurrent(config: RecurrentConfig) -> Costs:
    units, width, v = config.hidden_dim, config.embedding_dim, config.vocabulary_size
    inputs = [width] + [units] * (config.num_layers - 1)
    biases = 2 if config.family == "gru" else 1
    recurrent = sum(config.gates * units * (size + units + biases) for size in inputs)
    parameters = v * width + recurrent
    if config.tie_embeddings:
        parameters += units * width if units != width else 0
    else:
        rank = config.output_rank
        parameters += units * rank + ((rank or units) + 1) * v
    return Costs(
        parameters=parameters,
        forward_flops=_product_flops(config),
        layers=config.num_layers,
        block_values=_loop_values(config.gates) * units,
        block_float32=0.0,
        kept_values=units,
        edge_values=3 * width,
        vocabulary_size=v,
    )


def _nnlm(config: NNLMConfig) -> Costs:
    units, width, v = config.hidden_dim, config.embedding_dim, config.vocabulary_size
    window = config.context_tokens * width
    read = units + window * config.direct_connections
    return Costs(
        parameters=v * width + (window + 1) * units + (read + 1) * v,
        forward_flops=_product_flops(config),
        layers=1,
        block_values=units,
        block_float32=0.0,
        kept_values=window,
        # The embedded tokens side by side, their gradient, and what the output reads.
        edge_values=2 * window + read,
        vocabulary_size=v,
    )


def _bilstm(config: BiLSTMConfig) -> Costs:
    units, width, v = config.hidden_dim, config.embedding_dim, config.vocabulary_size
    inputs = [width] + [units] * (config.num_layers - 1)
    recurrent = 2 * sum(4 * units * (size + units + 1) for size in inputs)
    output = 0 if config.tie_embeddings else (width + 1) * v
    return Costs(
        parameters=v * width + recurrent + (2 * units + 1) * width + output,
        forward_flops=_product_flops(config),
        layers=config.num_layers,
        block_values=2 * _loop_values(4) * units,
        block_float32=0.0,
        kept_values=2 * units,
        edge_values=4 * width,
        vocabulary_size=v,
    )
