"""Compares the steps of a model with its whole forward pass, before anything is written.

A layer that looks at other tokens and is not known would see one token alone. One that adds a table
of positions is recognised here; any other is named.

Shapes: T tokens, C context, V vocabulary.
"""

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import one_line
from tfscale.models.cached_model import CannotDecode, DecoderConfig
from tfscale.models.logits import difference, spread
from tfscale.models.stepping.added_positions import added_positions
from tfscale.models.stepping.layer_step import LayerCall
from tfscale.models.stepping.model import SteppedModel, stepped_model
from tfscale.models.stepping.watching import Suspect, suspect, watched

_TOLERANCE = 1e-3
"""Largest difference of a logit, in units of the logits' spread."""
_FEW = 8
"""Tokens that are enough to find the layer by which two forward passes differ."""
_MOST_TABLES = 4
"""Layers of positions that one model may have; a second one is found after the first."""


def compared_model(model: keras.Model, config: DecoderConfig) -> SteppedModel:
    """Returns a model as one that decodes token by token, and whose steps give its logits.

    Raises:
        CannotDecode: there is no such form; names the layer that is the cause.
    """
    try:
        stepped = stepped_model(model, config)
        for _ in range(_MOST_TABLES + 1):
            gap = _difference(stepped)
            if gap is None or not _take_positions(stepped):
                break
        if gap is None:
            return stepped
        found = _suspect(stepped)
    except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
        # The model's own code may ask for a whole window.
        raise CannotDecode(
            f"model {model.name!r} cannot be called with one token: {one_line(error)}"
        ) from error
    raise CannotDecode(
        f"{found.words} computes something else token by token than over a whole window (the logits"
        f" differ by {gap:.2g} of their spread)"
    )


def _difference(model: SteppedModel) -> float | None:
    """Compares logits at every position of windows of several lengths; None where they agree.

    Returns:
        The largest difference of the first length that differs, in units of the logits' spread.
    """
    ids = _ids(model)
    count = ids.shape[1]
    found = _step_through(model, ids)
    lengths = {count} if model.declared_length else {2, (count + 2) // 2, count}
    for length in sorted(lengths):
        expected = np.asarray(model(ids[:, :length]), np.float32)[0]
        part = found[:length]
        if part.shape != expected.shape:
            return float("inf")
        gap = float(np.abs(difference(part, expected)).max()) / spread([expected])
        # What is not a number is within no limit.
        if not gap <= _TOLERANCE:
            return gap
    return None


def _ids(model: SteppedModel, length: int | None = None) -> np.ndarray:
    """Ids (1, T) with padding among them, unless a layer takes it for a token."""
    return model.probe(length=length, lowest=int(model.ignores_padding()))


def _step_through(model: SteppedModel, ids: np.ndarray) -> np.ndarray:
    """Logits (T, V) of a window, token by token; of another shape where a step gives one."""
    step = tf.function(model.one_step, reduce_retracing=True)
    cache = {name: tf.zeros(shape) for name, shape in model.cache_spec().items()}
    rows = []
    for position in range(ids.shape[1]):
        token = tf.constant(ids[:, position : position + 1])
        logits, cache = step(token, cache, tf.constant([position]))
        rows.append(np.asarray(logits, np.float32).reshape(-1, logits.shape[-1]))
    return np.concatenate(rows)


def _suspect(model: SteppedModel) -> Suspect:
    """Finds the layer by which the steps differ from the whole forward pass."""
    ids = _ids(model, min(_FEW, model.config.sequence_length))
    cache = {name: tf.zeros(shape) for name, shape in model.cache_spec().items()}
    steps: list[list[LayerCall]] = []
    for position in range(ids.shape[1]):
        with watched(model.model) as calls:
            token = tf.constant(ids[:, position : position + 1])
            _, cache = model.one_step(token, cache, tf.constant([position]))
        steps.append(calls)
    return suspect(model.calls(ids), steps)


def _take_positions(model: SteppedModel) -> bool:
    """Has the suspected layer computed with a table of positions, if that is what it adds."""
    found = _suspect(model)
    if found.call is None or found.before or found.call.step is not None:
        return False
    context = model.config.sequence_length
    passes = [model.calls(model.probe(seed, context)) for seed in (0, 1)]
    calls = [
        next(
            call
            for call in calls
            if call.layer is found.call.layer and call.number == found.call.number
        )
        for calls in passes
    ]
    step = added_positions(calls[0], calls[1], context)
    if step is None:
        return False
    model.add(calls[0], step)
    return True
