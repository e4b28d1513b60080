"""A Keras model of layers as a network that decodes token by token.

While a step is computed, each layer that looks at other tokens is called with what it keeps and its
place, and all else as the model calls it: the model's own code, functional or subclassed, says how
the layers are joined. That the steps are the model is not believed but measured, before anything is
written.

Shapes: T tokens, S tokens of a call, C context, V vocabulary.
"""

import collections
import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import Call, call_of_any_shape, layers_called_by
from tfscale.errors import reason
from tfscale.models.cached_model import CachedModel, CannotDecode, DecoderConfig
from tfscale.models.network import Decodes
from tfscale.models.outputs import probe_ids
from tfscale.models.stepping.layer_step import Kept, LayerCall, LayerStep, Place
from tfscale.models.stepping.watching import bound, suspect, watched

_COMPARED = 24
"""Most tokens on which steps are compared with the whole forward pass."""
_TOLERANCE = 1e-3
"""Largest difference of a logit, in units of the logits' spread."""
_HIDDEN = -1e9


class SteppedModel(CachedModel):
    """A model of layers that have a `LayerStep`, by `cached_step`.

    Args:
        model: ids -> logits (B, T, V), in float32, built.
        config: vocabulary and context.

    Raises:
        CannotDecode: no layer looks at other tokens, or one that cannot be computed token by token.
    """

    def __init__(self, model: keras.Model, config: DecoderConfig):
        self._length = _declared_length(model)
        super().__init__(model, config)
        self._steps: dict[tuple[int, int], LayerStep] = {}
        self._names: dict[tuple[int, int], dict[str, str]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        counts: collections.Counter[str] = collections.Counter()
        for call in self._calls():
            assert call.step is not None
            step = call.step(call, config.sequence_length)
            key, prefix = (id(call.layer), call.number), _PREFIXES.get(step.keeps, "")
            self._steps[key] = step
            self._names[key] = {part: f"{prefix}_{part}_{counts[prefix]}" for part in step.shapes}
            self._shapes |= {self._names[key][part]: shape for part, shape in step.shapes.items()}
            counts[prefix] += bool(step.shapes)
        self._layers = list({id(step.layer): step.layer for step in self._steps.values()}.values())
        self.decodes = _way_to_decode(list(self._steps.values()))
        if self.decodes == "state":
            self.config = dataclasses.replace(config, family="recurrent")

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
                if key not in self._steps:
                    return compute(*args, **options)
                names = self._names[key]
                kept: Kept = {part: after[name] for part, name in names.items()}
                output, new = self._steps[key].step(
                    bound(layer, args, options), kept, place, compute
                )
                after.update({names[part]: value for part, value in new.items()})
                return output

            return call

        with layers_called_by([(layer, stepped(layer, layer.call)) for layer in self._layers]):
            logits = call_of_any_shape(self.model, tokens)
        return (self._cut(logits) if with_logits else None), {
            name: after[name] for name in self._shapes
        }

    def _forward(self, ids, training):
        length = ids.shape[1]
        if self._length is not None and length < self._length:
            # What follows a token does not change its logits.
            ids = tf.pad(ids, [[0, 0], [0, self._length - length]], constant_values=1)
        return call_of_any_shape(self.model, ids)[:, :length]

    def _ids(self, lowest: int = 1) -> np.ndarray:
        """Random ids (1, T) to look at the model with."""
        length = self._length or min(self.config.sequence_length, _COMPARED)
        ids = probe_ids(self.model, length)[:1]
        # Id 0 is padding to a layer with masks.
        return np.where(np.arange(length) % 5 == 3, np.minimum(ids, lowest), ids).astype(np.int32)

    def _calls(self) -> list[LayerCall]:
        """The calls in the whole forward pass of layers that have a step."""
        with watched(self.model) as calls:
            self._forward(tf.constant(self._ids()), False)
        found = [call for call in calls if call.step is not None]
        if all(call.step is not None and call.step.keeps == "positions" for call in found):
            raise CannotDecode(
                f"model {self.model.name!r} has no layer that is known to look at earlier tokens"
            )
        return found

    def check_steps(self) -> None:
        """Compares the steps with the whole forward pass, at every position of windows of several
        lengths.

        Raises:
            CannotDecode: they differ; names the layer that is suspected.
        """
        ids = self._ids(lowest=0 if self.decodes == "state" else 1)
        count = ids.shape[1]
        found = self._step_through(ids)
        lengths = {count} if self._length else {2, (count + 2) // 2, count}
        for length in sorted(lengths):
            expected = np.asarray(self(ids[:, :length]), np.float32)[0]
            part = found[:length]
            unit = float(np.std(expected - expected.mean(-1, keepdims=True))) or 1e-12
            gap = np.inf if part.shape != expected.shape else float(np.abs(part - expected).max())
            if not gap <= _TOLERANCE * unit:
                raise CannotDecode(
                    f"{self._suspect(ids)} computes something else token by token than over a whole"
                    f" window (the logits of {length} tokens differ by {gap / unit:.2g} of their"
                    " spread)"
                )

    def _step_through(self, ids: np.ndarray) -> np.ndarray:
        """Logits (T, V) of a window, token by token; fewer where a step gives another shape."""
        step = tf.function(self._at, reduce_retracing=True)
        cache = {name: tf.zeros(shape) for name, shape in self._shapes.items()}
        rows = []
        for position in range(ids.shape[1]):
            logits, cache = step(
                tf.constant(ids[:, position : position + 1]), cache, tf.constant([position])
            )
            rows.append(np.asarray(logits, np.float32).reshape(-1, logits.shape[-1]))
        return np.concatenate(rows)

    def _at(
        self, tokens: tf.Tensor, cache: Kept, positions: tf.Tensor
    ) -> tuple[tf.Tensor | None, Kept]:
        if self.decodes == "state":
            return self.cached_step(tokens, cache)
        hidden = tf.range(self.config.sequence_length) > positions[0]
        mask = tf.where(hidden, _HIDDEN, 0.0)[None, None, None]
        return self.cached_step(tokens, cache, input_pos=positions, mask=mask)

    def _suspect(self, ids: np.ndarray) -> str:
        ids = ids if self._length else ids[:, :8]
        with watched(self.model) as whole:
            self._forward(tf.constant(ids), False)
        cache = {name: tf.zeros(shape) for name, shape in self._shapes.items()}
        steps = []
        for position in range(ids.shape[1]):
            with watched(self.model) as calls:
                _, cache = self._at(
                    tf.constant(ids[:, position : position + 1]), cache, tf.constant([position])
                )
            steps.append(calls)
        return suspect(whole, steps)


def stepped_model(model: keras.Model, config: DecoderConfig) -> SteppedModel:
    """Returns a model of layers as one that decodes token by token; see `SteppedModel`.

    Raises:
        CannotDecode: it has no layer that looks at other tokens, or one that cannot be computed
            token by token, or its steps are not the whole forward pass.
    """
    try:
        stepped = SteppedModel(model, config)
        stepped.check_steps()
    except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        # The model's own code may ask for a whole window.
        raise CannotDecode(
            f"model {model.name!r} cannot be called with one token: {reason(error)}"
        ) from error
    return stepped


_PREFIXES = {"cache": "kv_cache", "state": "state"}


def _way_to_decode(steps: Sequence[LayerStep]) -> Decodes:
    kept = {step.keeps for step in steps}
    if "state" not in kept:
        return "cache"
    if kept == {"state"}:
        return "state"
    named = {
        keeps: next(step.layer.name for step in steps if step.keeps == keeps) for keeps in kept
    }
    others = " and ".join(
        f"{named[keeps]!r} ({what})"
        for keeps, what in (("cache", "a key-value cache"), ("positions", "a position"))
        if keeps in named
    )
    raise CannotDecode(
        f"layer {named['state']!r} (a state) stands beside {others}; a file that generates has one"
        " or the other"
    )


def _declared_length(model: keras.Model) -> int | None:
    inputs = getattr(model, "inputs", None)
    return inputs[0].shape[1] if inputs and len(inputs[0].shape) == 2 else None
