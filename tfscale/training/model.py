"""`Model`: Keras's own `compile`, `fit`, `evaluate` and `predict` around a step that is right."""

import dataclasses
from typing import Unpack

import keras

from tfscale.compat.keras import layers_of
from tfscale.compat.keras_trainer import Nested
from tfscale.config.options import make_config
from tfscale.config.step import ModelKeywords, ModelOptions
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.training.dealing import Dealer
from tfscale.training.distillation import Teacher
from tfscale.training.fit.arguments import check_trainable, check_unchanged
from tfscale.training.fit.board_steps import boards_count_steps
from tfscale.training.fit.compression_config import compression_config, set_compression
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.fit.targets import check_batch
from tfscale.training.layer_remat import check_remat
from tfscale.training.model_functions import PredictFunction, TestFunction, TrainFunction
from tfscale.training.model_step import ModelStep
from tfscale.training.model_xla import model_uses_xla
from tfscale.training.step_options import (
    check_made_in_scope,
    check_no_own_step,
    check_steps_per_execution,
)
from tfscale.training.wrapped_model import WrappedModel


@keras.saving.register_keras_serializable("tfscale")
class Model(WrappedModel):
    """Trains any Keras model with the same answer on any number of replicas and micro-batches.

    Make it inside `strategy.scope()`, like any Keras model. `fit`, `evaluate`, `predict` and the
    `_on_batch` methods are Keras's own and take what Keras takes. On one device they give what
    stock Keras gives; under a strategy, what one device gives for the same global batches:
    gradients are reduced before they are clipped, an overflow on one replica skips the step on all
    of them, batches need not be divisible, and metrics cover all rows.

    Args:
        network: any Keras 3 model: functional, `Sequential` or subclassed, built or not.
        name: of the model; that of the network if it is left out.

    Raises:
        ConfigError: the network is not a model of Keras 3, or overrides how Keras trains.

    Example:
        with tfscale.strategy("mirrored").scope():
            model = tfscale.Model(keras.Sequential([...]))
            model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, epochs=3, validation_split=0.1)
    """

    def __init__(self, network: keras.Model, name: str | None = None):
        super().__init__(network, name or getattr(network, "name", None))
        self._check_network(network)
        self._options = ModelOptions()
        self._trained: list[int] = []
        self._todo = ""

    def _check_network(self, network: keras.Model) -> None:
        check_untouched(network)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: object = None,
        loss_weights: object = None,
        metrics: object = None,
        weighted_metrics: object = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool | None = "auto",
        auto_scale_loss: bool = True,
        **options: Unpack[ModelKeywords],
    ) -> None:
        """Sets optimizer, loss, metrics and what the step does.

        Args:
            optimizer: a Keras optimizer or its name. Its clipping acts on the reduced gradients.
            loss: as in Keras: a name, function, `keras.losses.Loss`, or several by output.
            loss_weights: as in Keras.
            metrics: as in Keras.
            weighted_metrics: as in Keras.
            run_eagerly: run the step eagerly, for debugging.
            steps_per_execution: steps per call of the compiled loop, as in Keras.
            jit_compile: True or False; "auto" leaves it to `xla`.
            auto_scale_loss: must be True: where a layer computes in float16, the step scales the
                loss itself.
            **options: `micro_batches=1`, `clip_norm=0.0`, `ema_decay=0.0`, `remat=False`,
                `seed=0` or `xla=None`; `tfscale.config.step.ModelOptions` says what each does.

        Raises:
            ConfigError: an option out of range or unknown, an optimizer that cannot be right on
                several replicas, a subclass with a `train_step` of its own, or parameter servers.
        """
        if unknown := set(options) - set(ModelKeywords.__annotations__):
            raise ConfigError(
                f"compile does not take {', '.join(sorted(unknown))}; besides Keras's own arguments"
                f" it takes {', '.join(ModelKeywords.__annotations__)}"
            )
        if not auto_scale_loss:
            raise ConfigError(
                "auto_scale_loss=False has no meaning here: the step scales the loss itself where"
                " the network computes in float16"
            )
        several = self.strategy.num_replicas_in_sync > 1
        check_no_own_step(
            self,
            ("train_step", *(("test_step", "predict_step") if several else ())),
            "override compute_loss and compute_metrics",
        )
        check_steps_per_execution(steps_per_execution)
        check_made_in_scope(optimizer, self.strategy)
        if is_asynchronous(self.strategy):
            raise ConfigError(
                "Model does not train under parameter servers, whose workers do not share batches;"
                " LanguageModel does"
            )
        given: ModelOptions = make_config(ModelOptions, dict(options))
        if jit_compile in (True, False):
            given = dataclasses.replace(given, xla=bool(jit_compile))
        with self.strategy.scope():
            super().compile(
                optimizer=optimizer,
                loss=loss,
                loss_weights=loss_weights,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                run_eagerly=run_eagerly,
                steps_per_execution=steps_per_execution,
                jit_compile=given.xla is True and not run_eagerly,
                auto_scale_loss=False,
            )
        self._options, self._todo = given, ""
        self.train_step_runner = None
        if is_built(self.network):
            self._make_step()

    def check_teacher(self, lesson: Teacher) -> None:
        """Is asked by `tfscale.compress.distill`; outputs are compared on the first batch."""

    def _maybe_symbolic_build(self, iterator=None, data_batch: Nested = None) -> None:
        with plain_errors():  # Keras takes frames that say whose function failed out of errors
            super()._maybe_symbolic_build(iterator, data_batch)

    def check_batch(self, data_batch: Nested) -> None:
        """Refuses data without targets that the loss needs, and weights of other targets."""
        if not self.overrides("compute_loss") and not self.overrides("compute_metrics"):
            check_batch(self, data_batch)

    def on_built(self) -> None:
        """Makes the train step, once the network is built."""
        if self.train_step_runner is None:
            self._make_step()

    def _make_step(self) -> None:
        check_trainable(self.network, self.strategy)
        if self._options.remat:
            check_remat(self.network, self.run_eagerly)
        with self.strategy.scope():
            arguments = (self._options, self.strategy, self.pruner, self.formats)
            step = ModelStep(self, *arguments)
        self.train_step_runner = step
        self.train_state.follow(step)
        self._trained = [id(weight) for weight in self.network.trainable_variables]

    def make_train_function(self, force: bool = False) -> TrainFunction:
        """Makes the function that Keras's `fit` calls for each batch."""
        function = self.train_function
        if not isinstance(function, TrainFunction) or force:
            function = self.train_function = TrainFunction(self._compiled_step(), self._uses_xla)
        return function

    def make_test_function(self, force: bool = False) -> object:
        """Makes the function that Keras's `evaluate` calls for each batch."""
        if self.strategy.num_replicas_in_sync == 1:
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = TestFunction(self._compiled_step())
        return self.test_function

    def make_predict_function(self, force: bool = False) -> object:
        """Makes the function that Keras's `predict` calls for each batch."""
        # Every worker of several predicts all rows by itself.
        if self.strategy.num_replicas_in_sync == 1 or self.workers.count > 1:
            return super().make_predict_function(force)
        if self.predict_function is None or force:
            self.predict_function = PredictFunction(self, Dealer(self.workers))
        return self.predict_function

    def fit(self, *args: object, **keras_arguments: object) -> keras.callbacks.History:
        """Trains the model; arguments and callbacks are those of Keras's `fit`.

        Under a strategy the data are global batches, the same on every worker.

        Returns:
            Keras's History.

        Raises:
            ConfigError: not compiled, or other weights are trainable than at `compile`.
            TrainingError: the loss or a gradient is not finite. The step changed nothing, and its
                logs show it to callbacks first: `TerminateOnNaN` ends the training instead.
            WorkerLostError: another worker of the same training went away.
        """
        self._check_compiled("fit", trains=True)
        counted = boards_count_steps(args, keras_arguments, self.steps_per_execution)
        with plain_errors(), counted as (by_place, by_name):
            history = super().fit(*by_place, **by_name)
        if not self.stop_training and isinstance(self.train_function, TrainFunction):
            self.train_function.check_finite()
        return history

    def evaluate(self, *args: object, **keras_arguments: object) -> object:
        """Returns loss and metrics; arguments and result are those of Keras's `evaluate`.

        With `ema_decay` they are those of the averaged weights.
        """
        self._check_compiled("evaluate")
        with self.averaged_weights(), self.checked_ids(), plain_errors():
            return super().evaluate(*args, **keras_arguments)

    def predict(self, *args: object, **keras_arguments: object) -> Nested:
        """Returns outputs; arguments are those of Keras's `predict`.

        With `ema_decay` they are those of the averaged weights.
        """
        with self.averaged_weights(), self.checked_ids(), plain_errors():
            return super().predict(*args, **keras_arguments)

    def train_on_batch(self, *args: object, **keras_arguments: object) -> object:
        """Takes one step on a batch; arguments and result are those of Keras's `train_on_batch`."""
        self._check_compiled("train_on_batch", trains=True)
        with plain_errors():
            return super().train_on_batch(*args, **keras_arguments)

    def test_on_batch(self, *args: object, **keras_arguments: object) -> object:
        """Evaluates a batch; arguments and result are those of Keras's `test_on_batch`."""
        self._check_compiled("test_on_batch")
        with self.averaged_weights(), self.checked_ids(), plain_errors():
            return super().test_on_batch(*args, **keras_arguments)

    def predict_on_batch(self, x: Nested) -> Nested:
        """Returns the outputs of a batch, with the weights that `predict` uses."""
        with self.averaged_weights(), self.checked_ids(), plain_errors():
            return super().predict_on_batch(x)

    def get_compile_config(self) -> JsonObject:
        """Returns what a `.keras` file keeps of `compile`; nothing if it was not called.

        It keeps what `tfscale.compress` set before, too, but for a teacher.
        """
        if not self.compiled:
            return {}
        kept, step = dataclasses.asdict(self._options), self.train_step_runner
        formats = [] if step is None else step.formats
        return {
            **super().get_compile_config(),
            "jit_compile": "auto",
            "set_before": compression_config(self, formats, self.teacher),
            **{name: kept[name] for name in ModelKeywords.__annotations__},
        }

    def compile_from_config(self, config: JsonObject) -> None:
        """Compiles a model that is being loaded as it was when it was saved."""
        with self.strategy.scope():
            given = keras.saving.deserialize_keras_object(config)
            todo = set_compression(self, given.pop("set_before"), given["optimizer"])
            if not todo:
                self.compile(**given)
                return
        self._todo = f": {todo}, then compile(model.optimizer, loss=...)"

    def _check_compiled(self, name: str, trains: bool = False) -> None:
        # Keras says of every model that it loads with a compile config that it is compiled.
        if not self.compiled or self._todo:
            raise ConfigError(f"call compile(optimizer, loss=...) before {name}{self._todo}")
        if trains and self.train_step_runner is not None:
            check_unchanged(self, self.train_step_runner, self._trained)

    def _compiled_step(self) -> ModelStep:
        step = self.train_step_runner
        assert isinstance(step, ModelStep)
        return step

    def _uses_xla(self, spec: Nested) -> bool:
        wanted, several = self._options.xla, self.strategy.num_replicas_in_sync > 1
        return model_uses_xla(self.network, wanted, several, self.workers.count, spec)


def is_built(network: keras.Model) -> bool:
    """Returns whether a network and all layers in it have their variables."""
    return network.built and all(layer.built for layer in layers_of(network))


def check_untouched(network: keras.Model) -> None:
    """Refuses a network that overrides how Keras trains: its own step would not be taken.

    Raises:
        ConfigError: names the method and where it belongs.
    """
    for name in ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"):
        if getattr(type(network), name) is not getattr(keras.Model, name):
            hint = (
                f"subclass tfscale.Model and override {name} there"
                if name.startswith("compute")
                else "the step is tfscale.Model's own; give loss and metrics to compile, or"
                " override compute_loss and compute_metrics in a subclass of tfscale.Model"
            )
            raise ConfigError(
                f"{type(network).__name__} {network.name!r} overrides {name}, which a tfscale.Model"
                f" around it would not call: {hint}"
            )
