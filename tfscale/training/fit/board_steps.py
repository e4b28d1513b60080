"""Has Keras's `TensorBoard` count the steps of `Model.fit` where a call of its loop takes several.

Keras's own loop calls callbacks once for several steps, and the callback counts those calls.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from tfscale.compat.keras_callbacks import begin_train_call, end_train_call
from tfscale.training.step_state import StepState

_PLACE = list(inspect.signature(keras.Model.fit).parameters).index("callbacks") - 1
"""Position of `callbacks` among the arguments of `fit`."""


class BoardSteps(keras.callbacks.Callback):
    """Tells `TensorBoard` callbacks, before they are called, the steps that a call takes.

    Args:
        boards: the callbacks.
        steps_per_call: the most steps of a call.
    """

    def __init__(self, boards: Sequence[keras.callbacks.TensorBoard], steps_per_call: int):
        super().__init__()
        self.boards, self.steps_per_call = boards, steps_per_call
        self.taken = 0
        """Steps that this `fit` has taken."""
        self._counted = 0

    def on_train_begin(self, logs=None):
        self.taken = 0

    def on_train_batch_begin(self, batch, logs=None):
        self._counted = self._count()
        # The last call of an epoch may take fewer; of data of unknown length it shows at its end.
        in_epoch = self.params.get("steps")
        left = self.steps_per_call if in_epoch is None else in_epoch - batch
        for board in self.boards:
            begin_train_call(board, self.taken, self.taken + min(self.steps_per_call, left))

    def on_train_batch_end(self, batch, logs=None):
        before, self.taken = self.taken, self.taken + self._count() - self._counted
        for board in self.boards:
            end_train_call(board, before, self.taken)

    def _count(self) -> int:
        step: StepState = self.model.train_step_runner
        return int(step.step.numpy())


@contextlib.contextmanager
def boards_count_steps(
    arguments: Sequence[object], named: Mapping[str, object], steps_per_call: int
) -> Iterator[tuple[list, dict[str, object]]]:
    """Gives the arguments for Keras's `fit`, of which `TensorBoard` counts steps, for the block.

    Args:
        arguments: those of `fit` by place, from `x` on.
        named: those by name.
        steps_per_call: the most steps of a call.
    """
    by_place, by_name = list(arguments), dict(named)
    is_by_place = len(by_place) > _PLACE
    given: Any = by_place[_PLACE] if is_by_place else by_name.get("callbacks")
    is_list = isinstance(given, keras.callbacks.CallbackList)
    callbacks = keras.tree.flatten(given.callbacks if is_list else given)
    boards = [one for one in callbacks if isinstance(one, keras.callbacks.TensorBoard)]
    if not boards or steps_per_call == 1:
        yield by_place, by_name
        return
    counting = BoardSteps(boards, steps_per_call)
    if is_list:
        counting.set_params(given.params)
        counting.set_model(given.model)
        given.callbacks.insert(0, counting)
    elif is_by_place:
        by_place[_PLACE] = [counting, *callbacks]
    else:
        by_name["callbacks"] = [counting, *callbacks]
    try:
        yield by_place, by_name
    finally:
        if is_list:
            given.callbacks.remove(counting)
