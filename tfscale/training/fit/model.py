"""The members of a model that `fit` uses; see `tfscale.LanguageModel`."""

from typing import Protocol, Unpack

import keras

from tfscale.config.step import StepKeywords
from tfscale.distribution.workers import Workers
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.step_state import Pruner
from tfscale.training.train_state import TrainState


class TrainedModel(Protocol):
    """A compiled model, as far as the loop of `fit` and its file know it."""

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    pruner: Pruner | None
    formats: dict[str, WeightFormat]
    train_state: TrainState
    workers: Workers
    stop_training: bool

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adamw",
        **options: Unpack[StepKeywords],
    ) -> None:
        """Sets the optimizer and the options of the step."""

    def current_learning_rate(self) -> float:
        """Returns the learning rate of the last step that was taken."""

    def loss_logs(self, nll: float, tokens: float) -> dict[str, float]:
        """Returns the logs of summed losses."""

    def metric_logs(self) -> dict[str, float]:
        """Returns the results of the metrics that `compile` was given."""

    def reset_metrics(self) -> None:
        """Has the metrics begin anew."""
