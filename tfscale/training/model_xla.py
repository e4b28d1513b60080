"""Decides whether XLA compiles the step of a Keras model."""

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of
from tfscale.compat.keras_trainer import Nested
from tfscale.errors import ConfigError
from tfscale.training.model_state import is_synchronized

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
"""Layers that are faster on a CPU without XLA."""


def model_uses_xla(network: keras.Model, wanted: bool | None, several: bool, spec: Nested) -> bool:
    """Returns whether XLA compiles the step of a network for data of a specification.

    Args:
        network: built.
        wanted: what `compile` was given; None leaves it to what works and is fast.
        several: whether there are several replicas.
        spec: of a batch.

    Raises:
        ConfigError: it was asked for and cannot.
    """
    layers = layers_of(network)
    blocked = next((layer.name for layer in layers if not layer.supports_jit), None)
    if several and is_synchronized(network):
        blocked = "synchronized batch normalization"
    if not can_be_compiled(spec):
        blocked = "data of text, ragged or sparse tensors"
    if wanted and blocked:
        raise ConfigError(f"XLA cannot compile {blocked}; leave out xla=True (jit_compile=True)")
    if wanted is not None:
        return wanted
    on_cpu = not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
    slower = on_cpu and any(isinstance(layer, CONVOLUTIONS) for layer in layers)
    return not blocked and not slower


def can_be_compiled(spec: Nested) -> bool:
    """Returns whether XLA takes data of a specification: dense numbers."""
    return all(
        isinstance(part, tf.TensorSpec) and part.dtype != tf.string
        for part in tf.nest.flatten(spec)
        if part is not None
    )
