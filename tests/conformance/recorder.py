"""`Recorder`: a callback that writes down every call that it gets, in order."""

from collections.abc import Callable

import keras
import numpy as np

EPOCHS = ("on_epoch_begin", "on_epoch_end")
BATCHES = tuple(
    f"on_{phase}_batch_{moment}"
    for phase in ("train", "test", "predict")
    for moment in ("begin", "end")
)
RUNS = tuple(
    f"on_{phase}_{moment}" for phase in ("train", "test", "predict") for moment in ("begin", "end")
)

Call = tuple[str, int | None, dict[str, object]]
"""Name of the method, epoch or batch (None where it has none), and a copy of the logs."""


def plain(value: object) -> object:
    """Returns tensors as arrays and numbers, through dicts, lists and tuples."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if value is None or isinstance(value, str | int | float | bool | np.ndarray):
        return value
    return keras.ops.convert_to_numpy(value)


def _with_index(name: str) -> Callable[["Recorder", int, dict[str, object] | None], None]:
    def method(self: "Recorder", index: int, logs: dict[str, object] | None = None) -> None:
        self.add(name, int(index), logs)

    return method


def _without_index(name: str) -> Callable[["Recorder", dict[str, object] | None], None]:
    def method(self: "Recorder", logs: dict[str, object] | None = None) -> None:
        self.add(name, None, logs)

    return method


class Recorder(keras.callbacks.Callback):
    """Writes down the calls about runs and epochs, which every training has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def set_params(self, params: dict[str, object]) -> None:
        super().set_params(params)
        self.add("set_params", None, params)

    def add(self, name: str, index: int | None, logs: dict[str, object] | None) -> None:
        known = {} if logs is None else {key: plain(value) for key, value in logs.items()}
        self.calls.append((name, index, known))


class BatchRecorder(Recorder):
    """Writes down the calls about batches, too. Such a callback makes tfscale call it at each."""


for _name in RUNS:
    setattr(Recorder, _name, _without_index(_name))
for _name in EPOCHS:
    setattr(Recorder, _name, _with_index(_name))
for _name in BATCHES:
    setattr(BatchRecorder, _name, _with_index(_name))
