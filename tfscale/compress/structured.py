"""Structured pruning: whole units leave, so the weights become smaller matrices and each token
costs less time.

Units are ranked by magnitude, the product of the norms of what a unit reads and of what reads it
(Li et al. 2017 rank filters by their norms); or by saliency, how much the loss would change to
first order without it (Molchanov et al. 2017). Fine-tuning is to follow.

Shapes: D hidden_dim, F feed_forward_dim, H heads, K width of a head, U units of an LSTM layer, I
its inputs.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfscale.errors import ConfigError
from tfscale.models import Network, RecurrentLM, TransformerLM, build_network
from tfscale.training.loss import token_losses

Arrays = dict[str, np.ndarray]
"""Weights, or products of weights and gradients, by the weights' paths."""


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of one layer: functions of all arrays to (n, units), what each reads and what reads
    it."""

    reads: Callable[[Arrays], np.ndarray]
    is_read: Callable[[Arrays], np.ndarray]


def shrink_feed_forward(network: Network, width: int, batches: Iterable[Any] = ()) -> TransformerLM:
    """A Transformer with the `width` strongest feed-forward units of each block.

    Args:
        network: a Transformer of `build_network`; it is left as it is.
        width: F of the new network, less than before.
        batches: (ids, targets[, weights]), each (B, T), to rank by saliency; without any the rank
            is by magnitude.

    Raises:
        ConfigError: another family, or a width that is not smaller.

    Example:
        half = shrink_feed_forward(load_run("run").network, 512)
    """
    _check_transformer(network, "feed_forward_dim")
    assert isinstance(network, TransformerLM)
    _check_smaller("feed_forward_dim", width, network.config.feed_forward_width)
    groups = [_feed_forward_units(block) for block in network.blocks]
    small = build_network(
        dataclasses.replace(network.config, feed_forward_dim=width), network.precision, network.seed
    )
    chosen: dict[str, tuple[Any, ...]] = {}
    for block, scores in zip(network.blocks, rank(network, groups, batches), strict=True):
        keep = _strongest(scores, width)
        reader = block.before_contract or block.contract
        columns = keep
        if network.config.gated:  # Gates, then units.
            columns = np.concatenate([keep, keep + network.config.feed_forward_width])
        chosen[block.expand.kernel.path] = (slice(None), columns)
        chosen[reader.kernel.path] = (keep, slice(None))
        if block.expand.use_bias:
            chosen[block.expand.bias.path] = (columns,)
    copy_weights(network, small, chosen)
    return small


def shrink_heads(network: Network, heads: int, batches: Iterable[Any] = ()) -> TransformerLM:
    """A Transformer with the `heads` strongest attention heads of each block (Michel et al. 2019).

    Args:
        network: a Transformer of `build_network`; it is left as it is.
        heads: H of the new network, less than before; the width of a head stays.
        batches: as in `shrink_feed_forward`.

    Raises:
        ConfigError: another family, or a number that is not smaller.

    Example:
        small = shrink_heads(load_run("run").network, 3)
    """
    _check_transformer(network, "num_heads")
    assert isinstance(network, TransformerLM)
    config = network.config
    if config.kv_heads != config.num_heads:
        raise ConfigError(
            "shrink.num_heads is for a model with as many key-value heads as heads; this one has"
            f" {config.kv_heads} for {config.num_heads}"
        )
    _check_smaller("num_heads", heads, config.num_heads)
    before, width = config.num_heads, config.head_width
    groups = [_head_units(block.attention, before) for block in network.blocks]
    fewer = dataclasses.replace(config, num_heads=heads, num_kv_heads=0, head_dim=width)
    small = build_network(fewer, network.precision, network.seed)
    chosen: dict[str, tuple[Any, ...]] = {}
    for block, scores in zip(network.blocks, rank(network, groups, batches), strict=True):
        attention, keep = block.attention, _strongest(scores, heads)
        # Query, key and value are each H x K columns.
        rows = (keep[:, None] * width + np.arange(width)).reshape(-1)
        columns = np.concatenate([rows + part * before * width for part in range(3)])
        chosen[attention.query_key_value.kernel.path] = (slice(None), columns)
        chosen[attention.output_projection.kernel.path] = (rows, slice(None))
        if attention.use_bias:
            chosen[attention.query_key_value.bias.path] = (columns,)
    copy_weights(network, small, chosen)
    return small


def shrink_lstm(network: Network, units: int, batches: Iterable[Any] = ()) -> RecurrentLM:
    """A recurrent network with the `units` strongest units of each layer.

    Args:
        network: an LSTM, GRU or simple recurrent network of `build_network`; it is left as it is.
        units: U of the new network, less than before.
        batches: as in `shrink_feed_forward`.

    Raises:
        ConfigError: another family, a number that is not smaller, or tied embeddings without a
            projection, before or after, because their width is that of the units.

    Example:
        half = shrink_lstm(load_run("run").network, 128)
    """
    if not isinstance(network, RecurrentLM):
        raise ConfigError(
            f"shrink.lstm_units is for a recurrent model, and this is {type(network).__name__}"
        )
    config = network.config
    _check_smaller("lstm_units", units, config.hidden_dim)
    if config.tie_embeddings and network.projection is None:
        raise ConfigError(
            "shrink.lstm_units: the tied embeddings of this model are as wide as its"
            f" {config.hidden_dim} units, and must stay so; train one with another"
            " model.embedding_dim, which has a projection between them"
        )
    if config.tie_embeddings and units == config.embedding_dim:
        raise ConfigError(
            f"shrink.lstm_units={units} is the width of the tied embeddings, where a model has no"
            f" projection between units and embeddings, and this one has; {units - 1} or"
            f" {units + 1} would do"
        )
    small = build_network(
        dataclasses.replace(config, hidden_dim=units), network.precision, network.seed
    )
    last = network.output_layer if network.projection is None else network.projection
    assert last is not None
    readers = [*(layer.cell.kernel for layer in network.recurrent_layers[1:]), last.kernel]
    groups = [
        _lstm_units(layer.cell, reader)
        for layer, reader in zip(network.recurrent_layers, readers, strict=True)
    ]
    chosen: dict[str, tuple[Any, ...]] = {}
    below: Any = slice(None)
    for layer, scores in zip(network.recurrent_layers, rank(network, groups, batches), strict=True):
        keep = _strongest(scores, units)
        # Kernels are (rows, G U): the gates of unit u are the columns u, U + u, 2 U + u and so on.
        gates = np.concatenate([keep + gate * config.hidden_dim for gate in range(config.gates)])
        chosen[layer.cell.kernel.path] = (below, gates)
        chosen[layer.cell.recurrent_kernel.path] = (keep, gates)
        chosen[layer.cell.bias.path] = (slice(None),) * (len(layer.cell.bias.shape) - 1) + (gates,)
        below = keep
    chosen[last.kernel.path] = (below, slice(None))
    copy_weights(network, small, chosen)
    return small


def rank(network: Network, groups: list[Units], batches: Iterable[Any] = ()) -> list[np.ndarray]:
    """Scores of the units of each group, the more the stronger; see the module's first lines."""
    weights = {weight.path: weight for weight in network.trainable_weights}
    batches = list(batches)
    if not batches:
        arrays = {path: np.asarray(weight.numpy(), np.float64) for path, weight in weights.items()}
        return [
            np.linalg.norm(g.reads(arrays), axis=0) * np.linalg.norm(g.is_read(arrays), axis=0)
            for g in groups
        ]
    totals: list[Any] = [0.0] * len(groups)
    variables = [weight.value for weight in weights.values()]
    for ids, targets, *rest in batches:
        with tf.GradientTape() as tape:
            _, nll = token_losses(tf.cast(network(ids, training=False), tf.float32), targets)
            loss = tf.reduce_mean(nll * rest[0] if rest else nll)
        gradients = tape.gradient(loss, variables)
        products = {
            path: np.asarray(
                tf.convert_to_tensor(gradient) * tf.convert_to_tensor(variable), np.float64
            )
            for path, variable, gradient in zip(weights, variables, gradients, strict=True)
        }
        for index, group in enumerate(groups):
            totals[index] = totals[index] + np.abs(
                group.reads(products).sum(0) + group.is_read(products).sum(0)
            )
    return totals


