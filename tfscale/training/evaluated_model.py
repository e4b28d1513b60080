"""A network as a Keras model that evaluates and saves: what `LanguageModel` is before `fit`."""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.workers import Workers, lost_workers
from tfscale.errors import ConfigError
from tfscale.models.network import capabilities
from tfscale.models.outputs import Vocabulary, check_keras_model, check_logits, probe_ids
from tfscale.training.batches import FitInput, distribute, worker_share
from tfscale.training.feeding import validation_batches
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.stateful import evaluation_step
from tfscale.training.step import TrainStep
from tfscale.training.train_state import TrainState
from tfscale.training.validation import EvaluationStep
from tfscale.training.variables import values_in_place


class EvaluatedModel(keras.Model):
    """Evaluates and saves a network under a strategy; see `LanguageModel`.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
    """

    def __init__(self, network: keras.Model, name: str = "language_model"):
        check_keras_model(network)
        super().__init__(name=name)
        self.network = network
        self.strategy = tf.distribute.get_strategy()
        self.workers = Workers(self.strategy)
        self.train_step_runner: TrainStep | None = None
        self.train_state = TrainState()
        self._evaluation_step: EvaluationStep | None = None
        self.built = True

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(ids, training=training)

    def evaluate(
        self,
        x: FitInput,
        y: ArrayLike | None = None,
        batch_size: int = 32,
        sample_weight: ArrayLike | None = None,
        steps: int | None = None,
        **keras_options: object,
    ) -> dict[str, float]:
        """Returns loss and perplexity over a dataset, the last, smaller batch included.

        Args:
            x: as in `fit`.
            y: as in `fit`.
            batch_size: rows of a batch where `x` is an array.
            sample_weight: as in `fit`.
            steps: batches to take; None takes all.

        Returns:
            {"loss", "perplexity", "tokens"}, the loss in nats per token; "pseudo_perplexity" if the
            network reads both sides of a token. With `ema_decay` those of the averaged weights,
            which a loaded model has too.
        """
        if unknown := set(keras_options) - {"verbose", "return_dict"}:
            raise ConfigError(f"evaluate does not take {', '.join(sorted(unknown))}")
        data = (x, y, sample_weight) if y is not None else x
        batches = validation_batches(data, batch_size, self.strategy, self._vocabulary)
        nll, tokens = self.summed_loss(batches, steps)
        return {**self.loss_logs(nll, tokens), "tokens": tokens}

    def predict(self, *args: object, **keras_options: object) -> np.ndarray:
        """Runs Keras's `predict` with the weights that `evaluate` uses; see `averaged_weights`."""
        with self.averaged_weights():
            return super().predict(*args, **keras_options)

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
        if self._evaluation_step is None:
            self._evaluation_step = evaluation_step(self.network, self.strategy)
        batches = batches if steps is None else batches.take(steps)
        share = worker_share(batches, self.workers)
        averages = self.averaged_weights() if averaged else contextlib.nullcontext()
        with averages, self._lost_peers(), plain_errors():
            return self._evaluation_step(distribute(share, self.workers))

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Exchanges the trained weights for those that are meant to be used, for the block.

        With `ema_decay` these are the averages; a model trained for a quantization recipe has them
        rounded.
        """
        step = self.train_step_runner
        if step is None:
            return self.train_state.averages_in_place(self.network)
        return values_in_place(step.variables, step.final_values())

    def plain_network(self) -> keras.Model:
        """Returns the network with variables of this process, to be saved or exported.

        Under parameter servers it is a copy. Call it outside of the strategy's scope.
        """
        if not is_asynchronous(self.strategy):
            return self.network
        copy = type(self.network).from_config(self.network.get_config())
        for copied, weight in zip(copy.weights, self.network.weights, strict=True):
            copied.assign(tf.convert_to_tensor(weight.value))
        return copy

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

    def _lost_peers(self) -> contextlib.AbstractContextManager[None]:
        peer = "a parameter server" if is_asynchronous(self.strategy) else "another worker"
        return lost_workers(peer)

    def _vocabulary(self, length: int) -> Vocabulary:
        """Returns the ids that the network reads and predicts in windows of `length` tokens."""
        return check_logits(self.network, probe_ids(self.network, length))

    def train_on_batch(self, *args, **kwargs):
        """Refused: `fit` drives the train step."""
        raise ConfigError(
            "train_on_batch is not for a LanguageModel: call fit on the batch, which goes on"
            " training"
        )

    def test_on_batch(self, *args, **kwargs):
        """Refused: `evaluate` sums the loss."""
        raise ConfigError("test_on_batch is not for a LanguageModel: call evaluate on the batch")

    def export(self, *args, **kwargs):
        """Refused: the network is what can be exported."""
        raise ConfigError(
            "export the network of a LanguageModel: tfscale.export_keras(model.network, ...) writes"
            " a .tflite file, model.network.export(folder) a SavedModel"
        )

    def get_config(self):
        return {"network": keras.saving.serialize_keras_object(self.network), "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(network, name=config["name"])
