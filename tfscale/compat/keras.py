"""Private names of Keras 3 that tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of Keras takes one away, tests/compat/test_keras.py
says which.
"""

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

KerasConfig = dict[str, Any]
"""The result of a layer's `get_config`: `Any`, because each layer has arguments of its own."""
KerasTree = Any
"""Arrays in lists, tuples and dicts, as `keras.tree` takes them: how deep, each model decides."""
Call = Callable[..., tf.Tensor]
"""A layer's forward pass, as `keras.layers.Layer.call`."""


def layers_of(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it, however deep.

    `Model.layers` gives the first level only, and `Model.weights` does not say whose a weight is.
    """
    return list(model._flatten_layers())


class HasLayers:
    """Base of what is not a layer itself: `layers_of` returns those of its `model`."""

    model: keras.Model

    def _flatten_layers(self) -> list[keras.layers.Layer]:
        return layers_of(self.model)


def is_leaf(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer holds no other layer, for which there is no public name."""
    return not layer._layers


def own_trainable_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the trainable variables that a layer itself holds, without those of layers inside it.

    `Layer.trainable_variables` gives both.
    """
    return list(layer._trainable_variables)


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables that a layer itself holds, without those of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def embedding_table(layer: keras.layers.Embedding) -> keras.Variable:
    """Returns the variable with the table of an embedding layer.

    `Embedding.embeddings` is a tensor where the layer is quantized or has a low-rank addition.
    """
    return layer._embeddings


def symbolic_calls(layer: keras.layers.Layer) -> list:
    """Returns the places in functional models where a layer is called, as Keras's `Node`s.

    A node's `arguments.kwargs` and `input_tensors` say how; Keras names them nowhere in public.
    """
    return list(layer._inbound_nodes)


@contextlib.contextmanager
def layers_called_by(calls: Sequence[tuple[keras.layers.Layer, Call]]) -> Iterator[None]:
    """Has layers compute by other functions than their own `call` for the block.

    `Layer.__setattr__` refuses or tracks attributes of a layer that is built, so the functions go
    past it. A layer whose `call` was replaced before has that one again afterwards.

    Args:
        calls: layers, each with the function that takes the arguments of its `call`.
    """
    before = [(layer, vars(layer).get("call")) for layer, _ in calls]
    try:
        for layer, call in calls:
            object.__setattr__(layer, "call", call)
        yield
    finally:
        for layer, replaced in before:
            if replaced is not None:
                object.__setattr__(layer, "call", replaced)
            else:
                object.__delattr__(layer, "call")


def call_of_any_shape(model: keras.Model, ids: tf.Tensor) -> tf.Tensor:
    """Returns what a model gives for ids (B, T) at inference, with any number of rows and tokens.

    A functional model refuses others in `__call__`, before its layers, which know no length, are
    asked.
    """
    declared = getattr(model, "inputs", None)
    if declared and None not in declared[0].shape[1:2]:
        return model.call(ids, training=False)
    if declared and declared[0].shape[0] is not None:
        return model.call(ids, training=False)
    return model(ids, training=False)


def output_layer(model: keras.Model) -> keras.layers.Layer | None:
    """Returns the layer whose output a model of one output gives; None where it is not known.

    The last of `Model.layers` is another one where a functional model joins branches. Only the
    tensor of its output says by which layer it was made. Of a subclassed model the last layer is
    taken.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return model.layers[-1] if model.layers else None
    layer = outputs[0]._keras_history.operation if len(outputs) == 1 else None
    if isinstance(layer, keras.Model):
        return output_layer(layer)
    return layer if isinstance(layer, keras.layers.Layer) else None


def layers_at_output(model: keras.Model) -> list[keras.layers.Layer] | None:
    """Returns the layers with weights that are nearest to a functional model's outputs.

    They are found from the outputs backwards, through what has no weights. None for a model whose
    layers are called in a function of its own.
    """
    found: dict[int, keras.layers.Layer] = {}
    tensors = list(keras.tree.flatten(getattr(model, "outputs", None) or []))
    if not tensors:
        return None
    seen = set()
    while tensors:
        tensor = tensors.pop()
        operation, node, _ = tensor._keras_history
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        inside = layers_at_output(operation) if isinstance(operation, keras.Model) else None
        if inside is not None:
            found |= {id(layer): layer for layer in inside}
        elif isinstance(operation, keras.layers.Layer) and operation.weights:
            found[id(operation)] = operation
        else:
            tensors += operation._inbound_nodes[node].input_tensors
    return list(found.values())


@dataclasses.dataclass(frozen=True)
class AttentionParts:
    """The layers inside an attention layer, some of which are its private attributes.

    Attributes:
        query: (B, T, D) -> (B, T, H, K).
        key: (B, T, D) -> (B, T, G, K).
        value: (B, T, D) -> (B, T, G, W).
        output: (B, T, H, W) -> (B, T, F).
        gate: (B, T, D) -> (B, T, H, W), what is multiplied to the values; None without.
        groups: G.
        key_width: K.
        value_width: W.
        window: tokens that one sees, itself included; None for all.
    """

    query: keras.layers.Layer
    key: keras.layers.Layer
    value: keras.layers.Layer
    output: keras.layers.Layer
    gate: keras.layers.Layer | None
    groups: int
    key_width: int
    value_width: int
    window: int | None


def attention_parts(layer: keras.layers.Layer) -> AttentionParts:
    """Returns what is inside a built `MultiHeadAttention` or `GroupQueryAttention`."""
    config = layer.get_config()
    inner = {
        "query": layer._query_dense,
        "key": layer._key_dense,
        "value": layer._value_dense,
        "output": layer._output_dense,
        "gate": layer._gate_dense if config["use_gate"] else None,
        "window": config["sliding_window"],
    }
    if isinstance(layer, keras.layers.GroupQueryAttention):
        width = layer.head_dim
        return AttentionParts(
            **inner, groups=layer.num_key_value_heads, key_width=width, value_width=width
        )
    return AttentionParts(
        **inner, groups=layer.num_heads, key_width=layer.key_dim, value_width=layer.value_dim
    )


def set_path(variable: keras.Variable, path: str) -> None:
    """Gives a variable a path of its own; `Variable.path` is made of name scopes and read-only.

    Optimizers name their variables after it.
    """
    assert isinstance(variable._path, str)
    variable._path = path


class WholeArray(Protocol):
    """An array that is spread over devices, and read and assigned as one."""

    shape: tf.TensorShape

    def numpy(self) -> np.ndarray: ...

    def assign(self, value: np.ndarray) -> None: ...


class SpreadVariable(keras.Variable):
    """A Keras variable whose value is on several replicas or servers.

    Keras reads a variable's `_value` when it saves weights and assigns by `_direct_assign`; what is
    spread has other ways for both.

    Args:
        parts: the whole.
        first: one of the parts, which gives the type.
        name: of the variable.
    """

    def __init__(self, parts: WholeArray, first: tf.Variable, name: str):
        super().__init__(first, trainable=False, name=name)
        self._parts, self._shape = parts, tuple(parts.shape)

    def numpy(self) -> np.ndarray:
        return self._parts.numpy()

    def _direct_assign(self, value: ArrayLike) -> None:
        self._parts.assign(np.asarray(value))


def one_line(error: BaseException) -> str:
    """Returns the last line that an error of Keras or TensorFlow says something in."""
    lines = re.sub(r"\x1b\[\d+m|\{\{.*?\}\}", "", str(error)).splitlines()
    # Keras adds the arguments of the call, one a line, behind the reason.
    said = itertools.takewhile(lambda line: not line.startswith("Arguments received"), lines)
    kept = [line.strip() for line in said if line.strip()]
    return (kept[-1] if kept else type(error).__name__)[:200]


def mask_of(tensor: tf.Tensor) -> tf.Tensor | None:
    """Returns the mask that a layer handed on with a tensor; None without one.

    It is what Keras's own losses read.
    """
    from keras.src.backend import get_keras_mask

    return get_keras_mask(tensor)


def with_mask(tensor: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns a tensor that carries a mask as a layer's output does; see `mask_of`."""
    from keras.src.backend import set_keras_mask

    set_keras_mask(tensor, mask)
    return tensor
