"""TF-MOT's pruning engine, imported so that nothing of the user's process changes.

Its modules are private ones: the public package refuses Keras 3 and is not imported. When an
upgrade takes away what is used here, tests/compat/test_tfmot.py says so.

TF-MOT (tensorflow-model-optimization 0.8.1) sets TF_USE_LEGACY_KERAS when it is imported, and then
looks at `tf.keras`. If that is the first look at it in the process, `tf.keras` is Keras 2 from then
on. Here `tf.keras` is looked at before, and the variable is put back.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfscale.errors import ConfigError

_VARIABLE = "TF_USE_LEGACY_KERAS"


def _import_engine():
    before = os.environ.get(_VARIABLE)
    tf.keras.Model  # noqa: B018 - decides for good what `tf.keras` is
    try:
        with warnings.catch_warnings():  # It reads versions by distutils.
            warnings.simplefilter("ignore", DeprecationWarning)
            from tensorflow_model_optimization.python.core.sparsity.keras import (
                pruning_impl,
                pruning_schedule,
            )
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
    return pruning_impl.Pruning, pruning_schedule


@contextlib.contextmanager
def _mistakes_named() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"pruning schedule: {error}") from error


Pruning, _schedules = _import_engine()
PruningSchedule = _schedules.PruningSchedule
# Any: types for base classes that mypy cannot see.
_Constant: Any = _schedules.ConstantSparsity
_Polynomial: Any = _schedules.PolynomialDecay


class ConstantSparsity(_Constant):
    """TF-MOT's schedule of one sparsity from `begin_step` to `end_step`, every `frequency` steps.

    Raises:
        ConfigError: a sparsity outside 0 to 1, or steps that contradict each other.
    """

    def __init__(
        self, target_sparsity: float, begin_step: int, end_step: int = -1, frequency: int = 100
    ):
        with _mistakes_named():
            super().__init__(target_sparsity, begin_step, end_step, frequency)


class PolynomialDecay(_Polynomial):
    """TF-MOT's schedule that rises from `initial_sparsity` to `final_sparsity` by a power.

    See Zhu and Gupta 2017.

    Raises:
        ConfigError: as `ConstantSparsity`.
    """

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        power: int = 3,
        frequency: int = 100,
    ):
        with _mistakes_named():
            super().__init__(
                initial_sparsity, final_sparsity, begin_step, end_step, power, frequency
            )


# Any: `Pruning`, a class that mypy cannot see.
def new_mask(engine: Any, weight: tf.Tensor) -> tf.Tensor:
    """Returns the mask of a weight at the engine's step, in blocks or N:M as the engine was made.

    The public `conditional_mask_update` assigns masks itself, and not by our strategy.
    """
    _, mask = engine._maybe_update_block_mask(weight)
    return mask


SCHEDULES = {"ConstantSparsity": ConstantSparsity, "PolynomialDecay": PolynomialDecay}
"""The schedules that a file of a model can name."""
