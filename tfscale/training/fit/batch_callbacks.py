"""Chooses how many steps a call of the train step takes, so that callbacks count steps.

One step a call is taken where a callback acts on batches. Where somebody asks for more, calls end
at the very steps at which Keras's own callbacks save, write or profile.
"""

from collections.abc import Sequence

import keras

from tfscale.compat.keras_callbacks import (
    count_from_epoch_begin,
    count_train_steps,
    profiled_steps,
    profiles_batches,
)

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


class CallEnds:
    """The steps at which calls end for the sake of callbacks, counted from the beginning of `fit`.

    Args:
        callbacks: those of the `fit`. Keras's `save_freq`, `update_freq` and `profile_batch` are
            looked at.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback] = ()):
        self._boards = [one for one in callbacks if isinstance(one, keras.callbacks.TensorBoard)]
        self._backups = [
            one for one in callbacks if isinstance(one, keras.callbacks.BackupAndRestore)
        ]
        frequencies = [getattr(one, "save_freq", None) for one in callbacks]
        frequencies += [board.update_freq for board in self._boards]
        self._multiples = sorted({one for one in frequencies if isinstance(one, int) and one > 0})
        self._points: set[int] = set()
        for first, last in map(profiled_steps, filter(profiles_batches, self._boards)):
            # TensorBoard begins at a call for the first of the steps by itself.
            self._points |= {first - 1, first, last}

    def next(self, taken: int) -> list[int]:
        """Returns how many steps it is to each of the ends that come next.

        Args:
            taken: steps of this `fit` that were taken.
        """
        to_multiples = [multiple - taken % multiple for multiple in self._multiples]
        return to_multiples + [point - taken for point in self._points if point > taken]

    def begin_epoch(self) -> None:
        """Tells callbacks that count steps over epochs that one begins."""
        for backup in self._backups:
            count_from_epoch_begin(backup)

    def begin_call(self, last: int) -> None:
        """Tells TensorBoard the number of the last step of a call, from 1, which it then writes."""
        for board in self._boards:
            count_train_steps(board, last - 1)
