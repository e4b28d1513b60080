"""Structured pruning: whole units are removed, so the weights become smaller matrices and each
token costs less time.

Which units a network has, it says by `LanguageNetwork.unit_groups`. They are ranked by magnitude,
the product of the norms of what a unit reads and of what reads it (Li et al. 2017 rank filters by
their norms); or by saliency, how much the loss would change to first order without it (Molchanov et
al. 2017). Fine-tuning is to follow.

Shapes: B rows, T tokens, n weights of a unit.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from tfscale.config.shrinking import ShrinkConfig
from tfscale.errors import ConfigError
from tfscale.models import LanguageNetwork, build_network
from tfscale.models.shrinking import UnitGroup
from tfscale.training.loss import token_losses

Batches = Iterable[Sequence[tf.Tensor]]
"""(ids, targets[, weights]), each (B, T)."""
_BELONGS_TO = {
    "feed_forward_dim": "a Transformer",
    "num_heads": "a Transformer",
    "lstm_units": "a recurrent model",
}


def shrink_feed_forward(
    network: LanguageNetwork, width: int, batches: Batches = ()
) -> LanguageNetwork:
    """Returns a Transformer with the `width` strongest feed-forward units of each block.

    Args:
        network: a Transformer of `build_network`; it stays as it is.
        width: F of the new network, less than before.
        batches: (ids, targets[, weights]), each (B, T), to rank by saliency; without any the rank
            is by magnitude.

    Raises:
        ConfigError: another family, or a width that is not smaller.

    Example:
        half = shrink_feed_forward(load_run("run").network, 512)
    """
    return shrink_units(network, "feed_forward_dim", width, batches)


def shrink_heads(network: LanguageNetwork, heads: int, batches: Batches = ()) -> LanguageNetwork:
    """Returns a Transformer with the `heads` strongest attention heads of each block (Michel et al.
    2019).

    Args:
        network: a Transformer of `build_network`; it stays as it is.
        heads: H of the new network, less than before; the width of a head stays.
        batches: as in `shrink_feed_forward`.

    Raises:
        ConfigError: another family, or a number that is not smaller.

    Example:
        small = shrink_heads(load_run("run").network, 3)
    """
    return shrink_units(network, "num_heads", heads, batches)


def shrink_lstm(network: LanguageNetwork, units: int, batches: Batches = ()) -> LanguageNetwork:
    """Returns a recurrent network with the `units` strongest units of each layer.

    Args:
        network: an LSTM, GRU or simple recurrent network of `build_network`; it stays as it is.
        units: U of the new network, less than before.
        batches: as in `shrink_feed_forward`.

    Raises:
        ConfigError: another family, a number that is not smaller, or tied embeddings without a
            projection, before or after, because their width is that of the units.

    Example:
        half = shrink_lstm(load_run("run").network, 128)
    """
    return shrink_units(network, "lstm_units", units, batches)


def shrink_units(
    network: LanguageNetwork, size: str, count: int, batches: Batches = ()
) -> LanguageNetwork:
    """Returns a network with the `count` strongest units of each group.

    Args:
        network: it stays as it is.
        size: which units, a size of `ShrinkConfig`.
        count: the units of a group that stay, fewer than before.
        batches: as in `shrink_feed_forward`.

    Raises:
        ConfigError: the network has no such units, or cannot have as few.
    """
    groups = network.unit_groups(size, count)
    if not groups:
        raise ConfigError(
            f"shrink.{size} is for {_BELONGS_TO[size]}, and this is {type(network).__name__}"
        )
    smaller = network.config.shrunken(ShrinkConfig.of(size, count))
    small = build_network(smaller, network.precision, network.seed)
    stays: dict[str, dict[int, np.ndarray]] = {}
    for group, scores in zip(groups, rank(network, groups, batches), strict=True):
        for path, axis, places in group.places(_strongest(scores, count)):
            stays.setdefault(path, {})[axis] = places
    for source, target in zip(network.weights, small.weights, strict=True):
        value = source.numpy()
        for axis, places in stays.get(source.path, {}).items():
            value = np.take(value, places, axis=axis)
        target.assign(value)
    return small


def rank(
    network: LanguageNetwork, groups: Sequence[UnitGroup], batches: Batches = ()
) -> list[np.ndarray]:
    """Returns the scores of the units of each group, the stronger the higher; see the first lines
    of this file."""
    weights = {weight.path: weight for weight in network.trainable_weights}
    batches = list(batches)
    if not batches:
        arrays = {path: np.asarray(weight.numpy(), np.float64) for path, weight in weights.items()}
        return [
            np.linalg.norm(g.reads(arrays), axis=0) * np.linalg.norm(g.is_read(arrays), axis=0)
            for g in groups
        ]
    totals = [np.zeros(()) for _ in groups]
    variables = [weight.value for weight in weights.values()]
    for ids, targets, *weights_of_tokens in batches:
        with tf.GradientTape() as tape:
            _, nll = token_losses(tf.cast(network(ids, training=False), tf.float32), targets)
            loss = tf.reduce_mean(nll * weights_of_tokens[0] if weights_of_tokens else nll)
        gradients = tape.gradient(loss, variables)
        products = {
            path: np.asarray(
                tf.convert_to_tensor(gradient) * tf.convert_to_tensor(variable), np.float64
            )
            for path, variable, gradient in zip(weights, variables, gradients, strict=True)
        }
        for index, group in enumerate(groups):
            without = group.reads(products).sum(0) + group.is_read(products).sum(0)
            totals[index] = totals[index] + np.abs(without)
    return totals


def _strongest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the numbers of the `count` largest scores, ascending; of equal ones the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])
