"""The train, test and predict functions that Keras's loops call for each batch."""

from collections.abc import Callable, Iterable, Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import Logs, Nested, without_optionals
from tfscale.distribution.workers import lost_workers
from tfscale.errors import ConfigError, TrainingError
from tfscale.training.dealing import Dealer
from tfscale.training.first_batch import FirstBatch
from tfscale.training.fit.input_errors import plain_errors
from tfscale.training.model_state import check_not_stateful
from tfscale.training.model_step import ModelStep

ITERATORS = (tf.data.Iterator, tf.distribute.DistributedIterator)


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
        self._eager = self.model.run_eagerly or tf.config.functions_run_eagerly()
        self._first = FirstBatch(step, True, self._eager)
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
            ConfigError: what parts of the first batch give does not add up.
        """
        self.check_finite()
        logs: Logs = {}
        steps = self.model.steps_per_execution
        with lost_workers(), plain_errors():
            if isinstance(iterator, ITERATORS):
                spec = iterator.element_spec
                taken = 0
                if self._first.is_due(iterator, spec):
                    data = next(iterator)
                    self._look(data, spec)
                    logs = self._as_declared(spec)(data)
                    taken = 1
                    if steps == 1 or self.step.first_bad_step >= 0:
                        return logs
                self._make(spec)
                more, block_logs = self._block(iterator, tf.constant(steps - taken))
                if not more and not taken:
                    raise StopIteration
                return block_logs
            for _, data in zip(range(steps), iterator, strict=False):
                tensors = keras.tree.map_structure(_as_tensor, data)
                spec = keras.tree.map_structure(_spec_of, tensors)
                if self._first.is_due(tensors, spec):
                    self._look(tensors, spec)
                self._make(spec)
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
            " Lower the learning rate, give clip_norm, or look at the data, of which a label beyond"
            " the outputs, or an id beyond the rows of an Embedding, gives NaN; the callback"
            " TerminateOnNaN ends the training without this error"
        )

    def _look(self, data: Nested, spec: Nested) -> None:
        """Measures how the first batch adds up."""
        with self.model.strategy.scope():
            self.step.prepare(self.model.workers)
        batch = keras.utils.unpack_x_y_sample_weight(without_optionals(data))
        self._first.look(batch, spec)
        self._make(spec)

    def _make(self, spec: Nested) -> None:
        if not self._first.changes(spec) and self._is_made:
            return
        dealer = Dealer(self.model.workers, self.step.options.micro_batches)
        with self.model.strategy.scope():
            self.step.build(dealer, self._xla(spec), self._eager)
        self._block = self._take_block if self._eager else tf.function(self._take_block)
        self._single = (
            self.step.take if self._eager else tf.function(self.step.take, reduce_retracing=True)
        )
        self._is_made = True

    def _as_declared(self, spec: Nested) -> Callable[[Nested], Logs]:
        """Returns the step for a batch that is taken out of its iterator already.

        Within it a batch has the shape that the data declare, not its own, as in the loop.
        """
        if self._eager:
            return self.step.take
        return tf.function(self.step.take, input_signature=[spec])

    def _take_block(self, iterator, most):
        if self.model.steps_per_execution == 1:
            return True, self.step.take(iterator.get_next())
        taken = 0
        optional = iterator.get_next_as_optional()
        while optional.has_value():
            self.step.take(optional.get_value())
            taken += 1
            if taken >= most or self.step.first_bad_step >= 0:
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
        self._eager = self.model.run_eagerly or tf.config.functions_run_eagerly()
        self._first = FirstBatch(step, False, self._eager)
        self._is_made = False
        self._spec: Nested = None

    def __call__(self, iterator: Iterable) -> Logs:
        """Evaluates the batches of a call and returns the logs after them.

        Raises:
            StopIteration: there is no batch any more.
            ConfigError: what parts of the first batch give does not add up.
        """
        logs: Logs = {}
        taken = 0
        with lost_workers(), plain_errors():
            if not isinstance(iterator, ITERATORS):
                [data] = iterator
                tensors = keras.tree.map_structure(_as_tensor, data)
                self._make(tensors, tensors, keras.tree.map_structure(_spec_of, tensors))
                return self._single(tensors)
            for _ in range(self.model.steps_per_execution):
                try:
                    data = next(iterator)
                except StopIteration:
                    break
                self._make(iterator, data, iterator.element_spec)
                logs = self._as_declared(iterator.element_spec)(data)
                taken += 1
        if not taken:
            raise StopIteration
        return logs

    def _make(self, source: object, data: Nested, spec: Nested) -> None:
        """Measures how a batch adds up where its kind is new, and makes the functions for it."""
        if self._first.is_due(source, spec):
            batch = keras.utils.unpack_x_y_sample_weight(without_optionals(data))
            self._first.look(batch, spec)
        if not self._first.changes(spec) and self._is_made:
            return
        part = self.step.evaluation_part
        self._part = part if self._eager else tf.function(part)
        take = self._take
        self._single = take if self._eager else tf.function(take, reduce_retracing=True)
        self._declared: dict[str, Callable[[Nested], Logs]] = {}
        self._spec = None
        self._is_made = True

    def _as_declared(self, spec: Nested) -> Callable[[Nested], Logs]:
        """Returns what evaluates a batch. Within it a batch has the shape that the data declare,
        which is not its own, and that of other data may be another one."""
        if self._eager:
            return self._take
        if spec is not self._spec:
            self._spec, key = spec, str(spec)
            if key not in self._declared:
                self._declared[key] = tf.function(self._take, input_signature=[spec])
            self._next = self._declared[key]
        return self._next

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

    Raises:
        ConfigError: a layer carries states of rows.
    """

    def __init__(self, model: keras.Model, dealer: Dealer):
        check_not_stateful(model.network)
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
