"""`LayerStep`: how a layer that looks at other tokens computes one token after the other.

A layer of any other kind, such as `Dense`, computes each token by itself and is called as it is.

Shapes: B rows, T tokens, S tokens of a call, C context, D width.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import Call
from tfscale.models.cached_model import CannotDecode
from tfscale.registry import LAYER_STEPS

Keeps = Literal["state", "cache", "positions", "nothing"]
"""state: tensors of fixed size, with one token a call; cache: tensors (1, C, ...) with a row for
each position; positions: nothing, but it must be told the position; nothing: it cannot be computed
token by token."""
Arguments = Mapping[str, Any]
"""Arguments of one call of a layer, by the names in its `call`: tensors, masks, flags."""
Kept = dict[str, tf.Tensor]
"""Name of a part -> what a layer keeps from call to call."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer in the whole forward pass.

    Attributes:
        layer: the layer.
        number: how many calls of the layer came before, in the same forward pass.
        arguments: what it was called with.
        output: what it gave; None before the call.
        step: the kind of step that it takes; None for a layer that is called as it is.
    """

    layer: keras.layers.Layer
    number: int
    arguments: Arguments
    output: Any = None
    step: "type[LayerStep] | None" = None

    @property
    def name(self) -> str:
        """The name of the layer in messages."""
        return f"layer {self.layer.name!r} ({type(self.layer).__name__})"

    def refused(self, reason: str) -> CannotDecode:
        """Returns the error that this call cannot be computed token by token."""
        return CannotDecode(f"{self.name} {reason}")

    def check_first_position(self) -> None:
        """Refuses a call of a position layer that is told where its tokens stand.

        Raises:
            CannotDecode: it is given `start_index` or `positions`.
        """
        given = self.arguments
        if given.get("positions") is not None or given.get("start_index", 0) != 0:
            raise self.refused("is given start_index or positions")


@dataclass(frozen=True)
class Place:
    """The place of the tokens of one call.

    Attributes:
        positions: consecutive positions (S,) int32; None where no layer asks for them.
        mask: (1, 1, S, C) float32, added to the scores of attention; likewise.
    """

    positions: tf.Tensor | None
    mask: tf.Tensor | None


class LayerStep(abc.ABC):
    """One call of a layer on the tokens of one step; each kind of layer has a subclass.

    Args:
        call: the call in the whole forward pass, on one row.
        context: C.

    Attributes:
        name: the registered name, which is that of its file.
        layers: the layers that it is for, in words.
        keeps: see `Keeps`.
        condition: what a layer must be like, in words; "" where any does.
        shapes: the parts that the layer keeps, each with one row; all float32, zeros at the start.
        ignores_padding: whether id 0 is a token like any other though an embedding hides it
            (`mask_zero`): a text has none.

    Raises:
        CannotDecode: the layer is called in a way that cannot be computed token by token.

    Example:
        @tfscale.register
        class MovingAverageStep(LayerStep):
            name, layers, keeps = "moving_average", "`MovingAverage`", "state"
    """

    name: ClassVar[str]
    layers: ClassVar[str]
    keeps: ClassVar[Keeps]
    condition: ClassVar[str] = ""
    shapes: dict[str, tuple[int, ...]]
    ignores_padding: bool = False

    @abc.abstractmethod
    def __init__(self, call: LayerCall, context: int):
        self.layer, self.shapes = call.layer, {}

    @classmethod
    @abc.abstractmethod
    def classes(cls) -> tuple[type, ...]:
        """Returns the classes of layers, with subclasses, that it is for."""

    @classmethod
    def takes(cls, layer: keras.layers.Layer, arguments: Arguments) -> bool:
        """Returns whether a call of such a layer needs a step; False where it is called as it
        is."""
        return True

    @abc.abstractmethod
    def step(
        self, arguments: Arguments, kept: Kept, place: Place, compute: Call
    ) -> tuple[tf.Tensor, Kept]:
        """Computes S tokens.

        Args:
            arguments: as in the whole forward pass, with tensors of S tokens.
            kept: the parts before them.
            place: where they stand.
            compute: the layer's own `call`.

        Returns:
            What the layer gives for them, and the parts after them.
        """

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the kind; see `tfscale.register`."""
        LAYER_STEPS.add(cls.name, cls)


def step_of(layer: keras.layers.Layer, arguments: Arguments) -> type[LayerStep] | None:
    """Returns the kind of step that a call of a layer takes; None for one that is called as it is.

    Of several kinds the one for the nearest base class counts.
    """
    order = type(layer).__mro__
    places = {
        kind: min((order.index(base) for base in kind.classes() if base in order), default=None)
        for kind in LAYER_STEPS
    }
    fitting = {kind: place for kind, place in places.items() if place is not None}
    if not fitting:
        return None
    nearest = min(fitting, key=lambda kind: fitting[kind])
    return nearest if nearest.takes(layer, arguments) else None


def is_same(first: object, second: object) -> bool:
    """Returns whether two tensors of the whole forward pass are the same, or hold the same."""
    if first is second:
        return True
    a, b = np.asarray(first), np.asarray(second)
    return a.shape == b.shape and bool((a == b).all())
