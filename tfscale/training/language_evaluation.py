"""Evaluation of a language model under a strategy, and its progress as callbacks see it."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.errors import ConfigError
from tfscale.models.capability import capabilities
from tfscale.models.outputs import Vocabulary, check_logits, probe_ids
from tfscale.training.batches import FitInput, distribute, worker_share
from tfscale.training.fit.arguments import as_callbacks
from tfscale.training.fit.arrays import as_arrays
from tfscale.training.fit.batch_callbacks import act_on_test_batches
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.fit.validation import EvaluationData
from tfscale.training.model import Model
from tfscale.training.stateful import evaluation_step
from tfscale.training.token_metrics import TokenMetrics
from tfscale.training.validation import EvaluationStep

Scores: TypeAlias = Any
"""Loss and metrics: a dictionary by name, or what Keras returns where `return_dict=False`."""


class LanguageEvaluation(Model):
    """Evaluates a network by the loss and the metrics of its next tokens; see `LanguageModel`.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        name: of the model.
    """

    def __init__(self, network: keras.Model, name: str = "language_model"):
        super().__init__(network, name)
        self.built = True
        self._token_metrics: TokenMetrics | None = None
        self._evaluation_step: EvaluationStep | None = None

    def _check_network(self, network: keras.Model) -> None:
        """Takes every network: a step of its own is not that of a `LanguageModel`."""

    def evaluate(  # type: ignore[override]
        self,
        x: FitInput,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = None,
        return_dict: bool = True,
        **keras_options: object,
    ) -> Scores:
        """Returns loss, perplexity and metrics over data, the last, smaller batch included.

        It needs no `compile`, without which there are no metrics.

        Args:
            x: as in `fit`, besides functions of an input context.
            y: as in `fit`.
            batch_size: rows of a batch where `x` is an array; 32 if it is left out.
            verbose: 0 silent; "auto" or 1 Keras's progress bar; 2 a line.
            sample_weight: as in `fit`.
            steps: batches to take; None takes all.
            callbacks: a Keras callback or several; their `on_test_` methods are called.
            return_dict: False returns what Keras returns, the loss, or a list of loss and metrics.

        Returns:
            {"loss", "perplexity", "tokens"} and the metrics by name, the loss in nats per token;
            "pseudo_perplexity" if the network reads both sides of a token. With `ema_decay` those
            of the averaged weights, which a loaded model has too.

        Raises:
            ConfigError: a file did not keep what must be set before `compile`.
            DataError: as in `fit`, or no token counts.
        """
        if keras_options:
            raise ConfigError(f"evaluate does not take {', '.join(sorted(keras_options))}")
        given = (x, y, sample_weight) if y is not None or sample_weight is not None else x
        data = EvaluationData(given, batch_size or 32, steps, self.workers, self._vocabulary)
        callback_list = keras.callbacks.CallbackList(
            as_callbacks(callbacks),
            add_progbar=verbose not in (0, "0"),
            model=self,
            epochs=1,
            verbose=1 if verbose == "auto" else int(verbose),
            steps=data.count,
        )
        logs, tokens = self._evaluated(data, callback_list)
        return {**logs, "tokens": tokens} if return_dict else self._as_list(logs)

    def test_on_batch(  # type: ignore[override]
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        return_dict: bool = False,
    ) -> Scores:
        """Evaluates a batch.

        Args:
            x: ids (B, T).
            y: targets (B, T).
            sample_weight: as in `fit`.
            return_dict: True returns loss, perplexity and metrics by name.

        Returns:
            The loss, or a list of loss and metrics, as Keras returns them; or a dictionary.
        """
        arrays = as_arrays(x, y, sample_weight)
        data = EvaluationData(arrays, len(arrays[0]), None, self.workers, self._vocabulary)
        logs, _ = self._evaluated(data, keras.callbacks.CallbackList([], model=self))
        return logs if return_dict else self._as_list(logs)

    def _evaluated(
        self, data: EvaluationData, callbacks: keras.callbacks.CallbackList, in_fit: bool = False
    ) -> tuple[dict[str, float], float]:
        """Returns the logs of an evaluation, and the number of target tokens."""
        self._ready_metrics(data.length)
        self.reset_metrics()
        callbacks.on_test_begin()
        watcher = None
        if act_on_test_batches(callbacks.callbacks, in_fit):
            watcher = _BatchWatcher(callbacks, self._logs)
        nll, tokens = self._summed(data.batches, watcher)
        logs = self._logs(nll, tokens)
        callbacks.on_test_end(logs)
        return logs, tokens

    def _logs(self, nll: float, tokens: float) -> dict[str, float]:
        return {**self.loss_logs(nll, tokens), **self.metric_logs()}

    def _as_list(self, logs: dict[str, float]) -> Scores:
        values = [logs["loss"], *self.metric_logs().values()]
        return values if len(values) > 1 else values[0]

    def summed_loss(
        self, batches: tf.data.Dataset, steps: int | None = None, averaged: bool = True
    ) -> tuple[float, float]:
        """Returns the summed loss in nats and the number of target tokens of batches.

        Args:
            batches: (ids, targets, weights) of one shape, as `as_batches` makes them.
            steps: batches to take; None takes all.
            averaged: use the averaged weights where there are any; False takes the weights as they
                are.
        """
        batches = batches if steps is None else batches.take(steps)
        self._ready_metrics(batches.element_spec[0].shape[1])
        share = worker_share(batches, self.workers)
        return self._summed(lambda: distribute(share, self.workers), None, averaged)

    def _summed(
        self, batches: Callable, watcher: "_BatchWatcher | None", averaged: bool = True
    ) -> tuple[float, float]:
        if self._evaluation_step is None:
            self._evaluation_step = evaluation_step(self.network, self.strategy)
        averages = self.averaged_weights() if averaged else contextlib.nullcontext()
        with averages, self._lost_peers(), plain_errors():
            return self._evaluation_step(batches(), watcher)

    @property
    def score_name(self) -> str:
        """The name of exp(loss), not a perplexity if the network reads both sides of a token."""
        return "pseudo_perplexity" if capabilities(self.network).is_cloze else "perplexity"

    def loss_logs(self, nll: float, tokens: float) -> dict[str, float]:
        """Returns loss and perplexity of a summed loss in nats, as callbacks get them."""
        if not tokens:
            return {}
        mean = nll / tokens
        return {"loss": mean, self.score_name: math.inf if mean >= 700 else math.exp(mean)}

    def metric_logs(self) -> dict[str, float]:
        """Returns the results of the metrics that `compile` was given, since the last reset."""
        return {} if self._token_metrics is None else self._token_metrics.logs()

    def reset_metrics(self) -> None:
        """Has the metrics that `compile` was given begin anew."""
        if self._token_metrics is not None:
            self._token_metrics.reset()

    def _ready_metrics(self, length: int) -> None:
        """Makes and checks the metrics, once, for windows of `length` tokens."""
        if self._token_metrics is not None:
            self._token_metrics.build(self._vocabulary(length).targets, self.strategy)

    def _vocabulary(self, length: int) -> Vocabulary:
        """Returns the ids that the network reads and predicts in windows of `length` tokens."""
        return check_logits(self.network, probe_ids(self.network, length))


class _BatchWatcher:
    """Calls the `on_test_batch_` methods of callbacks."""

    def __init__(
        self,
        callbacks: keras.callbacks.CallbackList,
        logs: Callable[[float, float], dict[str, float]],
    ):
        self._callbacks, self._logs = callbacks, logs

    def begin(self, index: int) -> None:
        self._callbacks.on_test_batch_begin(index)

    def end(self, index: int, nll: float, tokens: float) -> None:
        self._callbacks.on_test_batch_end(index, self._logs(nll, tokens))
