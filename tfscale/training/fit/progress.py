"""The progress bar of `fit`."""

from collections.abc import Sequence

import keras

_NOT_SHOWN = ("gradient_norm", "input_wait", "overflows", "seconds", "tokens")


class FitProgress(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, with the figures that a person follows.

    Callbacks get all logs; the rest of them, such as the tokens of a call, would take three lines
    of a terminal.
    """

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        super().on_train_batch_end(batch, _shown(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, _shown(logs))


def _shown(logs: dict[str, float] | None) -> dict[str, float]:
    return {name: value for name, value in (logs or {}).items() if name not in _NOT_SHOWN}


def with_progress(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Returns callbacks with a progress bar, unless there is one among them."""
    bars = [one for one in callbacks if isinstance(one, keras.callbacks.ProgbarLogger)]
    return [*callbacks] if bars else [*callbacks, FitProgress()]
