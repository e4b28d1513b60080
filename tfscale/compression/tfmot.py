"""TF-MOT's pruning engine, imported so that nothing of the user's process changes.

TF-MOT (tensorflow-model-optimization 0.8.1) sets TF_USE_LEGACY_KERAS when it is imported, and then looks at `tf.keras`.
If that is the first look at it in the process, `tf.keras` is Keras 2 from then on. Here `tf.keras` is looked at before,
and the variable is put back.
"""

import os
import warnings

import tensorflow as tf

_VARIABLE = "TF_USE_LEGACY_KERAS"


def _import_engine():
    before = os.environ.get(_VARIABLE)
    tf.keras.Model  # noqa: B018 - decides for good what `tf.keras` is
    try:
        with warnings.catch_warnings():  # It reads versions by distutils.
            warnings.simplefilter("ignore", DeprecationWarning)
            from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl, pruning_schedule
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before
    return pruning_impl.Pruning, pruning_schedule


Pruning, _schedules = _import_engine()
ConstantSparsity = _schedules.ConstantSparsity
PolynomialDecay = _schedules.PolynomialDecay
PruningSchedule = _schedules.PruningSchedule
