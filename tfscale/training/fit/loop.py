"""The loop of `fit`: epochs, calls of the train step, callbacks and validations."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from tfscale.compat.keras_callbacks import forget_restored_epoch, restored_epoch
from tfscale.errors import DataError
from tfscale.training.fit.batch_callbacks import CallEnds
from tfscale.training.fit.data import FitData
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.fit.model import TrainedModel
from tfscale.training.fit.validation import Validation
from tfscale.training.step import TrainStep
from tfscale.training.step_options import BlockResult
from tfscale.training.train_state import EpochSoFar


@dataclass(frozen=True)
class StepCalls:
    """How many steps a call of the train step takes.

    Attributes:
        steps: the most steps of a call.
        ahead: batches that are made ready in advance.
        stop_at_multiples_of: step counts at whose multiples a call ends.
        ends: the steps at which calls end for callbacks.
    """

    steps: int
    ahead: int
    stop_at_multiples_of: Sequence[int] = ()
    ends: CallEnds = field(default_factory=CallEnds)

    def next(self, done: int, left: int | None, taken: int) -> int:
        """Returns the steps of the next call.

        Args:
            done: steps that the model has taken.
            left: steps that are left of the epoch; None where nobody knows. A call that meets the
                end of the data must not have taken a step before.
            taken: steps that this `fit` has taken.
        """
        if left is None:
            return 1
        to_stops = [multiple - done % multiple for multiple in self.stop_at_multiples_of]
        return min([self.steps, left, *to_stops, *self.ends.next(taken)])


class FitLoop:
    """Runs the epochs of one `fit`.

    Args:
        model: the model that is trained.
        step: its train step.
        data: batches to train on.
        callbacks: what is called in between.
        validation: what to validate on after which epochs; None without such data.
    """

    def __init__(
        self,
        model: TrainedModel,
        step: TrainStep,
        data: FitData,
        callbacks: keras.callbacks.CallbackList,
        validation: Validation | None = None,
    ):
        self.model, self.step, self.data = model, step, data
        self.callbacks, self.validation = callbacks, validation
        self.taken = 0
        """Steps that were taken by now."""

    def run(
        self,
        epochs: range,
        calls: StepCalls,
        lost_peers: contextlib.AbstractContextManager[None],
    ) -> None:
        """Trains, from the epoch and the step on that a callback has restored.

        Args:
            epochs: numbers of the epochs, from that which was asked for.
            calls: how many steps a call takes.
            lost_peers: turns errors about a lost process into one line.
        """
        model = self.model
        model.stop_training = False
        first = self._begin(epochs.start)
        logs: dict[str, float] = {}
        with lost_peers:
            for epoch in range(first, epochs.stop):
                model.reset_metrics()
                self.callbacks.on_epoch_begin(epoch)
                calls.ends.begin_epoch()
                steps_before = model.train_state.epoch.steps
                of_epoch = self.data.epoch(epoch - epochs.start, steps_before, calls.ahead)
                with of_epoch as iterator:
                    logs = self._run_epoch(iterator, calls)
                if self.validation is not None and not model.stop_training:
                    logs |= self.validation.logs(epoch, self.callbacks)
                model.train_state.epoch = EpochSoFar(epoch + 1)
                self.callbacks.on_epoch_end(epoch, logs)
                if model.stop_training:
                    break
        self.callbacks.on_train_end(logs)

    def _begin(self, initial_epoch: int) -> int:
        """Lets callbacks begin; returns the epoch to begin at, which may have begun before."""
        state = self.model.train_state
        state.epoch = EpochSoFar()
        forget_restored_epoch(self.model)
        self.callbacks.on_train_begin()
        # A callback that restores a file names the epoch; the file, if new, says how far it was.
        restored = restored_epoch(self.model)
        if restored is not None and state.epoch.number is not None:
            return state.epoch.number
        first = initial_epoch if restored is None else restored
        state.epoch = EpochSoFar(first)
        return first

    def _run_epoch(self, iterator: Iterator, calls: StepCalls) -> dict[str, float]:
        model, step, epoch = self.model, self.step, self.model.train_state.epoch
        began, tokens_before = time.perf_counter(), epoch.tokens
        steps = self.data.steps_per_epoch
        while (steps is None or epoch.steps < steps) and not model.stop_training:
            left = None if steps is None else steps - epoch.steps
            count = calls.next(int(step.step.numpy()), left, self.taken)
            calls.ends.begin_call(self.taken + count)
            self.callbacks.on_train_batch_begin(epoch.steps)
            start = time.perf_counter()
            overflows = int(step.overflows.numpy())
            result = self._call(iterator, count)
            if result is None:
                break
            seconds = time.perf_counter() - start
            self.taken += count
            result.check(step.loss_scale.on)
            epoch.add(count, result.nll, result.tokens)
            logs = {
                **model.loss_logs(result.nll, result.tokens),
                **model.metric_logs(),
                "learning_rate": model.current_learning_rate(),
                "gradient_norm": result.gradient_norm,
                "tokens": result.tokens,
                "tokens_per_second": result.tokens / seconds,
                "input_wait": result.input_seconds,
                "seconds": seconds,
            }
            if step.loss_scale.on:
                logs |= {
                    "loss_scale": float(step.loss_scale.value.numpy()),
                    "overflows": result.overflows - overflows,
                }
            self.callbacks.on_train_batch_end(epoch.steps - 1, logs)
            model.stop_training = model.workers.any(model.stop_training)
        rate = (epoch.tokens - tokens_before) / (time.perf_counter() - began)
        logs = {"learning_rate": model.current_learning_rate(), "tokens_per_second": rate}
        if not epoch.tokens:
            return {}
        return {**model.loss_logs(epoch.nll, epoch.tokens), **model.metric_logs(), **logs}

    def _call(self, iterator: Iterator, count: int) -> BlockResult | None:
        """Takes steps; None where an iterator has ended whose length nobody knows."""
        try:
            with plain_errors():
                return self.step.run(iterator, count)
        except (tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError) as error:
            if self.data.steps_per_epoch is None:
                return None
            raise DataError(
                f"the dataset ended before {self.data.steps_per_epoch} steps were taken; give"
                " dataset.repeat()"
            ) from error
