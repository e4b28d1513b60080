"""Notes how the layers of a model are called in one forward pass, and finds by that the layer that
makes two passes differ.

Shapes: T tokens.
"""

import collections
import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import Call, layers_called_by, layers_of
from tfscale.models.stepping.layer_step import Arguments, LayerCall, step_of

_TOLERANCE = 1e-3
"""Largest difference of two outputs that are the same but for rounding, in units of their
spread."""


@contextlib.contextmanager
def watched(model: keras.Model) -> Iterator[list[LayerCall]]:
    """Notes each call of the layers inside a model in the block, in the order in which they end.

    Layers inside of one that has a step of its own (see `layer_step`) are left out.
    """
    calls: list[LayerCall] = []
    numbers: collections.Counter[int] = collections.Counter()
    within: list[LayerCall] = []

    def watch(layer: keras.layers.Layer, compute: Call) -> Call:
        def call(*args, **options):
            arguments = bound(layer, args, options)
            number = numbers[id(layer)]
            numbers[id(layer)] += 1
            if within:
                return compute(*args, **options)
            noted = LayerCall(layer, number, arguments, step=step_of(layer, arguments))
            if noted.step is not None:
                within.append(noted)
            try:
                output = compute(*args, **options)
            finally:
                if noted.step is not None:
                    within.pop()
            calls.append(dataclasses.replace(noted, output=output))
            return output

        return call

    inner = [layer for layer in layers_of(model) if layer is not model]
    with layers_called_by([(layer, watch(layer, layer.call)) for layer in inner]):
        yield calls


def bound(layer: keras.layers.Layer, args: Sequence[object], options: Arguments) -> Arguments:
    """Returns the arguments of a call by the names in the class's `call`."""
    arguments = inspect.signature(type(layer).call).bind(layer, *args, **options).arguments
    return dict(list(arguments.items())[1:])


def first_that_looks_ahead(
    model: keras.Model,
    forward: Callable[[np.ndarray], object],
    ids: np.ndarray,
    changed: np.ndarray,
) -> str:
    """Returns the name of the first layer whose outputs move with later tokens; "" if none is
    found.

    Args:
        model: the model.
        forward: computes it.
        ids: (B, T).
        changed: the same but for tokens from T // 2 on.
    """
    passes = []
    for given in (ids, changed):
        with watched(model) as calls:
            forward(given)
        passes.append(calls)
    half = ids.shape[1] // 2
    for before, after in zip(*passes, strict=False):
        first, second = _rows(before.output, ids.shape[1]), _rows(after.output, ids.shape[1])
        if first is None or second is None:
            continue
        if not _close(first[:, :half], second[:, :half]):
            return before.name
    return ""


@dataclasses.dataclass(frozen=True)
class Suspect:
    """The call that makes two forward passes differ.

    Attributes:
        call: the first call of a layer whose output differs; None where no layer's does.
        before: whether its inputs differ already.
    """

    call: LayerCall | None
    before: bool = False

    @property
    def words(self) -> str:
        """The suspect in words."""
        if self.call is None:
            return "an operation outside of the layers"
        return f"what is computed before {self.call.name}" if self.before else self.call.name


def suspect(whole: Sequence[LayerCall], steps: Sequence[Sequence[LayerCall]]) -> Suspect:
    """Returns what computes something else token by token.

    Args:
        whole: the calls of the whole forward pass over T tokens.
        steps: the calls of each of T steps.
    """
    by_step = [{(id(call.layer), call.number): call for call in calls} for calls in steps]
    for call in whole:
        parts = [made.get((id(call.layer), call.number)) for made in by_step]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            continue
        if _agree(call.output, [part.output for part in found]) is not False:
            continue
        inputs = [_first(part.arguments) for part in found]
        return Suspect(call, _agree(_first(call.arguments), inputs) is False)
    return Suspect(None)


def _first(arguments: Arguments) -> object:
    return next(iter(arguments.values()), None)


def _agree(whole: object, parts: Sequence[object]) -> bool | None:
    """Whether a tensor of T tokens is the same as T tensors of one; None where it has no axis of
    tokens, and never had."""
    tokens = len(parts)
    rows = _rows(whole, tokens)
    if rows is None:
        shape = _shape(whole)
        return None if len(shape) < 2 or tokens in shape else False
    found = [part for part in (_rows(part, 1) for part in parts) if part is not None]
    if tokens < 2:
        return None
    return len(found) == tokens and _close(rows, np.concatenate(found, axis=1))


def _array(value: object) -> np.ndarray | None:
    """The first tensor of what a layer is given or gives; None without one."""
    tensor = next(iter(keras.tree.flatten(value)), None)
    return np.asarray(tensor) if tf.is_tensor(tensor) or isinstance(tensor, np.ndarray) else None


def _shape(value: object) -> tuple[int, ...]:
    array = _array(value)
    return () if array is None else array.shape


def _rows(value: object, tokens: int) -> np.ndarray | None:
    """The first tensor where it is (B, T, ...); None where it has another shape."""
    array = _array(value)
    return array if array is not None and array.shape[1:2] == (tokens,) else None


def _close(first: np.ndarray, second: np.ndarray) -> bool:
    if first.shape != second.shape:
        return False
    spread = float(np.std(first)) if first.size else 0.0
    return bool((np.abs(first.astype(float) - second) <= _TOLERANCE * spread + 1e-6).all())
