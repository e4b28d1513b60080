"""Where to train: the choice of a `tf.distribute` strategy, once per process. Model code knows nothing of it."""

import keras
import tensorflow as tf

from tfscale.errors import ConfigError

_chosen: dict[str, tf.distribute.Strategy] = {}


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """The strategy of this process; the same object on every call with the same name.

    A second MirroredStrategy in one process would clash with the collectives of the first, so one is made and kept.

    Args:
        name: "single" (one device), "mirrored" (every GPU of this machine or, without one, every logical CPU device),
            or "auto": mirrored where there is more than one GPU, single elsewhere.

    Raises:
        ConfigError: an unknown name, or `keras.distribution` is set, which does nothing on TensorFlow.

    Example:
        with tfscale.strategy("mirrored").scope():
            model = tfscale.LanguageModel(tfscale.build_network(config))
    """
    if keras.distribution.distribution() is not None:
        raise ConfigError(
            "keras.distribution is set, and on the TensorFlow backend it shards nothing; "
            "unset it and use tfscale.strategy(...)"
        )
    if name == "auto":
        name = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "single"
    if name not in ("single", "mirrored"):
        raise ConfigError(f"unknown strategy {name!r}; expected auto, single or mirrored")
    if name not in _chosen:
        if name == "single":
            _chosen[name] = tf.distribute.get_strategy()
        else:
            kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
            _chosen[name] = tf.distribute.MirroredStrategy([d.name for d in tf.config.list_logical_devices(kind)])
    return _chosen[name]


def describe(chosen: tf.distribute.Strategy) -> str:
    """One line that says what was chosen, for the log: name, replicas, device kind."""
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    replicas = chosen.num_replicas_in_sync
    name = type(chosen).__name__ if replicas > 1 else "one device"
    return f"{name}, {replicas} replica{'s' if replicas > 1 else ''} on {kind}"
