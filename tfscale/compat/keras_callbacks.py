"""Private names of Keras's callbacks, and of what they leave in a model.

Callbacks count calls of the train function. Where a call takes several steps they are told which
step comes next.
"""

import keras


def profiles_batches(callback: keras.callbacks.TensorBoard) -> bool:
    """Returns whether a TensorBoard callback profiles; `profile_batch` itself is not kept."""
    return callback._stop_batch > 0


def profiled_steps(callback: keras.callbacks.TensorBoard) -> tuple[int, int]:
    """Returns the first and the last step that a TensorBoard callback profiles; see above."""
    return callback._start_batch, callback._stop_batch


def count_train_steps(callback: keras.callbacks.TensorBoard, before: int) -> None:
    """Tells a TensorBoard callback how many steps came before the one that it is called for next.

    It counts calls, and has no other place for the number of the step that it writes.
    """
    assert isinstance(callback._global_train_batch, int)
    callback._global_train_batch = before


def begin_train_call(callback: keras.callbacks.TensorBoard, before: int, last: int) -> None:
    """Tells a TensorBoard callback of a call of several steps, before it is called for its begin.

    It begins to profile at one number alone, so it gets that one where the call reaches it.

    Args:
        callback: it.
        before: steps that were taken before the call.
        last: number of the last step of the call, from 1.
    """
    first = callback._start_batch
    count_train_steps(callback, (first if before < first <= last else last) - 1)


def end_train_call(callback: keras.callbacks.TensorBoard, before: int, last: int) -> None:
    """Tells a TensorBoard callback of the steps of a call, before it is called for its end.

    It writes where a number that it has got at the begin is a multiple of `update_freq`, so it gets
    such a one where the call has reached it; the step that it writes is the last one.

    Args:
        callback: it.
        before: as in `begin_train_call`.
        last: as in `begin_train_call`; the data may have ended before what was said then.
    """
    callback._global_train_batch = last
    frequency = callback.update_freq
    if isinstance(frequency, int):
        multiple = last // frequency * frequency
        callback._pop_writer()
        callback._push_writer(callback._train_writer, multiple if multiple > before else last)


def count_from_epoch_begin(callback: keras.callbacks.BackupAndRestore) -> None:
    """Has a callback count the first step of an epoch where a call takes several.

    It takes 0 for the last batch seen before an epoch, and so leaves out batch 0.
    """
    assert isinstance(callback._last_batch_seen, int)
    callback._last_batch_seen = -1


def forget_restored_epoch(model: keras.Model) -> None:
    """Makes `restored_epoch` None until a callback restores the model."""
    model._initial_epoch = None


def restored_epoch(model: keras.Model) -> int | None:
    """Returns the epoch to go on with that `BackupAndRestore` has left in the model; None if none.

    It is how the callback tells Keras's own `fit`; nothing public does.
    """
    return model._initial_epoch
