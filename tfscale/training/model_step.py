"""The train step of any Keras model: the same answer on any number of replicas and micro-batches.

On one device, without micro-batches, a step is what stock Keras does: the loss, with whatever state
the forward pass keeps, of the whole batch at once. Elsewhere the rows of a global batch are dealt
out to replicas and micro-batches; numerators and denominators of the loss, gradients, and what the
metrics add up are summed, by ONE all-reduce; then come division, the finite check, clipping and the
optimizer, as in `TrainStep`.

Shapes: B rows of the global batch, R replicas, M micro-batches.
"""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from tfscale.compat.keras_lookups import nan_beyond_tables
from tfscale.compat.keras_trainer import Logs, Nested, without_optionals
from tfscale.distribution.sums import summed_over_replicas
from tfscale.errors import ConfigError
from tfscale.training.dealing import Dealer
from tfscale.training.model_state import check_normalized, is_synchronized
from tfscale.training.norms import all_finite
from tfscale.training.objective import row_count
from tfscale.training.part_sums import PartSums
from tfscale.training.slices import map_parts, sliced, stacked, static_rows, zeros_of
from tfscale.training.xla import compiled_by_xla, has_xla, on_cpu


class ModelStep(PartSums):
    """Takes train steps of a Keras model; see `PartSums` for arguments and errors."""

    def build(self, dealer: Dealer, xla: bool, eager: bool) -> None:
        """Makes the functions of the step.

        Args:
            dealer: cuts batches for the replicas.
            xla: compile forward and backward, and on one device the update, by XLA.
            eager: run all of it eagerly, for debugging.

        Raises:
            ConfigError: micro-batches of a network with synchronized batch normalization.
        """
        check_normalized(self.network, self.options.micro_batches)
        self.dealer = dealer
        self.prepare(dealer.workers)
        jit = self.uses_xla = xla and has_xla() and not eager
        several = self.replicas > 1

        def compiled(function: Callable, whole: bool = True) -> Callable:
            if jit and whole:
                return compiled_by_xla(_with_checked_ids(function))
            # TensorFlow itself checks ids on a CPU.
            checked = function if on_cpu() else _with_checked_ids(function)
            return function if eager else tf.function(checked)

        self._single = compiled_by_xla(_with_checked_ids(self._chosen_step)) if jit else None
        # On one device XLA compiles all micro-batches at once; replicas communicate in between.
        self._part = compiled(self.part, several)
        if is_synchronized(self.network):
            # It communicates, which TensorFlow allows in no function inside of the replica's.
            self._part = self.part
        self._part_uneven = compiled(self.part, False)
        self._finish = compiled(self.finish, several)
        self._even = self._even_sums if several else compiled(self._even_sums)
        self._uneven = self._uneven_sums
        self._update = compiled(self._update_replica, not several)
        self.usual_rows = tf.Variable(-1, trainable=False, dtype=tf.int32)
        """Rows of the first batch: what XLA compiles for."""

    def take(self, data: Nested) -> Logs:
        """Takes a step on a global batch, in cross-replica context; returns the logs after it."""
        with self.context():
            return self._take(data)

    def _take(self, data: Nested) -> Logs:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(without_optionals(data))
        if self.whole:
            return self._take_whole(x, y, sample_weight)
        batch = (x, y, sample_weight)
        first = self.strategy.experimental_local_results
        if isinstance(self.strategy, tf.distribute.TPUStrategy):
            # A TPU compiles the whole step of a replica, its communication and the condition
            # included.
            numbers = self.dealer.run(self.gradients_and_update, batch)
            finite, *additions = (first(value)[0] for value in numbers)
        else:
            gradients, factor, state, *numbers = self.dealer.run(self._of_replica, batch)
            finite, *additions = (first(value)[0] for value in numbers)
            if finite:
                self._apply(gradients, factor, state)
        if finite | self.loss_scale.at_its_least():
            self.metrics.add(additions)
        self._count(finite)
        return self.model.get_metrics_result()

    def _take_whole(self, x, y, sample_weight):
        if self._single is None:
            return self._conditional_step(x, y, sample_weight)
        if static_rows(x) is not None:
            return self._single(x, y, sample_weight)
        # A last batch that is smaller is not worth a compilation of its own.
        count = row_count(x)
        if self.usual_rows < 0:
            self.usual_rows.assign(count)
        if count == self.usual_rows:
            logs = self._single(x, y, sample_weight)
        else:
            logs = self._conditional_step(x, y, sample_weight)
        return logs

    def _conditional_step(self, x, y, sample_weight):
        gradients, factor, state, finite, logs = self._all_but_update(x, y, sample_weight)
        if finite:
            self._update(gradients, factor, state)
        return logs

    def _chosen_step(self, x, y, sample_weight):
        """As `_conditional_step`, as one program of XLA with a choice instead of a condition."""
        gradients, factor, state, finite, logs = self._all_but_update(x, y, sample_weight)
        self._update_if(finite, lambda: self._scale_and_update(gradients, factor))
        before = [tf.convert_to_tensor(variable.value) for variable in self._state]
        pairs = zip(state, before, strict=True)
        self.assign_state([tf.where(finite, value, old) for value, old in pairs])
        return logs

    def _all_but_update(self, x, y, sample_weight):
        """Computes what the update of a whole batch needs; counts the step and its metrics."""
        before = self.model.get_metrics_result() if self.loss_scale.on else {}
        gradients, factor, _, _, finite, state, metrics, logs = self.whole_gradients(
            x, y, sample_weight
        )
        if self.loss_scale.on:
            # A step that overflowed in float16 does not count in the means.
            counts = finite | self.loss_scale.at_its_least()
            held = {name: before.get(name, value) for name, value in logs.items()}
            logs = keras.tree.map_structure(lambda new, old: tf.where(counts, new, old), logs, held)
            pairs = zip(metrics, self.metric_variables, strict=True)
            metrics = [tf.where(counts, value, variable.value) for value, variable in pairs]
        for variable, value in zip(self.metric_variables, metrics, strict=True):
            variable.assign(value)
        self._count(finite)
        return gradients, factor, state, finite, logs

    def _mean_factor(self, gradients, loss, count, scale):
        """Computes what `StepState._mean_factor` does; the norm only where something needs it."""
        if self._scales:
            return super()._mean_factor(gradients, loss, count, scale)
        finite = all_finite(gradients, self.uses_xla) & tf.math.is_finite(loss)
        return tf.ones(()), loss, count, tf.constant(math.nan), finite

    def _scale_and_update(self, sums, factor):
        if self._scales:
            super()._scale_and_update(sums, factor)
        else:
            self._update_variables(sums)

    @property
    def _scales(self) -> bool:
        """Whether the gradients are clipped by the step, or are those of a scaled loss."""
        return bool(self.options.clip_norm) or self.loss_scale.on

    def _apply(self, gradients, factor, state):
        if self.replicas == 1:
            self._update(gradients, factor, state)
        else:
            self.strategy.run(self._update_replica, args=(gradients, factor, state))

    def _update_replica(self, gradients, factor, state):
        self._scale_and_update(gradients, factor)
        self.assign_state(state)

    def gradients_and_update(self, batch, global_rows, even, static):
        """Takes a replica's whole step as one program.

        Args:
            batch: inputs, targets and weights of the replica (B / R, ...).
            global_rows: B as float32.
            even: whether the rows of all replicas can be cut into micro-batches of one size.
            static: B if the shape of the data says it.

        Returns:
            Whether all is finite, then what is added to the metrics.
        """
        sums = self._of_replica(batch, global_rows, even, static)
        gradients, factor, state, finite, *additions = sums
        if finite:
            self._update_replica(gradients, factor, state)
        return finite, *additions

    def _of_replica(self, batch, global_rows, even, static):
        """Computes one replica's part of a step, from its rows of a batch."""
        sums: Callable = self._even if even else self._uneven
        return sums(*batch, global_rows, static)

    def _even_sums(self, x, y, sample_weight, global_rows, static):
        """Computes the sums of rows that can be cut into micro-batches of one size."""
        return self._replica_sums((x, y, sample_weight), global_rows, static, self._part, True)

    def _uneven_sums(self, x, y, sample_weight, global_rows, static):
        """Computes the sums of any number of rows, even none."""
        if is_synchronized(self.network):
            raise ConfigError(
                "synchronized batch normalization needs batches of one size that the replicas"
                " divide: batch the data by dataset.batch(n, drop_remainder=True)"
            )
        batch = (x, y, sample_weight)
        return self._replica_sums(batch, global_rows, static, self._part_uneven, False)

    def _replica_sums(self, batch, global_rows, static, part, even):
        micro = self.options.micro_batches
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # Draw number d is unique to (step, replica, micro-batch).
        draw = (tf.identity(self.step) * self.replicas + replica) * micro
        scale = tf.identity(self.loss_scale.value)
        if micro == 1 and even:
            sums, state = part(*batch, draw, scale, global_rows)
        else:
            state = []
            sums = self._summed_parts(batch, part, (draw, scale, global_rows), even)
        if self.replicas > 1:
            sums = summed_over_replicas(context, sums)
        gradients, factor, *rest, additions = self._finish(sums, scale, global_rows, static)
        return gradients, factor, state, rest[-1], *additions

    def _summed_parts(self, batch, part, numbers, even):
        micro = self.options.micro_batches
        draw, *others = numbers
        rows = row_count(batch[0])
        cut = stacked(batch, micro) if even else batch

        def piece(index):
            if even:
                return map_parts(lambda tensor: tensor[index], cut)
            return sliced(cut, rows, index, micro)

        # Traced here, so that its sums have shapes to begin with; the loop takes the same trace.
        sums, _ = zeros_of(part, *piece(tf.constant(0)), draw, *others)
        for index in tf.range(micro):
            # Without XLA, TensorFlow would begin up to 10 micro-batches at once and save nothing.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            own = piece(index)
            own_draw = draw + tf.cast(index, tf.int64)
            if even:
                added, _ = part(*own, own_draw, *others)
                # The dependency keeps each sum by itself; see `ReplicaGradients`.
                with tf.control_dependencies([added[-1]]):
                    sums = [a + b for a, b in zip(sums, added, strict=True)]
            elif row_count(own[0]) > 0:
                added, _ = part(*own, own_draw, *others)
                with tf.control_dependencies([added[-1]]):
                    sums = [a + b for a, b in zip(sums, added, strict=True)]
        return sums


def _with_checked_ids(function: Callable) -> Callable:
    def checked(*arguments):
        with nan_beyond_tables():
            return function(*arguments)

    return checked
