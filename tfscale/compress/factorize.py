"""Low rank: a matrix becomes the product of two narrow ones, the nearest there is (Eckart and Young
1936).

Fine-tuning is to follow (Denton et al. 2014).

Shapes: D hidden_dim, F feed_forward_dim, V vocabulary, E embedding_dim, U units of an LSTM layer, R
rank.
"""

import dataclasses
from typing import Any

import numpy as np

from tfscale.errors import ConfigError
from tfscale.models import Network, RecurrentLM, TransformerLM, build_network


def factorize(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The two factors (m, R) and (R, n) of least squared error, each with the square root of the
    singular values.

    Example:
        left, right = factorize(kernel, 32)
    """
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).astype(np.float32), (root[:, None] * right[:rank]).astype(
        np.float32
    )


def factorize_embedding(network: Network, rank: int) -> Network:
    """A network whose token table has `rank` columns.

    A Transformer gets a matrix between table and blocks, and one before the output (Lan et al.
    2020). An LSTM takes the narrow rows as they are: the matrix between is multiplied into the
    kernel of its first layer.

    Args:
        network: a network of `build_network`; it is left as it is.
        rank: R, less than the table's width and at most its tokens.

    Raises:
        ConfigError: a rank that is not smaller, or a Transformer with separate tables.
    """
    if not isinstance(network, TransformerLM | RecurrentLM):
        raise ConfigError(
            "shrink.embedding_rank is for Transformers and recurrent models, not"
            f" {type(network).__name__}"
        )
    before = (
        network.config.embedding_dim
        if isinstance(network, RecurrentLM)
        else (network.config.embedding_rank or network.config.hidden_dim)
    )
    # A table has no more singular values than tokens.
    _check_rank("embedding_rank", rank, min(before, network.config.vocabulary_size + 1))
    table = network.token_embedding.embeddings.numpy()
    # The table's factor keeps the singular values, so that its rows are as long as they were.
    left, values, right = np.linalg.svd(np.asarray(table, np.float64), full_matrices=False)
    narrow_table, basis = left[:, :rank] * values[:rank], right[:rank]
    if isinstance(network, TransformerLM):
        if not network.config.tie_embeddings:
            raise ConfigError(
                "shrink.embedding_rank is for a Transformer with tied embeddings; this one has two"
                " tables"
            )
        small = build_network(
            dataclasses.replace(network.config, embedding_rank=rank),
            network.precision,
            network.seed,
        )
        inner = (
            {}
            if network.widen is None
            else {"widen": network.widen.kernel.numpy(), "narrow": network.narrow.kernel.numpy()}
        )
        new = {
            "token_embedding/embeddings": narrow_table,
            "widen/kernel": basis @ inner.get("widen", np.eye(before)),
            "narrow/kernel": inner.get("narrow", np.eye(before)) @ basis.T,
        }
    else:
        config = network.config
        if config.tie_embeddings and rank == config.hidden_dim:
            raise ConfigError(
                f"shrink.embedding_rank={rank} is the number of units: with tied embeddings such a"
                " model has no projection to keep what the output has learned; give another rank"
            )
        small = build_network(
            dataclasses.replace(config, embedding_dim=rank), network.precision, network.seed
        )
        first = network.recurrent_layers[0].cell.kernel
        new = {"token_embedding/embeddings": narrow_table, first.path: basis @ first.numpy()}
        if config.tie_embeddings:
            kernel = (
                np.eye(before) if network.projection is None else network.projection.kernel.numpy()
            )
            new["projection/kernel"] = kernel @ basis.T
    _copy_by_path(network, small, new)
    return small


def factorize_feed_forward(network: Network, rank: int) -> TransformerLM:
    """A Transformer whose two feed-forward matrices have rank `rank`.

    Args:
        network: a Transformer of full rank; it is left as it is.
        rank: R; smaller than D x F / (D + F), or there would be more weights than before.

    Raises:
        ConfigError: another family, a network of low rank already, or a rank that saves nothing.
    """
    if not isinstance(network, TransformerLM):
        raise ConfigError(
            f"shrink.feed_forward_rank is for a Transformer, and this is {type(network).__name__}"
        )
    config = network.config
    if config.feed_forward_rank:
        raise ConfigError(
            f"the feed-forward layers of this model are of rank {config.feed_forward_rank} already"
        )
    d, f = config.hidden_dim, config.feed_forward_width
    _check_rank("feed_forward_rank", rank, -(-d * f // (d + f)))
    small = build_network(
        dataclasses.replace(config, feed_forward_rank=rank), network.precision, network.seed
    )
    new: dict[str, Any] = {}
    for block in network.blocks:
        for name in ("expand", "contract"):
            first, second = factorize(getattr(block, name).kernel.numpy(), rank)
            new |= {
                f"{block.name}/before_{name}/kernel": first,
                f"{block.name}/{name}/kernel": second,
            }
    _copy_by_path(network, small, new)
    return small


def factorize_output(network: Network, rank: int) -> RecurrentLM:
    """An LSTM whose output projection has rank `rank`.

    Args:
        network: an LSTM without tied embeddings; it is left as it is.
        rank: R, less than U x V / (U + V).

    Raises:
        ConfigError: another family, tied embeddings, or a rank that saves nothing.
    """
    if (
        not isinstance(network, RecurrentLM)
        or network.output_layer is None
        or network.projection is not None
    ):
        raise ConfigError(
            "shrink.output_rank is for an LSTM with an output projection of its own and of full"
            " rank"
        )
    config = network.config
    u, v = config.hidden_dim, config.vocabulary_size
    _check_rank("output_rank", rank, -(-u * v // (u + v)))
    small = build_network(
        dataclasses.replace(config, output_rank=rank), network.precision, network.seed
    )
    first, second = factorize(network.output_layer.kernel.numpy(), rank)
    _copy_by_path(network, small, {"before_output/kernel": first, "output/kernel": second})
    return small


def _check_rank(name: str, rank: int, limit: int) -> None:
    if not 0 < rank < limit:
        raise ConfigError(f"shrink.{name}={rank} saves nothing here; expected 1 to {limit - 1}")


def _copy_by_path(network: Network, small: Network, new: dict[str, Any]) -> None:
    old = {weight.path: weight for weight in network.weights}
    unused = set(new) - {weight.path for weight in small.weights}
    assert not unused, f"the small network has no {', '.join(sorted(unused))}"
    for weight in small.weights:
        weight.assign(new[weight.path] if weight.path in new else old[weight.path].numpy())
