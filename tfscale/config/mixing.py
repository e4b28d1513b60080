"""Weights of the sources that a training mixes."""

from collections.abc import Mapping

from tfscale.errors import ConfigError, check_range


def check_weights(weights: Mapping[str, float], name: str = "train.mix") -> None:
    """Refuses weights of sources that give no mixture.

    Args:
        weights: name of each source -> its weight.
        name: the option, for the message.

    Raises:
        ConfigError: a weight below 0, no weight above 0, or a name that is not text.

    Example:
        check_weights({"web": 0.7, "code": -1})    # ConfigError: train.mix.code=-1 is out of range
    """
    for source, weight in weights.items():
        if not isinstance(source, str):
            raise ConfigError(f"{name}: expected names of sources; received {source!r}")
        check_range(weight >= 0, f"{name}.{source}", weight, "0 or more")
    if not any(weights.values()):
        raise ConfigError(
            f"{name}={dict(weights)!r} reads nothing; give a source a weight above 0, such as"
            " web=0.7"
        )
