"""`LanguageModel`: Keras's `compile`, `fit` and `evaluate`, driven by the one train step.

It wraps any Keras model of token ids (B, T) -> logits (B, T, V), ours or the user's own, and calls
ordinary `keras.callbacks`. "Epochs" are what Keras calls them: `steps_per_epoch` steps, then a
validation.
"""

import contextlib
import functools
from collections.abc import Sequence
from typing import Unpack

import keras
from numpy.typing import ArrayLike

from tfscale.compat.keras import learning_rate_of
from tfscale.config.options import make_config
from tfscale.config.step import CompileOptions, StepKeywords
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.outputs import check_logits, probe_ids
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.asynchronous import AsynchronousStep
from tfscale.training.batches import Batched, FitInput
from tfscale.training.distillation import Teacher
from tfscale.training.evaluated_model import EvaluatedModel
from tfscale.training.feeding import validation_batches
from tfscale.training.fit import arguments as fit_arguments
from tfscale.training.fit.arguments import as_callbacks, check_same_weights, check_trainable, refuse
from tfscale.training.fit.batch_callbacks import STEPS_PER_CALL, default_steps_per_call
from tfscale.training.fit.compile_config import compile_as, compile_config
from tfscale.training.fit.data import FitData, FitSource
from tfscale.training.fit.loop import FitLoop, StepCalls
from tfscale.training.fit.progress import with_progress
from tfscale.training.stateful import StatefulStep, check_streams, evaluation_step
from tfscale.training.step import TrainStep
from tfscale.training.step_state import Pruner


