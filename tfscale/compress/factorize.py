"""Low rank: a matrix becomes the product of two narrow ones, the nearest there is (Eckart and Young
1936).

Which matrices a network has, and what becomes of its weights, it says by `LanguageNetwork.factors`.
Fine-tuning is to follow (Denton et al. 2014).
"""

from tfscale.config.shrinking import ShrinkConfig
from tfscale.errors import ConfigError
from tfscale.models import LanguageNetwork, build_network

_REFUSALS = {
    "embedding_rank": "shrink.embedding_rank is for Transformers and recurrent models, not {}",
    "feed_forward_rank": "shrink.feed_forward_rank is for a Transformer, and this is {}",
    "output_rank": (
        "shrink.output_rank is for an LSTM with an output projection of its own and of full rank"
    ),
}


def factorize_embedding(network: LanguageNetwork, rank: int) -> LanguageNetwork:
    """Returns a network whose token table has `rank` columns.

    A Transformer gets a matrix between table and blocks, and one before the output (Lan et al.
    2020). An LSTM takes the narrow rows as they are: the matrix between is multiplied into the
    kernel of its first layer.

    Args:
        network: a network of `build_network`; it is left as it is.
        rank: R, less than the table's width and at most its tokens.

    Raises:
        ConfigError: a rank that is not smaller, or a Transformer with separate tables.
    """
    return lower_rank(network, "embedding_rank", rank)


def factorize_feed_forward(network: LanguageNetwork, rank: int) -> LanguageNetwork:
    """Returns a Transformer whose two feed-forward matrices have rank `rank`.

    Args:
        network: a Transformer of full rank; it is left as it is.
        rank: R; smaller than D x F / (D + F), or there would be more weights than before.

    Raises:
        ConfigError: another family, a network of low rank already, or a rank that saves nothing.
    """
    return lower_rank(network, "feed_forward_rank", rank)


def factorize_output(network: LanguageNetwork, rank: int) -> LanguageNetwork:
    """Returns a recurrent network whose output projection has rank `rank`.

    Args:
        network: a recurrent network without tied embeddings; it is left as it is.
        rank: R, less than U x V / (U + V).

    Raises:
        ConfigError: another family, tied embeddings, or a rank that saves nothing.
    """
    return lower_rank(network, "output_rank", rank)


def lower_rank(network: LanguageNetwork, size: str, rank: int) -> LanguageNetwork:
    """Returns a network whose matrices have a lower rank.

    Args:
        network: it is left as it is.
        size: which matrices, a rank of `ShrinkConfig`.
        rank: the rank.

    Raises:
        ConfigError: the network has no such matrices, or the rank saves nothing.
    """
    new = network.factors(size, rank)
    if new is None:
        raise ConfigError(_REFUSALS[size].format(type(network).__name__))
    smaller = network.config.shrunken(ShrinkConfig.of(size, rank))
    small = build_network(smaller, network.precision, network.seed)
    old = {weight.path: weight for weight in network.weights}
    unused = set(new) - {weight.path for weight in small.weights}
    assert not unused, f"the small network has no {', '.join(sorted(unused))}"
    for weight in small.weights:
        weight.assign(new[weight.path] if weight.path in new else old[weight.path].numpy())
    return small
