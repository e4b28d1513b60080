"""Names the code of a user that takes a tensor for a Python value, which compiled code cannot.

A Python `if` on a tensor runs eagerly, and fails while a step is compiled, with a long text of
TensorFlow's. The frames of the error say whose code it was: that of a schedule, a loss, a metric.
"""

import inspect
import linecache
import os
import traceback
from collections.abc import Mapping
from types import FrameType, ModuleType

import keras
import tensorflow as tf

import tfscale
from tfscale.errors import ConfigError

KINDS: Mapping[type, str] = {
    keras.optimizers.schedules.LearningRateSchedule: "schedule",
    keras.regularizers.Regularizer: "regularizer",
    keras.constraints.Constraint: "constraint",
    keras.losses.Loss: "loss",
    keras.metrics.Metric: "metric",
    keras.optimizers.Optimizer: "optimizer",
    keras.Model: "model",
    keras.layers.Layer: "layer",
}
"""Whose code it may be; the first that fits is named."""


def refuse_condition(error: BaseException) -> None:
    """Refuses code of a user that took a tensor for a Python value while it was compiled.

    Does nothing where the error says something else, or the code is not a user's.

    Args:
        error: as it came out of the compilation; the errors that it was made of are looked at, too.

    Raises:
        ConfigError: names the user's object, its method and what would be right, in one line.

    Example:
        try:
            model.fit(x, y)
        except tf.errors.OperatorNotAllowedInGraphError as error:
            refuse_condition(error)
            raise
    """
    for one in _chain(error):
        if isinstance(one, tf.errors.OperatorNotAllowedInGraphError):
            frames = list(reversed(list(traceback.walk_tb(one.__traceback__))))
            # TensorFlow's own are those in which the tensor refuses.
            while frames and _is_of(frames[0][0], tf):
                del frames[0]
            if frames and not _is_of(frames[0][0], keras) and not _is_ours(frames[0][0]):
                _refuse([frame for frame, _ in frames], frames[0][1])


def _chain(error: BaseException) -> list[BaseException]:
    """Returns an error and those that it was made of, the first of them first."""
    chain: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in chain:
        chain.append(left)
        left = left.__cause__ or left.__context__
    return chain[::-1]


def is_of_packages(path: str) -> bool:
    """Returns whether a file of source code is TensorFlow's, Keras's or tfscale's."""
    return any(_holds(module, path) for module in (tf, keras, tfscale))


def _is_of(frame: FrameType, module: ModuleType) -> bool:
    return _holds(module, frame.f_code.co_filename)


def _holds(module: ModuleType, path: str) -> bool:
    return path.startswith(os.path.dirname(inspect.getfile(module)) + os.sep)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("tfscale.")


def _refuse(frames: list[FrameType], line: int) -> None:
    place = frames[0].f_code
    condition = linecache.getline(place.co_filename, line).strip()
    shown = f" (`{condition}`)" if condition else ""
    function = place.co_name.removeprefix("tf__")  # AutoGraph's names
    owner = next((f"{name}: its " for name in map(_owner, frames) if name), "")
    raise ConfigError(
        f"{owner}{function} takes a tensor for a Python value{shown}, which a compiled step"
        " cannot; choose by keras.ops.where or tf.cond"
    ) from None


def _owner(frame: FrameType) -> str:
    """Returns the kind and the name of the object whose method a frame is; "" of other frames."""
    code = frame.f_code
    thing = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    kind = next((word for base, word in KINDS.items() if isinstance(thing, base)), "")
    name = getattr(thing, "name", None) or type(thing).__name__
    return f"{kind} {name!r}" if kind else ""
