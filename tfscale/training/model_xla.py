"""Decides whether XLA compiles the step of a Keras model."""

import math
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of, own_trainable_variables
from tfscale.compat.keras_trainer import Nested
from tfscale.errors import ConfigError
from tfscale.training.model_state import is_synchronized
from tfscale.training.speed_trial import Product
from tfscale.training.xla import bfloat16_wants_xla, has_xla, on_cpu, worth_a_trial

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

_ROWS = 512
"""Rows of the products that are tried, where nothing says how many there will be."""


def model_uses_xla(
    network: keras.Model, wanted: bool | None, several: bool, workers: int, spec: Nested
) -> bool:
    """Returns whether XLA compiles the step of a network for data of a specification.

    Args:
        network: built.
        wanted: what `compile` was given; None leaves it to what works and is fast.
        several: whether there are several replicas.
        workers: processes that train it.
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
    slower = on_cpu() and any(isinstance(layer, CONVOLUTIONS) for layer in layers)
    return not blocked and not slower and suits_xla(network, workers, _is_fixed(spec))


def suits_xla(network: keras.Model, workers: int, fixed: bool = True) -> bool:
    """Returns whether XLA is the faster way for the types that a network's layers compute in.

    It is, but perhaps for large products in bfloat16, see `tfscale.training.speed_trial`. Several
    workers must do the same, so no trial is made among them; nor is one for recurrent layers, whose
    steps are slow without XLA.

    Args:
        network: built.
        workers: processes that train it.
        fixed: whether all batches have a known number of rows.
    """
    kernels = list(_bfloat16_kernels(network))
    recurrent = any(kernel.name == "recurrent_kernel" for kernel in kernels)
    if workers > 1 or recurrent or not on_cpu() or not has_xla():
        return True
    products = [_product(kernel) for kernel in kernels]
    return not worth_a_trial(products) or bfloat16_wants_xla(products, fixed)


def _bfloat16_kernels(network: keras.Model) -> Iterator[keras.Variable]:
    for layer in layers_of(network):
        if layer.compute_dtype == "bfloat16":
            for weight in own_trainable_variables(layer):
                if weight.name in ("kernel", "recurrent_kernel"):
                    yield weight


def _product(kernel: keras.Variable) -> Product:
    inputs = kernel.shape[0]
    return _ROWS, inputs, math.prod(kernel.shape) // inputs


def _is_fixed(spec: Nested) -> bool:
    return all(p.shape.is_fully_defined() for p in tf.nest.flatten(spec) if p is not None)


def can_be_compiled(spec: Nested) -> bool:
    """Returns whether XLA takes data of a specification: dense numbers."""
    return all(
        isinstance(part, tf.TensorSpec) and part.dtype != tf.string
        for part in tf.nest.flatten(spec)
        if part is not None
    )
