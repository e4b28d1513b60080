"""Parts of a recurrent model that can become smaller: units, the table, and the rank of its output.

Shapes: U hidden_dim (units), I inputs of a layer, G gates, E embedding_dim, V vocabulary, R rank.
"""

import keras
import numpy as np

from tfscale.errors import ConfigError
from tfscale.models.shrinking import UnitGroup, check_rank, check_smaller, factorize, narrow_table


def unit_groups(network: keras.Model, size: str, count: int) -> list[UnitGroup]:
    """Returns the units of each layer; see `LanguageNetwork.unit_groups`."""
    if size != "lstm_units":
        return []
    config = network.config
    check_smaller(size, count, config.hidden_dim)
    if config.tie_embeddings and network.projection is None:
        raise ConfigError(
            "shrink.lstm_units: the tied embeddings of this model are as wide as its"
            f" {config.hidden_dim} units, and must stay so; train one with another"
            " model.embedding_dim, which has a projection between them"
        )
    if config.tie_embeddings and count == config.embedding_dim:
        raise ConfigError(
            f"shrink.lstm_units={count} is the width of the tied embeddings, where a model has no"
            f" projection between units and embeddings, and this one has; {count - 1} or"
            f" {count + 1} would do"
        )
    last = network.output_layer if network.projection is None else network.projection
    assert last is not None
    cells = [layer.cell for layer in network.recurrent_layers]
    readers = [*(cell.kernel for cell in cells[1:]), last.kernel]
    return [_units(cell, reader) for cell, reader in zip(cells, readers, strict=True)]


def factors(network: keras.Model, size: str, rank: int) -> dict[str, np.ndarray] | None:
    """Returns the new weights of a lower rank; see `LanguageNetwork.factors`."""
    if size == "embedding_rank":
        return _table_factors(network, rank)
    output = network.output_layer
    if size != "output_rank" or output is None or network.projection is not None:
        return None
    u, v = network.config.hidden_dim, network.config.vocabulary_size
    check_rank(size, rank, -(-u * v // (u + v)))
    first, second = factorize(output.kernel.numpy(), rank)
    return {"before_output/kernel": first, "output/kernel": second}


def _units(cell: keras.layers.Layer, reader: keras.Variable) -> UnitGroup:
    kernel, recurrent, bias = cell.kernel, cell.recurrent_kernel, cell.bias
    units = recurrent.shape[0]

    def places(keep):
        # Kernels are (rows, G U): the gates of unit u are the columns u, U + u, 2 U + u and so on.
        gates = np.concatenate([keep + start for start in range(0, kernel.shape[1], units)])
        return [
            (kernel.path, 1, gates),
            (recurrent.path, 0, keep),
            (recurrent.path, 1, gates),
            (bias.path, len(bias.shape) - 1, gates),
            (reader.path, 0, keep),
        ]

    return UnitGroup(
        reads=lambda arrays: np.concatenate([arrays[kernel.path], arrays[recurrent.path]]).reshape(
            -1, units
        ),
        is_read=lambda arrays: (
            np.concatenate([arrays[reader.path], arrays[recurrent.path]], axis=1).T
        ),
        places=places,
    )


def _table_factors(network: keras.Model, rank: int) -> dict[str, np.ndarray]:
    """Returns a narrow table, which the first layer reads as it is: the matrix between is
    multiplied into the kernel of that layer."""
    config = network.config
    before = config.embedding_dim
    # A table has no more singular values than tokens.
    check_rank("embedding_rank", rank, min(before, config.vocabulary_size + 1))
    table, basis = narrow_table(network.token_embedding.embeddings.numpy(), rank)
    if config.tie_embeddings and rank == config.hidden_dim:
        raise ConfigError(
            f"shrink.embedding_rank={rank} is the number of units: with tied embeddings such a"
            " model has no projection to keep what the output has learned; give another rank"
        )
    first = network.recurrent_layers[0].cell.kernel
    new = {"token_embedding/embeddings": table, first.path: basis @ first.numpy()}
    if config.tie_embeddings:
        projection = network.projection
        kernel = np.eye(before) if projection is None else projection.kernel.numpy()
        new["projection/kernel"] = kernel @ basis.T
    return new