@keras.saving.register_keras_serializable("tfscale")
class LanguageModel(EvaluatedModel):
    """Trains a network with the same answer on any number of replicas and micro-batches.

    Make it inside `strategy.scope()`, like any Keras model. What Keras saves of it, as `.keras` or
    as weights, holds all that training needs to go on exactly: optimizer, averages, masks, loss
    scale, carried states and the step count; a `.keras` file holds what `compile` was given, too.

    With `ema_decay` there are two sets of weights. Those that are trained are what `model(ids)` and
    `model.network` compute with; their averages are what `evaluate`, `predict` and validations use,
    and `averaged_weights()` puts them in place for anything else, such as an export.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).

    Example:
        with tfscale.strategy("auto").scope():
            model = tfscale.LanguageModel(tfscale.build_network(config))
            model.compile(keras.optimizers.AdamW(1e-3), clip_norm=1.0, micro_batches=2)
        model.fit(dataset, epochs=4, steps_per_epoch=250, validation_data=validation)
    """

    def __init__(self, network: keras.Model, name: str = "language_model"):
        super().__init__(network, name)
        self.pruner: Pruner | None = None
        self.formats: dict[str, WeightFormat] = {}
        self.teacher: Teacher | None = None
        self._trained: list[int] = []
        self._todo = ""

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adamw",
        **options: Unpack[StepKeywords],
    ) -> None:
        """Sets the optimizer and what the step does; the loss is the next token's cross-entropy.

        Args:
            optimizer: a Keras optimizer or its name, without clipping, EMA, accumulation or loss
                scaling of its own.
            **options: fields of `tfscale.config.step.CompileOptions`, such as `clip_norm=1.0`,
                `micro_batches=1`, `ema_decay=0.0`, `remat=False` or `xla=True`, which says what
                each of them does.

        Raises:
            ConfigError: an argument of Keras's `compile` that has no meaning here, an unsuited
                optimizer, or a network that does not offer what `remat` and `loss_chunk_tokens`
                need, or does not fit `streams`.
        """
        known = StepKeywords.__annotations__
        others = {name: value for name, value in options.items() if name not in known}
        refuse("compile", others, fit_arguments.COMPILE)
        check_trainable(self.network, self.strategy)
        given = {name: value for name, value in options.items() if name in known}
        step_options: CompileOptions = make_config(CompileOptions, given)
        carries = check_streams(self.network, step_options, self.strategy)
        with self.strategy.scope():
            super().compile(
                optimizer=optimizer, loss=None, jit_compile=False, auto_scale_loss=False
            )
            arguments = (self.network, self.optimizer, step_options, self.strategy)
            if is_asynchronous(self.strategy):
                step: TrainStep = AsynchronousStep(*arguments)
            else:
                step_class = StatefulStep if carries else TrainStep
                step = step_class(*arguments, self.pruner, self.formats, self.teacher)
        self.train_step_runner = step
        self.train_state.follow(step)
        self._evaluation_step = evaluation_step(
            self.network, self.strategy, bool(step_options.xla), step_options.loss_chunk_tokens
        )
        self._trained = [id(weight) for weight in self.network.trainable_variables]

    def get_compile_config(self) -> JsonObject:
        """Returns what a `.keras` file keeps of `compile`; nothing if it was not called."""
        return {} if self.train_step_runner is None else compile_config(self.train_step_runner)

    def compile_from_config(self, config: JsonObject) -> None:
        """Compiles a model that is being loaded as it was when it was saved."""
        with self.strategy.scope():
            self._todo = compile_as(self, config)

    def fit(  # noqa: PLR0913 - the arguments are Keras's own
        self,
        x: FitInput,
        y: ArrayLike | None = None,
        batch_size: int = 32,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = None,
        validation_data: Batched | Sequence[ArrayLike] | None = None,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        *,
        steps_per_call: int | None = None,
        stop_at_multiples_of: Sequence[int] = (),
        checked: bool = False,
        **keras_options: object,
    ) -> keras.callbacks.History:
        """Trains the network.

        Args:
            x: batched dataset of (ids, targets[, weights]), each (B, T), or ids (N, T): global
                batches, the same and in the same order on every worker. Or a function
                `tf.distribute.InputContext` -> dataset of one worker's rows of every global batch,
                which spares each worker from reading the others' rows. Under parameter servers each
                batch is taken by one worker, and the function gives the batches of one worker.
            y: targets (N, T) where `x` is an array. A negative target, such as -100, counts as one
                of weight 0.
            batch_size: rows of the global batch where `x` is an array.
            epochs: index of the last epoch plus one, as in Keras.
            verbose: 0 silent; "auto" or 1 Keras's progress bar; 2 a line per epoch.
            callbacks: a Keras callback or several; their batch logs hold loss, perplexity,
                learning_rate, gradient_norm, tokens, tokens_per_second, input_wait (seconds the
                steps waited for data) and seconds, of the steps since the last call. Where no token
                of them counts there is no loss and no perplexity. `BackupAndRestore` goes on at the
                very step that it saved; a dataset is read from its first batch again, of which
                those that the epoch had are skipped.
            validation_data: dataset or (x, y[, sample_weight]) to validate on after each epoch.
            shuffle: shuffle the rows of arrays.
            sample_weight: weights (N,) or (N, 1), one a row, or (N, T), one a token, where `x` is
                an array. A mask that the network gives its logits (`mask_zero`, `Masking`) is
                multiplied into them.
            initial_epoch: epoch to start at.
            steps_per_epoch: optimizer steps of an epoch, for which arrays are repeated; None takes
                one pass over the data.
            validation_steps: batches of a validation; None takes all.
            steps_per_call: optimizer steps per call of the compiled loop, and so between batch
                callbacks, which get the number of the last one, as with Keras's
                `steps_per_execution`. None takes 1 where a callback acts on batches (a `save_freq`
                in steps, TensorBoard's `update_freq` or `profile_batch`, a callback with batch
                methods of one's own), and else, or under parameter servers, 20.
            stop_at_multiples_of: step counts at whose multiples a call ends, so that a callback
                sees that very step.
            checked: skip the checks of ids, targets and the network's outputs: for data and
                networks that were checked before.
            **keras_options: Keras's other arguments, which are refused with what to do instead.

        Returns:
            Keras's History: one entry per epoch of each logged value.

        Raises:
            ConfigError: not compiled, a batch that cannot be cut over replicas and micro-batches,
                or a network whose outputs are not the logits of a next token.
            DataError: ids or targets outside of the network's vocabulary, or shapes that do not
                belong together.
            TrainingError: the loss or a gradient is no longer finite. In mixed_float16 such a step
                is skipped, left out of the means and halves the loss scale, unless that is 1.
            WorkerLostError: another worker of the same training went away.
        """
        refuse("fit", keras_options, fit_arguments.FIT)
        step = self._compiled_step()
        check_same_weights(step, self._trained)
        vocabulary = None if checked else self._vocabulary
        source = FitSource(x, y, sample_weight, batch_size, shuffle, steps_per_epoch)
        data = FitData(source, step, self.workers, vocabulary)
        validate = None
        if validation_data is not None:
            batches = validation_batches(validation_data, batch_size, self.strategy, vocabulary)
            validate = functools.partial(self.summed_loss, batches, validation_steps)
        added = as_callbacks(callbacks)
        callback_list = keras.callbacks.CallbackList(
            added if verbose in (0, "0") else with_progress(added),
            add_history=True,
            model=self,
            epochs=epochs,
            verbose=1 if verbose == "auto" else int(verbose),
            steps=data.steps_per_epoch,
        )
        ahead = steps_per_call or STEPS_PER_CALL
        if steps_per_call is None and not is_asynchronous(self.strategy):
            steps_per_call = default_steps_per_call(callback_list.callbacks)
        # Whatever reads a weight, be it a checkpoint or a validation, finds out when a server is
        # gone.
        lost = self._lost_peers() if is_asynchronous(self.strategy) else contextlib.nullcontext()
        calls = StepCalls(steps_per_call or ahead, ahead, stop_at_multiples_of)
        loop = FitLoop(self, step, data, callback_list, validate)
        loop.run(range(initial_epoch, epochs), calls, lost)
        history = self.history
        assert isinstance(history, keras.callbacks.History)
        return history

    def check_teacher(self, lesson: Teacher) -> None:
        """Refuses a teacher that does not give logits of the same next tokens.

        Raises:
            ConfigError: says what it gives.
        """
        if lesson.from_logits is not None:
            raise ConfigError("distill(from_logits=...) is for a Model; a LanguageModel has logits")
        check_logits(lesson.network, probe_ids(lesson.network))
        lesson.check_fits(self.network)

    def current_learning_rate(self) -> float:
        """Returns the learning rate of the last step that was taken."""
        schedule = learning_rate_of(self.optimizer)
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return float(schedule(max(0, int(self.optimizer.iterations.numpy()) - 1)))
        return float(self.optimizer.learning_rate.numpy())

    def _compiled_step(self) -> TrainStep:
        if self.train_step_runner is None:
            todo = f": {self._todo}" if self._todo else ""
            raise ConfigError(f"call compile(optimizer, ...) before fit{todo}")
        return self.train_step_runner
