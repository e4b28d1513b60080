"""Structured pruning: whole units leave, so the weights become smaller matrices and each token costs less time.

Units are ranked by magnitude: the product of the norms of what a unit reads and of what reads it (Li et al. 2017 rank
filters by their norms). Fine-tuning is to follow.

Shapes: D hidden_dim, F feed_forward_dim, U units of an LSTM layer, I its inputs.
"""

import dataclasses
from typing import Any

import numpy as np

from tfscale.errors import ConfigError
from tfscale.models import LSTMLM, Network, TransformerLM, build_network


def shrink_feed_forward(network: Network, width: int) -> TransformerLM:
    """A Transformer with the `width` strongest feed-forward units of each block.

    Args:
        network: a Transformer of `build_network`; it is left as it is.
        width: F of the new network, less than before.

    Raises:
        ConfigError: another family, or a width that is not smaller.

    Example:
        half = shrink_feed_forward(load_run("run").network, 512)
    """
    if not isinstance(network, TransformerLM):
        raise ConfigError(f"shrink.feed_forward_dim is for a Transformer, and this is {type(network).__name__}")
    before = network.config.feed_forward_dim or 4 * network.config.hidden_dim
    _check_smaller("feed_forward_dim", width, before)
    small = build_network(dataclasses.replace(network.config, feed_forward_dim=width), network.precision, network.seed)
    chosen: dict[str, tuple[Any, ...]] = {}
    for block in network.blocks:
        reads, is_read = _array(block.expand.kernel), _array(block.contract.kernel)  # (D, F), (F, D)
        keep = _strongest(np.linalg.norm(reads, axis=0) * np.linalg.norm(is_read, axis=1), width)
        chosen[block.expand.kernel.path] = (slice(None), keep)
        chosen[block.contract.kernel.path] = (keep, slice(None))
        if block.expand.use_bias:
            chosen[block.expand.bias.path] = (keep,)
    _copy(network, small, chosen)
    return small


def shrink_lstm(network: Network, units: int) -> LSTMLM:
    """An LSTM with the `units` strongest units of each layer.

    Args:
        network: an LSTM of `build_network`; it is left as it is.
        units: U of the new network, less than before.

    Raises:
        ConfigError: another family, a number that is not smaller, or tied embeddings without a projection, before or
            after, because their width is that of the units.

    Example:
        half = shrink_lstm(load_run("run").network, 128)
    """
    if not isinstance(network, LSTMLM):
        raise ConfigError(f"shrink.lstm_units is for an LSTM, and this is {type(network).__name__}")
    config = network.config
    _check_smaller("lstm_units", units, config.hidden_dim)
    if config.tie_embeddings and network.projection is None:
        raise ConfigError(
            f"shrink.lstm_units: the tied embeddings of this model are as wide as its {config.hidden_dim} units, and "
            "must stay so; train one with another model.embedding_dim, which has a projection between them"
        )
    if config.tie_embeddings and units == config.embedding_dim:
        raise ConfigError(
            f"shrink.lstm_units={units} is the width of the tied embeddings, where a model has no projection between "
            f"units and embeddings, and this one has; {units - 1} or {units + 1} would do"
        )
    small = build_network(dataclasses.replace(config, hidden_dim=units), network.precision, network.seed)
    readers = [layer.cell.kernel for layer in network.lstm_layers[1:]]
    last = network.output_layer if network.projection is None else network.projection
    assert last is not None
    readers.append(last.kernel)
    chosen: dict[str, tuple[Any, ...]] = {}
    below: Any = slice(None)
    for layer, reader in zip(network.lstm_layers, readers, strict=True):
        cell = layer.cell
        # Both (rows, 4 U): the four gates of unit u are the columns u, U + u, 2 U + u, 3 U + u.
        reads = np.concatenate([_array(cell.kernel), _array(cell.recurrent_kernel)])
        by_gate = np.linalg.norm(reads.reshape(len(reads), 4, -1), axis=(0, 1))
        is_read = np.concatenate([_array(reader), _array(cell.recurrent_kernel)], axis=1)
        keep = _strongest(by_gate * np.linalg.norm(is_read, axis=1), units)
        gates = np.concatenate([keep + gate * config.hidden_dim for gate in range(4)])
        chosen[cell.kernel.path] = (below, gates)
        chosen[cell.recurrent_kernel.path] = (keep, gates)
        chosen[cell.bias.path] = (gates,)
        below = keep
    chosen[last.kernel.path] = (below, slice(None))
    _copy(network, small, chosen)
    return small


def _check_smaller(name: str, value: int, before: int) -> None:
    if not 0 < value < before:
        raise ConfigError(f"shrink.{name}={value} is out of range; expected 1 to {before - 1}, less than the model has")


def _array(weight: Any) -> np.ndarray:
    return np.asarray(weight.numpy(), np.float64)


def _strongest(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest scores, in their order; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def _copy(network: Network, small: Network, chosen: dict[str, tuple[Any, ...]]) -> None:
    for source, target in zip(network.weights, small.weights, strict=True):
        value = source.numpy()
        places = chosen.get(source.path, ())
        for axis, place in enumerate(places):
            value = value if isinstance(place, slice) else np.take(value, place, axis=axis)
        target.assign(value)
