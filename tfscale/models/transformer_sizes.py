"""Parts of a Transformer that can become smaller: feed-forward units, heads, and the ranks of its
feed-forward matrices and of its table.

Shapes: D hidden_dim, F feed_forward_dim, H heads, K width of a head, V vocabulary, R rank.
"""

import keras
import numpy as np

from tfscale.errors import ConfigError
from tfscale.models.attention import CausalSelfAttention
from tfscale.models.layers import TransformerBlock
from tfscale.models.shrinking import UnitGroup, check_rank, check_smaller, factorize, narrow_table


def unit_groups(network: keras.Model, size: str, count: int) -> list[UnitGroup]:
    """Returns the feed-forward units or the heads of each block; see
    `LanguageNetwork.unit_groups`."""
    config = network.config
    if size == "feed_forward_dim":
        check_smaller(size, count, config.feed_forward_width)
        return [_feed_forward_units(block, config.gated) for block in network.blocks]
    if size == "num_heads":
        if config.kv_heads != config.num_heads:
            raise ConfigError(
                "shrink.num_heads is for a model with as many key-value heads as heads; this one"
                f" has {config.kv_heads} for {config.num_heads}"
            )
        check_smaller(size, count, config.num_heads)
        return [_heads(block.attention) for block in network.blocks]
    return []


def factors(network: keras.Model, size: str, rank: int) -> dict[str, np.ndarray] | None:
    """Returns the new weights of a lower rank; see `LanguageNetwork.factors`."""
    if size == "feed_forward_rank":
        return _feed_forward_factors(network, rank)
    return _table_factors(network, rank) if size == "embedding_rank" else None


def _feed_forward_units(block: TransformerBlock, gated: bool) -> UnitGroup:
    expand, reader = block.expand, block.before_contract or block.contract
    units = block.options.feed_forward_dim

    def places(keep):
        # Gates, then units.
        columns = np.concatenate([keep, keep + units]) if gated else keep
        bias = [(expand.bias.path, 0, columns)] if expand.use_bias else []
        return [(expand.kernel.path, 1, columns), (reader.kernel.path, 0, keep), *bias]

    return UnitGroup(
        # With a gate a unit reads by two columns, of gate and value.
        reads=lambda arrays: arrays[expand.kernel.path].reshape(-1, units),
        is_read=lambda arrays: arrays[reader.kernel.path].T,
        places=places,
    )


def _heads(attention: CausalSelfAttention) -> UnitGroup:
    heads, width = attention.num_heads, attention.head_dim
    inputs, output = attention.query_key_value, attention.output_projection

    def reads(arrays):
        # (D, 3, H, K), to one column per head.
        kernel = arrays[inputs.kernel.path]
        by_head = np.moveaxis(kernel.reshape(kernel.shape[0], 3, heads, -1), 2, -1)
        return by_head.reshape(-1, heads)

    def places(keep):
        # Query, key and value are each H x K columns.
        rows = (keep[:, None] * width + np.arange(width)).reshape(-1)
        columns = np.concatenate([rows + third * heads * width for third in range(3)])
        bias = [(inputs.bias.path, 0, columns)] if inputs.use_bias else []
        return [(inputs.kernel.path, 1, columns), (output.kernel.path, 0, rows), *bias]

    return UnitGroup(
        reads=reads,
        # (H, K, D), to one column per head.
        is_read=lambda arrays: arrays[output.kernel.path].reshape(heads, -1).T,
        places=places,
    )


def _feed_forward_factors(network: keras.Model, rank: int) -> dict[str, np.ndarray]:
    config = network.config
    if config.feed_forward_rank:
        raise ConfigError(
            f"the feed-forward layers of this model are of rank {config.feed_forward_rank} already"
        )
    d, f = config.hidden_dim, config.feed_forward_width
    check_rank("feed_forward_rank", rank, -(-d * f // (d + f)))
    new = {}
    for block in network.blocks:
        for name, layer in (("expand", block.expand), ("contract", block.contract)):
            first, second = factorize(layer.kernel.numpy(), rank)
            new[f"{block.name}/before_{name}/kernel"] = first
            new[f"{block.name}/{name}/kernel"] = second
    return new


def _table_factors(network: keras.Model, rank: int) -> dict[str, np.ndarray]:
    """Returns a narrow table, a matrix between it and the blocks, and one before the output (Lan et
    al. 2020)."""
    config = network.config
    before = config.embedding_width
    # A table has no more singular values than tokens.
    check_rank("embedding_rank", rank, min(before, config.vocabulary_size + 1))
    if not config.tie_embeddings:
        raise ConfigError(
            "shrink.embedding_rank is for a Transformer with tied embeddings; this one has two"
            " tables"
        )
    table, basis = narrow_table(network.token_embedding.embeddings.numpy(), rank)
    widen, narrow = (
        np.eye(before) if layer is None else layer.kernel.numpy()
        for layer in (network.widen, network.narrow)
    )
    return {
        "token_embedding/embeddings": table,
        "widen/kernel": basis @ widen,
        "narrow/kernel": narrow @ basis.T,
    }
