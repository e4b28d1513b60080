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