def _feed_forward_units(block: Any) -> Units:
    reads, reader = block.expand.kernel.path, (block.before_contract or block.contract).kernel.path
    units = block.options["feed_forward_dim"]
    # With SwiGLU a unit reads by two columns, of gate and value.
    return Units(lambda a: a[reads].reshape(-1, units), lambda a: a[reader].T)


def _head_units(attention: Any, heads: int) -> Units:
    reads, reader = attention.query_key_value.kernel.path, attention.output_projection.kernel.path
    return Units(
        # (D, 3, H, K) and (H, K, D), each to one column per head.
        lambda a: np.moveaxis(a[reads].reshape(a[reads].shape[0], 3, heads, -1), 2, -1).reshape(
            -1, heads
        ),
        lambda a: a[reader].reshape(heads, -1).T,
    )


def _lstm_units(cell: Any, reader: Any) -> Units:
    kernel, recurrent, reader = cell.kernel.path, cell.recurrent_kernel.path, reader.path
    return Units(
        lambda a: np.concatenate([a[kernel], a[recurrent]]).reshape(-1, a[recurrent].shape[0]),
        lambda a: np.concatenate([a[reader], a[recurrent]], axis=1).T,
    )


def _check_transformer(network: Network, name: str) -> None:
    if not isinstance(network, TransformerLM):
        raise ConfigError(
            f"shrink.{name} is for a Transformer, and this is {type(network).__name__}"
        )


def _check_smaller(name: str, value: int, before: int) -> None:
    if not 0 < value < before:
        raise ConfigError(
            f"shrink.{name}={value} is out of range; expected 1 to {before - 1}, less than the"
            " model has"
        )


def _strongest(scores: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest scores, in their order; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def copy_weights(network: Network, small: Network, chosen: dict[str, tuple[Any, ...]]) -> None:
    """Gives a network the weights of a larger one, of each weight the chosen places along its
    axes."""
    for source, target in zip(network.weights, small.weights, strict=True):
        value = source.numpy()
        places = chosen.get(source.path, ())
        for axis, place in enumerate(places):
            value = value if isinstance(place, slice) else np.take(value, place, axis=axis)
        target.assign(value)
