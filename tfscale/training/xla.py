"""Decides whether a train step is compiled by XLA."""

import functools

import tensorflow as tf

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.errors import ConfigError


@functools.cache
def has_xla() -> bool:
    """Returns whether TensorFlow has XLA for its device; the TPU wheel has none for the CPU."""
    try:
        tf.function(tf.identity, jit_compile=True)(0.0)
    except tf.errors.NotFoundError:
        return False
    return True


def use_xla(config: TrainConfig, model: NetworkConfig) -> bool:
    """Returns whether forward and backward are compiled by XLA.

    `auto` spares recurrent layers on a GPU, which use cuDNN, and takes what there is.

    Raises:
        ConfigError: `train.xla` is "on", and there is no XLA for this device.
    """
    if tf.config.list_logical_devices("TPU"):  # TPUStrategy compiles all that its replicas run.
        return False
    if config.xla == "auto":
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        return has_xla() and (model.xla_on_gpu or not on_gpu)
    if config.xla == "on" and not has_xla():
        raise ConfigError(
            f"train.xla='on', and TensorFlow {tf.__version__} here has no XLA for this device (the"
            " TPU wheel has none for the CPU); take auto or off"
        )
    return config.xla == "on"
