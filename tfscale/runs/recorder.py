"""The work around the steps of a run: history, TensorBoard, progress, validation, checkpoints,
a clean stop.

Every worker has a recorder and goes through the same motions, because validation and the agreement
to stop need all of them; the chief alone writes.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import keras
import tensorflow as tf

from tfscale.config import TrainConfig
from tfscale.files.json_text import JsonObject, to_json
from tfscale.files.paths import atomic_write, open_file, read_json_lines
from tfscale.launching.heartbeat import beat
from tfscale.launching.interruption import ENDING, wanted
from tfscale.runs.divergence import check_validation, check_weights
from tfscale.runs.length import RunLength
from tfscale.training.checkpoint import Checkpoints, network_state, write_arrays
from tfscale.training.language_model import LanguageModel
from tfscale.ui.progress import ProgressLine


def figures_of(described: object) -> dict[str, float]:
    """Returns the finite numbers of a description, by name; none of anything else."""
    items = described.items() if isinstance(described, dict) else ()
    numbers = ((name, value) for name, value in items if isinstance(value, int | float))
    return {name: value for name, value in numbers if math.isfinite(value)}


_Handler = Callable[[int, FrameType | None], object] | int | None


class RunRecorder(keras.callbacks.Callback):
    """Keras callback that keeps a run folder up to date and stops it cleanly on Ctrl-C, SIGTERM and
    SIGHUP.

    Args:
        directory: the run folder.
        config: the run's training config.
        validate: returns (summed loss in nats, tokens); None where there is no validation split.
        checkpoints: where the state goes.
        meta: description that goes into each checkpoint.
        progress: shows the figures.
        length: when the run ends.
    """

    def __init__(
        self,
        directory: str,
        config: TrainConfig,
        validate: Callable[[], tuple[float, float]] | None,
        checkpoints: Checkpoints,
        meta: JsonObject,
        progress: ProgressLine,
        length: RunLength,
    ):
        super().__init__()
        self.directory, self.config, self.validate = directory, config, validate
        self.length = length
        self.checkpoints, self.meta, self.progress = checkpoints, meta, progress
        self.history_path = os.path.join(directory, "history.jsonl")
        self.interrupted: str | None = None
        self.last_logs: dict[str, float] = {}
        self.best_loss, self.tokens = math.inf, 0
        self.earlier: dict[str, float] = {}
        """The `figures` of the checkpoint that the run goes on from."""
        self._began: float | None = None
        # The first call compiles and fills the shuffle buffers; rates are of the calls after it
        # where there are any.
        self._first: tuple[float, ...] | None = None
        self._sums = (0.0, 0.0, 0.0)
        self._saved_step = -1
        self._writer: tf.summary.SummaryWriter | None = None
        self._handlers: dict[int, _Handler] = {}

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.model.workers.is_chief

    @property
    def runner(self):
        """The train step of the model that is trained."""
        model = self.model
        assert isinstance(model, LanguageModel) and model.train_step_runner is not None
        return model.train_step_runner

    def resume(self, step: int) -> None:
        """Goes on with the figures of a step's checkpoint, and cuts the history back to the step.

        Checkpoints of earlier versions lack the figures; the history has them, as far as it is
        whole.
        """
        if not self.writes:
            return
        lines = [
            entry
            for entry in read_json_lines(self.history_path, self.progress.note)
            if entry["step"] <= step
        ]
        self.earlier = figures_of(self.checkpoints.restored.get("figures"))
        tokens = [entry["tokens"] for entry in lines if entry.get("tokens") is not None]
        losses = [entry["val_loss"] for entry in lines if entry.get("val_loss") is not None]
        self.tokens = int(self.earlier.get("tokens", max(tokens, default=0)))
        best = math.inf if self.earlier else min(losses, default=math.inf)
        self.best_loss = self.earlier.get("best_loss", best)
        with atomic_write(self.history_path, "w") as file:
            file.write("".join(to_json(entry) + "\n" for entry in lines))

    def figures(self) -> dict[str, float]:
        """Returns the figures of the steps so far for the summary and for a resumed run."""
        rate, waited = self.rates()
        if self.compiled_only:
            rate, waited = (
                self.earlier.get("tokens_per_second", rate),
                self.earlier.get("input_wait_fraction", waited),
            )
        return {
            "tokens": self.tokens,
            "best_loss": self.best_loss,
            "loss": self.last_logs.get("loss", math.nan),
            "tokens_per_second": rate,
            "input_wait_fraction": waited,
            "seconds": self.seconds,
        }

    @property
    def seconds(self) -> float:
        """Time of all steps by now, with what came between them and with the earlier ones of a run
        that went on."""
        spent = time.perf_counter() - self._began if self._began is not None else 0.0
        return self.earlier.get("seconds", 0.0) + spent

    @property
    def skipped(self) -> int:
        """Steps of the whole run that changed nothing, because a gradient overflowed."""
        return int(self.runner.overflows.numpy())

    @property
    def compiled_only(self) -> bool:
        """Whether there was one call of the step alone, of whose time compilation is a part."""
        return not self._sums[1]

    def rates(self) -> tuple[float, float]:
        """Returns tokens per second, and the fraction of the time that steps waited for input."""
        tokens, seconds, waited = self._sums if self._sums[1] else (self._first or (0.0, 1.0, 0.0))
        return tokens / seconds, waited / seconds

    def on_train_begin(self, logs=None):
        self._began = time.perf_counter()
        if self.config.tensorboard and self.writes:
            self._writer = tf.summary.create_file_writer(
                os.path.join(self.directory, "tensorboard")
            )
        if threading.current_thread() is threading.main_thread():
            for number in filter(wanted, (signal.SIGINT, *ENDING)):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_epoch_begin(self, epoch, logs=None):
        self._prepare_call(int(self.runner.step.numpy()))

    def on_train_end(self, logs=None):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        if self._writer is not None:
            self._writer.close()

    def on_train_batch_end(self, batch, logs=None):
        logs = dict(logs or {})
        step = int(self.runner.step.numpy())
        beat(step)
        # A signal reaches one worker, at any moment; all of them must do the same, and stop after
        # the same step.
        stop = self._agree_to_stop()
        counts = (logs["tokens"], logs["seconds"], logs["input_wait"])
        if self._first is None:
            self._first = counts
        else:
            self._sums = tuple(a + b for a, b in zip(self._sums, counts, strict=True))
        self.tokens += int(logs["tokens"])
        self.last_logs = logs
        self._record(step, {**logs, "tokens": self.tokens})
        loss = "no loss"  # If all steps of the call were skipped, because float16 overflowed.
        if "loss" in logs:
            loss = f"loss {logs['loss']:.4f}, {self._name} {logs[self.model.score_name]:,.1f}"
        self.progress.update(step, f"{loss}, {logs['tokens_per_second']:,.0f} tokens/s")
        last = self.length.is_over(step)
        if self.validate and not stop and (last or step % self.config.validate_every == 0):
            self._validate(step, self.validate)
            stop = self._agree_to_stop()
        if last or stop or step % self.config.checkpoint_every == 0:
            self.save(step)
        if stop or last:
            self.model.stop_training = True
        else:
            self._prepare_call(step)

    def _prepare_call(self, step: int) -> None:
        """Asks how many steps are left, and keeps the state from which a longer run could go on."""
        self.length.plan(step, self.seconds)
        self.progress.total = self.length.total
        if self.length.starts_decay(step):
            self.save(step)
            if self.writes:
                self.checkpoints.keep_for_longer(step)
                self.progress.note(
                    f"the learning rate comes down from step {step:,} on; the checkpoint of this"
                    " step is kept, from which a longer run would go on"
                )

    def _agree_to_stop(self) -> bool:
        """Returns whether a signal has come to any worker by now."""
        stop = self.model.workers.any(self.interrupted is not None)
        if stop and not self.interrupted:
            self.interrupted = "a signal to another worker"
        return stop

    def save(self, step: int) -> None:
        """Writes a checkpoint unless this step's is there already."""
        if step == self._saved_step:
            return
        check_weights(self.model.network, step)
        if self.writes:
            described = {"figures": self.figures(), "length": self.length.state(step)}
            self.checkpoints.save(step, self.runner.state(), {**self.meta, **described})
        self._saved_step = step

    def _validate(self, step: int, validate: Callable[[], tuple[float, float]]) -> None:
        nll, tokens = validate()
        loss = nll / tokens
        perplexity = math.inf if loss >= 700 else math.exp(loss)
        check_validation(loss, step)
        self._record(
            step,
            {"val_loss": loss, f"val_{self.model.score_name}": perplexity, "val_tokens": tokens},
        )
        self.progress.note(
            f"step {step:,}: validation loss {loss:.4f}, {self._name} {perplexity:,.2f}"
        )
        if self.writes and loss < self.best_loss:
            self.best_loss = loss
            with self.model.averaged_weights():
                meta = {**self.meta, "step": step, "val_loss": loss}
                write_arrays(self.checkpoints.best_path, network_state(self.model.network), meta)

    @property
    def _name(self) -> str:
        return self.model.score_name.replace("_", "-")

    def _record(self, step: int, values: dict[str, float]) -> None:
        if not self.writes:
            return
        with open_file(self.history_path, "a") as file:
            file.write(to_json({"step": step, **values}) + "\n")
        if self._writer is not None:
            with self._writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def _on_signal(self, number, frame):
        name = signal.Signals(number).name
        if self.interrupted:  # A second Ctrl-C means now.
            signal.signal(number, self._handlers[number])
        self.interrupted = name
        self.progress.note(
            f"{name} received: writing a checkpoint after the steps in progress, then stopping"
        )
