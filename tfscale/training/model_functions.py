"""What Keras's loops call for each batch: train, test and predict functions over a strategy."""

from collections.abc import Callable, Iterable, Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Logs, Nested, without_optionals
from tfscale.distribution.workers import lost_workers
from tfscale.errors import ConfigError, TrainingError
from tfscale.training.dealing import Dealer
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.model_step import ModelStep

ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)


def can_be_compiled(spec: Nested) -> bool:
    """Returns whether XLA takes data of a specification: dense numbers."""
    return all(
        isinstance(part, tf.TensorSpec) and part.dtype != tf.string
        for part in tf.nest.flatten(spec)
        if part is not None
    )


class TrainFunction:
    """Takes `steps_per_execution` train steps on batches of an iterator.

    Args:
        step: that of the model; it is built when the first batch is there.
        xla: function (specification of the data) -> whether XLA compiles the step.

    Raises:
        ConfigError: a model that computes its own logs, with several steps a call.
    """

    def __init__(self, step: ModelStep, xla: Callable[[Nested], bool]):
        self.step, self.model, self._xla = step, step.model, xla
        self._is_made = False
        if self.model.steps_per_execution > 1 and self.model.overrides("compute_metrics"):
            raise ConfigError(
                "a model that overrides compute_metrics needs steps_per_execution=1: its logs are"
                " those of one batch"
            )

    def __call__(self, iterator: Iterable) -> Logs:
        """Takes the steps of a call and returns the logs after them.

        Raises:
            StopIteration: there is no batch any more.
            TrainingError: the loss or a gradient was not finite in an earlier call, and no callback
                has ended the training.
        """
        self.check_finite()
        logs: Logs = {}
        with lost_workers(), plain_errors():
            if isinstance(iterator, ITERATORS):
                self._make(iterator.element_spec)
                taken, logs = self._block(iterator)
                if not taken:
                    raise StopIteration
                return logs
            for _, data in zip(range(self.model.steps_per_execution), iterator, strict=False):
                tensors = keras.tree.map_structure(_as_tensor, data)
                self._make(keras.tree.map_structure(_spec_of, tensors))
                logs = self._single(tensors)
        return logs

    def check_finite(self) -> None:
        """Refuses to go on after a step that was not finite; the weights are those before it."""
        bad = int(self.step.first_bad_step.numpy())
        if bad < 0:
            return
        self.step.first_bad_step.assign(-1)
        raise TrainingError(
            f"the loss or a gradient is not finite at step {bad}; the weights are those before it."
            " Lower the learning rate, give clip_norm, or look at the data; the callback"
            " TerminateOnNaN ends the training without this error"
        )

    def _make(self, spec: Nested) -> None:
        if self._is_made:
            return
        eager = self.model.run_eagerly or tf.config.functions_run_eagerly()
        dealer = Dealer(self.model.workers, self.step.options.micro_batches)
        with self.model.strategy.scope():
            self.step.build(dealer, self._xla(spec), eager)
        self._block = self._take_block if eager else tf.function(self._take_block)
        self._single = (
            self.step.take if eager else tf.function(self.step.take, reduce_retracing=True)
        )
        self._is_made = True

    def _take_block(self, iterator):
        if self.model.steps_per_execution == 1:
            return True, self.step.take(iterator.get_next())
        taken = 0
        optional = iterator.get_next_as_optional()
        while optional.has_value():
            self.step.take(optional.get_value())
            taken += 1
            if taken >= self.model.steps_per_execution or self.step.first_bad_step >= 0:
                break
            optional = iterator.get_next_as_optional()
        return taken > 0, self.model.get_metrics_result()


def _as_tensor(part: object) -> object:
    return part if part is None else tf.convert_to_tensor(part)


def _spec_of(part: object) -> object:
    return part if part is None else tf.type_spec_from_value(part)


class TestFunction:
    """Evaluates batches on all replicas; metrics cover all rows.

    Args:
        step: that of the model.
    """

    def __init__(self, step: ModelStep):
        self.step, self.model = step, step.model
        with self.model.strategy.scope():
            step.prepare(self.model.workers)
        self.dealer = Dealer(self.model.workers)
        eager = self.model.run_eagerly or tf.config.functions_run_eagerly()
        self._part = step.evaluation_part if eager else tf.function(step.evaluation_part)
        self._single = self._take if eager else tf.function(self._take, reduce_retracing=True)
        # Within the function a batch has the shape that the data declare, not its own.
        self._next = self._take_next if eager else tf.function(self._take_next)

    def __call__(self, iterator: Iterable) -> Logs:
        """Evaluates the batches of a call and returns the logs after them.

        Raises:
            StopIteration: there is no batch any more.
        """
        logs: Logs = {}
        taken = 0
        with lost_workers(), plain_errors():
            if not isinstance(iterator, ITERATORS):
                [data] = iterator
                return self._single(keras.tree.map_structure(_as_tensor, data))
            for _ in range(self.model.steps_per_execution):
                try:
                    logs = self._next(iterator)
                except tf.errors.OutOfRangeError:
                    break
                taken += 1
        if not taken:
            raise StopIteration
        return logs

    def _take_next(self, iterator):
        return self._take(iterator.get_next())

    def _take(self, data):
        batch = keras.utils.unpack_x_y_sample_weight(without_optionals(data))
        additions = self.dealer.run(self._of_replica, batch)
        first = self.step.strategy.experimental_local_results
        self.step.metrics.add([first(value)[0] for value in additions])
        return self.model.get_metrics_result()

    def _of_replica(self, batch, global_rows, even, static):
        return self.step.evaluate_replica(self._part, batch, global_rows, even, static)


class PredictFunction:
    """Predicts batches on the replicas of this machine.

    Args:
        model: built or not; its strategy has several replicas.
    """

    def __init__(self, model: keras.Model, dealer: Dealer):
        self.model, self.dealer = model, dealer
        self._batch = tf.function(self._of_batch, reduce_retracing=True)

    def __call__(self, batches: Sequence[Nested]) -> Nested:
        """Returns the outputs (B, ...) of several batches, one after the other."""
        outputs = [self._batch(without_optionals(data)) for data in batches]
        if len(outputs) == 1:
            return outputs[0]
        return keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *outputs)

    def _of_batch(self, data):
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        results = self.dealer.run(lambda batch, *_: self.model(batch[0], training=False), (x,))
        local = self.dealer.strategy.experimental_local_results
        return tf.nest.map_structure(lambda value: tf.concat(local(value), 0), results)
