"""The progress bar of `fit` shows what a person follows, and is there once."""

import keras

from tfscale.training.fit.progress import FitProgress, with_progress


def test_counters_are_not_shown(monkeypatch):
    shown = []
    for method in ("on_train_batch_end", "on_epoch_end"):
        monkeypatch.setattr(
            keras.callbacks.ProgbarLogger, method, lambda self, number, logs: shown.append(logs)
        )
    logs = {"loss": 2.0, "tokens": 640.0, "seconds": 0.1, "input_wait": 0.0, "val_loss": 1.0}
    FitProgress().on_train_batch_end(0, logs)
    FitProgress().on_epoch_end(0, logs)
    assert shown == [{"loss": 2.0, "val_loss": 1.0}] * 2


def test_a_bar_of_the_users_own_is_the_only_one():
    own = keras.callbacks.ProgbarLogger()
    assert with_progress([own]) == [own]
    assert [type(one) for one in with_progress([])] == [FitProgress]
