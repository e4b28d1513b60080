"""Chooses how many steps a call of the train step takes: one where a callback acts on batches."""

from collections.abc import Sequence

import keras

from tfscale.compat.keras import profiles_batches

STEPS_PER_CALL = 20
_BATCH_METHODS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
_INDIFFERENT = (keras.callbacks.ProgbarLogger, keras.callbacks.TerminateOnNaN)
"""Right with any number of steps: a loss that is not finite ends the training in any case."""


def default_steps_per_call(callbacks: Sequence[keras.callbacks.Callback]) -> int:
    """Returns 1 if a callback acts on batches, so that it sees each step as in Keras, else 20."""
    return 1 if any(map(acts_on_batches, callbacks)) else STEPS_PER_CALL


def acts_on_batches(callback: keras.callbacks.Callback) -> bool:
    """Returns whether a callback depends on how many steps a call takes."""
    if isinstance(callback, _INDIFFERENT):
        return False
    if isinstance(callback, keras.callbacks.TensorBoard):
        return callback.update_freq != "epoch" or profiles_batches(callback)
    if getattr(callback, "save_freq", None) == "epoch":
        return False
    methods = [getattr(getattr(callback, name), "__func__", None) for name in _BATCH_METHODS]
    return methods != [getattr(keras.callbacks.Callback, name) for name in _BATCH_METHODS]


def act_on_test_batches(
    callbacks: Sequence[keras.callbacks.Callback], in_fit: bool = False
) -> bool:
    """Returns whether a callback does something at the batches of an evaluation.

    Args:
        callbacks: those of the call.
        in_fit: whether it is a validation, of which a progress bar shows nothing.
    """
    if in_fit:
        callbacks = [one for one in callbacks if not isinstance(one, _INDIFFERENT)]
    methods = ("on_test_batch_begin", "on_test_batch_end")
    return any(
        getattr(getattr(callback, name), "__func__", None)
        is not getattr(keras.callbacks.Callback, name)
        for callback in callbacks
        for name in methods
    )
