"""A Keras model of layers as a network that decodes token by token.

While a step is computed, each layer that looks at other tokens is called with what it keeps and its
place, and all else as the model calls it: the model's own code, functional or subclassed, says how
the layers are joined.

Shapes: T tokens, S tokens of a call, C context, V vocabulary.
"""

import collections
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import Call, call_of_any_shape, layers_called_by
from tfscale.models.cached_model import CachedModel, CannotDecode, DecoderConfig
from tfscale.models.outputs import probe_ids
from tfscale.models.stepping.layer_step import Kept, LayerCall, LayerStep, Place
from tfscale.models.stepping.state_rows import StateRows
from tfscale.models.stepping.watching import bound, watched

_FEW = 4
_COMPARED = 24
"""Most tokens of a window that the model is looked at with."""
_HIDDEN = -1e9
_PREFIXES = {"cache": "kv_cache", "state": "state", "positions": "position"}


class SteppedModel(CachedModel):
    """A model of layers that have a `LayerStep`, by `cached_step`.

    That its steps are the model is not known before `tfscale.models.stepping.comparison` has
    compared them.

    Args:
        model: ids -> logits (B, T, V), in float32.
        config: vocabulary and context.

    Attributes:
        declared_length: T where the model is built for windows of one length; None for any.

    Raises:
        CannotDecode: a layer cannot be computed token by token.
    """

    def __init__(self, model: keras.Model, config: DecoderConfig):
        inputs = getattr(model, "inputs", None)
        self.declared_length = inputs[0].shape[1] if inputs else None
        self.model, self.config = model, config
        context = config.sequence_length
        # A few tokens first: for the whole context a table of positions may be too short. Masks are
        # looked at in a window as long as the context.
        for length in (min(_FEW, context), context):
            self._steps = {
                _key(call): call.step(call, context)
                for call in self.calls(self.probe(length=length))
                if call.step is not None
            }
        super().__init__(model, config)
        self._arrange()

    def _arrange(self) -> None:
        """Says what is carried from call to call, and by which names."""
        kept = {step.keeps for step in self._steps.values()}
        self.decodes = "state" if kept == {"state"} else "cache"
        family = "recurrent" if self.decodes == "state" else "transformer"
        self.config = dataclasses.replace(self.config, family=family)
        self.one_token = "state" in kept
        self._arranged: dict[tuple[int, int], LayerStep] = {}
        self._names: dict[tuple[int, int], dict[str, str]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        counts: collections.Counter[str] = collections.Counter()
        for key, step in self._steps.items():
            prefix = _PREFIXES[step.keeps]
            if step.keeps == "state" and self.decodes == "cache":
                step = StateRows(step, self.config.sequence_length)
            self._arranged[key] = step
            self._names[key] = {part: f"{prefix}_{part}_{counts[prefix]}" for part in step.shapes}
            self._shapes |= {self._names[key][part]: step.shapes[part] for part in step.shapes}
            counts[prefix] += bool(step.shapes)

    def add(self, call: LayerCall, step: LayerStep) -> None:
        """Has a call computed by a step that was found by comparison."""
        self._steps[_key(call)] = step
        self._arrange()

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        return dict(self._shapes)

    def cached_step(self, tokens, cache, *, input_pos=None, mask=None, with_logits=True):
        after = dict(cache)
        place = Place(input_pos, mask)
        numbers: collections.Counter[int] = collections.Counter()

        def stepped(layer: keras.layers.Layer, compute: Call) -> Call:
            def call(*args, **options):
                key = id(layer), numbers[id(layer)]
                numbers[id(layer)] += 1
                if key not in self._arranged:
                    return compute(*args, **options)
                names = self._names[key]
                kept: Kept = {part: after[name] for part, name in names.items()}
                arguments = bound(layer, args, options)
                output, new = self._arranged[key].step(arguments, kept, place, compute)
                after.update({names[part]: value for part, value in new.items()})
                return output

            return call

        layers = {id(step.layer): step.layer for step in self._arranged.values()}.values()
        with layers_called_by([(layer, stepped(layer, layer.call)) for layer in layers]):
            logits = call_of_any_shape(self.model, tokens)
        new = {name: after[name] for name in self._shapes}
        return (self._cut(logits) if with_logits else None), new

    def one_step(
        self, tokens: tf.Tensor, cache: Kept, position: tf.Tensor
    ) -> tuple[tf.Tensor | None, Kept]:
        """Reads a token (1, 1) at a position (1,), with all before it to be seen; as
        `cached_step`."""
        if self.decodes == "state":
            return self.cached_step(tokens, cache)
        hidden = tf.range(self.config.sequence_length) > position[0]
        mask = tf.where(hidden, _HIDDEN, 0.0)[None, None, None]
        return self.cached_step(tokens, cache, input_pos=position, mask=mask)

    def probe(self, seed: int = 0, length: int | None = None, lowest: int = 1) -> np.ndarray:
        """Returns random ids (1, T) to look at the model with.

        Args:
            seed: another one gives other ids.
            length: T; None takes the one that the model is built for, or a few.
            lowest: an id that is among them. 0 is padding to a layer with masks.
        """
        length = self.declared_length or length or min(self.config.sequence_length, _COMPARED)
        ids = np.roll(probe_ids(self.model, length)[:1], seed, axis=1)
        return np.where(np.arange(length) % 5 == 3, np.minimum(ids, lowest), ids).astype(np.int32)

    def calls(self, ids: np.ndarray) -> list[LayerCall]:
        """Returns the calls of layers in the whole forward pass."""
        with watched(self.model) as calls:
            self._forward(tf.constant(ids), False)
        return calls

    def ignores_padding(self) -> bool:
        """Returns whether a layer takes id 0 for a token though an embedding hides it."""
        return any(step.ignores_padding for step in self._steps.values())

    def looks_back(self) -> bool:
        """Returns whether any layer is known to look at earlier tokens."""
        return bool(self._shapes)

    def _forward(self, ids, training):
        length = ids.shape[1]
        if self.declared_length is not None and length < self.declared_length:
            # What follows a token does not change its logits.
            pads = [[0, 0], [0, self.declared_length - length]]
            ids = tf.pad(ids, pads, constant_values=1)
        return call_of_any_shape(self.model, ids)[:, :length]


def stepped_model(model: keras.Model, config: DecoderConfig) -> SteppedModel:
    """Returns a model of layers as one that decodes token by token; see `SteppedModel`.

    Raises:
        CannotDecode: it has no layer that looks at other tokens, or one that cannot be computed
            token by token.
    """
    stepped = SteppedModel(model, config)
    if not stepped.looks_back():
        raise CannotDecode(
            f"model {model.name!r} has no layer that is known to look at earlier tokens"
        )
    return stepped


def _key(call: LayerCall) -> tuple[int, int]:
    return id(call.layer), call.number
