"""Large arrays that become the value of a variable without a copy.

TensorFlow copies an array twice before a variable has it: once, so that nobody changes the tensor
by way of the array, and once into the tensor. Of a table of 262,144 tokens that is 1.3 GB for the
0.7 GB that stay. Who makes an array and then lets go of it hands its memory over instead.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.aligned import ALIGNMENT, aligned_zeros


class HandedOver(np.ndarray):
    """An array that nobody changes once it is full; made by `to_hand_over`."""


def to_hand_over(shape: tuple[int, ...], dtype: np.dtype) -> HandedOver:
    """Returns an array to be filled and then given to `hand_over`, or to `assign` of a large weight
    within `tfscale.compat.keras_weights.weights_from_files`.

    Example:
        values = to_hand_over((262144, 640), np.dtype("float32"))
        values[...] = rows
        hand_over(layer.embeddings, values)
    """
    return aligned_zeros(shape, dtype).view(HandedOver)


def hand_over(variable: keras.Variable, value: Any) -> tf.Tensor:
    """Assigns a value, without a copy where it is an array of `to_hand_over`; returns it.

    A step that changes the variable in place makes a copy first, as the memory is not
    TensorFlow's own.

    Args:
        variable: one that lies on a device by itself; of another, `assign` is called.
        value: of the variable's shape.
    """
    if not release(variable):
        return variable.assign(value)
    inner: Any = variable
    tensor = _tensor(inner, value)
    tf.raw_ops.AssignVariableOp(resource=inner._value.handle, value=tensor)
    return tensor


def release(variable: keras.Variable) -> bool:
    """Gives back the memory of a variable, which has no value until it gets another.

    Returns:
        Whether it did; not that of a variable that does not lie on a device by itself.
    """
    inner: Any = variable
    if not isinstance(inner._value, tf.Variable) or isinstance(
        inner._value, tf.distribute.DistributedValues
    ):
        return False
    empty = tf.zeros([0], inner._value.dtype)
    tf.raw_ops.AssignVariableOp(resource=inner._value.handle, value=empty)
    return True


def _tensor(variable: Any, value: Any) -> tf.Tensor:
    shared = (
        isinstance(value, HandedOver)
        and value.dtype.name == variable._dtype
        and value.flags.c_contiguous
        and value.ctypes.data % ALIGNMENT == 0
    )
    if shared:
        return _in_place(value)
    return variable._convert_to_tensor(value, dtype=variable._dtype)


def _in_place(values: HandedOver) -> tf.Tensor:
    return tf.experimental.dlpack.from_dlpack(values.__dlpack__())


def zeros(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
    """Returns zeros that take no memory until they are written, where NumPy has the type.

    Example:
        zeros((262144, 640), "float32")
    """
    if dtype not in ("float32", "float64", "float16"):
        return tf.zeros(shape, dtype)
    return _in_place(to_hand_over(shape, np.dtype(dtype)))
