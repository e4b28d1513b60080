"""`LanguageModel`: Keras's `compile` and `fit`, driven by the train step for next tokens.

It wraps any Keras model of token ids (B, T) -> logits (B, T, V), ours or the user's own, and calls
ordinary `keras.callbacks`. "Epochs" are what Keras calls them: `steps_per_epoch` steps, then a
validation.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence

import keras
from numpy.typing import ArrayLike

from tfscale.compat.keras_optimizers import learning_rate_of
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.training.batches import Batched, FitInput
from tfscale.training.fit import arguments as fit_arguments
from tfscale.training.fit.arguments import as_callbacks, refuse
from tfscale.training.fit.arrays import as_arrays
from tfscale.training.fit.batch_callbacks import (
    STEPS_PER_CALL,
    CallEnds,
    default_steps_per_call,
)
from tfscale.training.fit.data import FitData, FitSource
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.fit.loop import FitLoop, StepCalls
from tfscale.training.fit.progress import with_progress
from tfscale.training.fit.validation import (
    EvaluationData,
    Validation,
    check_frequency,
    count_due,
    split_arrays,
)
from tfscale.training.language_compile import CompiledLanguageModel
from tfscale.training.language_evaluation import Scores


@keras.saving.register_keras_serializable("tfscale")
class LanguageModel(CompiledLanguageModel):
    """Trains a network with the same answer on any number of replicas and micro-batches.

    It is a `tfscale.Model` whose loss is the cross-entropy of the next token, with a step of its
    own for that. Make it inside `strategy.scope()`, like any Keras model. What Keras saves of it,
    as `.keras` or as weights, holds all that training needs to go on exactly: optimizer, averages,
    masks, loss scale, carried states and the step count; a `.keras` file holds what `compile` was
    given, too.

    With `ema_decay` there are two sets of weights. Those that are trained are what `model(ids)` and
    `model.network` compute with; their averages are what `evaluate`, `predict` and validations use,
    and `averaged_weights()` puts them in place for anything else.

    It differs from stock Keras in these ways:

    - A mean is one over the tokens that count: with weights Keras divides by the number of tokens,
      here it is the sum of their weights, and an epoch is one mean, not a mean of its batches'.
    - Tokens of weight 0, of negative targets (-100) and masked ones count in no metric.
    - The loss and the perplexity in the logs of a batch are those of the steps since the last call;
      metrics are those of the epoch so far, as in Keras.
    - `class_weight` looks up the target of each token.
    - `evaluate` returns a dictionary unless `return_dict=False`.
    - Last batches are filled up with rows of weight 0, so one shape is compiled.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        name: of the model.

    Example:
        with tfscale.strategy("auto").scope():
            model = tfscale.LanguageModel(tfscale.build_network(config))
            model.compile(keras.optimizers.AdamW(1e-3), metrics=["accuracy"], clip_norm=1.0)
        model.fit(dataset, epochs=4, steps_per_epoch=250, validation_data=validation)
    """

    def fit(  # type: ignore[override]
        self,
        x: FitInput,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: keras.callbacks.Callback | Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Batched | Sequence[ArrayLike] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Collection[int] = 1,
        *,
        steps_per_call: int | None = None,
        stop_at_multiples_of: Sequence[int] = (),
        checked: bool = False,
        **keras_options: object,
    ) -> keras.callbacks.History:
        """Trains the network.

        Args:
            x: ids (N, T); or batches (ids, targets[, weights]), each (B, T), of a
                `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator or another iterator:
                global batches, the same and in the same order on every worker. Or a function
                `tf.distribute.InputContext` -> dataset of one worker's rows of every global batch,
                which spares each worker from reading the others' rows. Under parameter servers each
                batch is taken by one worker, and the function gives the batches of one worker. A
                list or a dictionary of one array is that array.
            y: targets (N, T) where `x` is an array. A negative target, such as -100, counts as one
                of weight 0.
            batch_size: rows of the global batch where `x` is an array; 32 if it is left out.
            epochs: index of the last epoch plus one, as in Keras.
            verbose: 0 silent; "auto" or 1 Keras's progress bar; 2 a line per epoch.
            callbacks: a Keras callback or several; their batch logs hold loss, perplexity, metrics,
                learning_rate, gradient_norm, tokens, tokens_per_second, input_wait (seconds the
                steps waited for data) and seconds, of the steps since the last call. Where no token
                of them counts there is no loss and no perplexity. `BackupAndRestore` goes on at the
                very step that it saved; a dataset is read from its first batch again, of which
                those that the epoch had are skipped, and metrics begin anew, as in Keras.
            validation_split: share of the rows of arrays, the last ones, to validate on.
            validation_data: what to validate on after each epoch: (x, y[, sample_weight]), or
                batches as in `x`.
            shuffle: shuffle the rows of arrays, or the batches of a `PyDataset`.
            class_weight: token id -> weight of the targets that are this token; a token that is not
                named has 1. It is multiplied into `sample_weight`, and does not act on validations.
            sample_weight: weights (N,) or (N, 1), one a row, or (N, T), one a token, where `x` is
                an array. A mask that the network gives its logits (`mask_zero`, `Masking`) is
                multiplied into them.
            initial_epoch: epoch to start at.
            steps_per_epoch: optimizer steps of an epoch, for which arrays are repeated; None takes
                one pass over the data.
            validation_steps: batches of a validation, the same in each; None takes all.
            validation_batch_size: rows of a batch of validation arrays; `batch_size` if it is left
                out.
            validation_freq: after every how many epochs to validate, or a list of epochs, from 1.
            steps_per_call: optimizer steps per call of the compiled loop, and so between batch
                callbacks, which get the number of the last one, as with Keras's
                `steps_per_execution`, which is taken where `compile` was given it. None takes 1
                where a callback acts on batches (a `save_freq` in steps, TensorBoard's
                `update_freq` or `profile_batch`, a callback with batch methods of one's own), and
                else, or under parameter servers, 20. With more than 1, calls end where Keras's own
                callbacks save, write or profile: these count steps.
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
        refuse("fit", {**keras_options, "shuffle": shuffle}, fit_arguments.FIT)
        step = self._ready_step("fit")
        vocabulary = None if checked else self._vocabulary
        if validation_split and validation_data is None:
            (x, y, *weights), validation_data = split_arrays(x, y, sample_weight, validation_split)
            sample_weight = weights[0] if weights else None
        source = FitSource(
            x,
            y,
            sample_weight,
            batch_size or 32,
            shuffle,
            steps_per_epoch,
            class_weight,
            epochs - initial_epoch,
        )
        data = FitData(source, step, self.workers, vocabulary)
        if not checked:
            self._check_parts(step, data.length)
        self._ready_metrics(data.length)
        validation = None
        if validation_data is not None:
            frequency = check_frequency(validation_freq)
            evaluation = EvaluationData(
                validation_data,
                validation_batch_size or batch_size or 32,
                validation_steps,
                self.workers,
                vocabulary,
                count_due(range(initial_epoch, epochs), frequency),
            )
            validation = Validation(
                lambda callbacks: self._evaluated(evaluation, callbacks, in_fit=True)[0], frequency
            )
        added = as_callbacks(callbacks)
        callback_list = keras.callbacks.CallbackList(
            added if verbose in (0, "0") else with_progress(added),
            add_history=True,
            model=self,
            epochs=epochs,
            verbose=1 if verbose == "auto" else int(verbose),
            steps=data.steps_per_epoch,
        )
        if steps_per_call is None and self.steps_per_execution > 1:
            steps_per_call = self.steps_per_execution
        ahead = steps_per_call or STEPS_PER_CALL
        if steps_per_call is None and not is_asynchronous(self.strategy):
            steps_per_call = default_steps_per_call(callback_list.callbacks)
        # Whatever reads a weight, be it a checkpoint or a validation, finds out when a server is
        # gone.
        lost = self._lost_peers() if is_asynchronous(self.strategy) else contextlib.nullcontext()
        ends = CallEnds(callback_list.callbacks)
        calls = StepCalls(steps_per_call or ahead, ahead, stop_at_multiples_of, ends)
        loop = FitLoop(self, step, data, callback_list, validation)
        loop.run(range(initial_epoch, epochs), calls, lost)
        history = self.history
        assert isinstance(history, keras.callbacks.History)
        return history

    def train_on_batch(  # type: ignore[override]
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Scores:
        """Takes one step on a batch.

        Args:
            x: ids (B, T).
            y: targets (B, T).
            sample_weight: as in `fit`.
            class_weight: as in `fit`.
            return_dict: True returns loss, perplexity and metrics by name.

        Returns:
            The loss before the step, or a list of loss and metrics, as Keras returns them; or a
            dictionary.

        Raises:
            ConfigError: as in `fit`, or parameter servers, whose workers take batches.
            DataError: as in `fit`.
            TrainingError: as in `fit`.
        """
        step = self._ready_step("train_on_batch")
        if is_asynchronous(self.strategy):
            raise ConfigError(
                "train_on_batch is not for parameter servers, where each worker takes batches of"
                " its own; call fit"
            )
        ids, targets, *weights = as_arrays(x, y, sample_weight)
        source = FitSource(
            ids,
            targets,
            weights[0] if weights else None,
            batch_size=len(ids),
            shuffle=False,
            class_weight=class_weight,
        )
        data = FitData(source, step, self.workers, self._vocabulary)
        self._check_parts(step, data.length)
        self._ready_metrics(data.length)
        self.reset_metrics()
        with plain_errors():
            result = step.run(data.iterator(0, 0, 1), 1)
        result.check(step.loss_scale.on)
        logs = self._logs(result.nll, result.tokens)
        return logs if return_dict else self._as_list(logs)

    def current_learning_rate(self) -> float:
        """Returns the learning rate of the last step that was taken."""
        schedule = learning_rate_of(self.optimizer)
        if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return float(schedule(max(0, int(self.optimizer.iterations.numpy()) - 1)))
        return float(self.optimizer.learning_rate.numpy())
