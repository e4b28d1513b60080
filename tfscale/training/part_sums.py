"""Forward and backward pass of any Keras model over some rows of a batch.

Dropout draws of parts are a function of (seed, step, replica, micro-batch). A whole batch on one
device uses the seed generators' own state, as stock Keras does.

Shapes: B rows of the global batch, b rows of a part.
"""

import contextlib
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfscale.compat.keras_trainer import (
    KerasLoop,
    Logs,
    Nested,
    NotingScope,
    loss_tracker_of,
)
from tfscale.compat.tensorflow import of_shape
from tfscale.config.step import ModelOptions
from tfscale.distribution.sums import summed_over_replicas
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError
from tfscale.training.additivity import Rules
from tfscale.training.distilled_loss import DistilledLoss, distilled
from tfscale.training.layer_remat import rematerialized_blocks
from tfscale.training.layout import Layout, described
from tfscale.training.loss import show_regularized
from tfscale.training.metric_sums import MetricSums
from tfscale.training.model_state import check_carried, check_not_stateful
from tfscale.training.objective import Objective, Part, Term, grouped, quotient, row_count
from tfscale.training.slices import zeros_of
from tfscale.training.step_options import check_reduced_optimizer
from tfscale.training.step_state import StepState


class PartSums(StepState):
    """Computes gradients, losses and metrics of a model, of whole batches or of parts.

    Args:
        model: compiled and built; made in the scope of `strategy`.
        options: see `ModelOptions`.
        strategy: that of the model.
        pruner: as in `StepState`.
        formats: as in `StepState`.

    Raises:
        ConfigError: an optimizer or a loss that cannot be right on several replicas.
    """

    def __init__(
        self,
        model: KerasLoop,
        options: ModelOptions,
        strategy: tf.distribute.Strategy,
        pruner=None,
        formats=None,
    ):
        check_reduced_optimizer(model.optimizer, strategy.num_replicas_in_sync)
        super().__init__(model.network, model.optimizer, options, strategy, pruner, formats)
        self.model = model
        tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        self.whole = self.replicas * options.micro_batches == 1 and not tpu
        """Whether a batch is computed at once, on one device."""
        self._layout: Layout | None = None
        self._connected: list[int] | None = None
        self._state: list[keras.Variable] = []
        self._evaluated: list[Term] = []
        self.distilled: DistilledLoss | None = None
        self.rules: dict[bool, Rules | None] = {True: None, False: None}
        """How loss and metrics add up, in training and in evaluation; None if not measured."""

    def prepare(self, workers: Workers) -> None:
        """Looks at loss and metrics, which are there when the model is built."""
        self.metric_variables = [v for metric in self.model.metrics for v in metric.variables]
        if self.model.teacher is not None:
            self.distilled = distilled(self.model, self.model.teacher)
        if not self.whole:
            check_not_stateful(self.network, self.options.micro_batches)
            self.objective = Objective(self.model)
            self.metrics = MetricSums(self.model, self.objective, workers)

    def whole_gradients(self, x: Nested, y: Nested = None, sample_weight: Nested = None):
        """Computes what an update needs of a whole batch, as stock Keras does.

        Returns:
            Gradients of the scaled loss, the factor that makes them the clipped gradients, loss,
            norm of the gradients, all finite, new state of the network and the metrics, logs.
        """
        model = self.model
        scale = tf.identity(self.loss_scale.value)
        with tf.GradientTape() as tape:
            with NotingScope() as scope:
                scope.state_mapping |= self._stand_ins(self.variables, ())
                show_regularized(self.network, scope)
                with self._remat():
                    y_pred = model(x, training=True)
                with self._lesson(x):
                    loss = model.compute_whole_loss(x, y, y_pred, sample_weight, training=True)
                rows = tf.shape(next(p for p in keras.tree.flatten(x) if p is not None))[0]
                loss_tracker_of(model).update_state(loss, sample_weight=rows)
                logs: Logs = keras.tree.map_structure(
                    tf.convert_to_tensor,
                    model.compute_metrics(x, y, y_pred, sample_weight=sample_weight),
                )
            scaled = tf.reduce_sum(tf.cast(loss, tf.float32)) * scale
        changed = self._assigned(scope)
        found = tape.gradient(scaled, self.variables)
        gradients = self._connect([found])[0]
        self._state = self._same(self._state, changed)
        factor, loss, _, norm, finite = self._mean_factor(
            gradients, tf.reduce_sum(tf.cast(loss, tf.float32)), tf.ones(()), scale
        )
        state = [scope.get_current_value(v) for v in changed]
        metrics = [
            scope.get_current_value(v) if _changed(scope, v) else tf.convert_to_tensor(v.value)
            for v in self.metric_variables
        ]
        return gradients, factor, loss, norm, finite, state, metrics, logs

    def part(self, x, y, sample_weight, draw, scale, global_rows):
        """Computes what some rows add to the sums of a batch.

        Args:
            x: inputs (b, ...).
            y: targets, or None.
            sample_weight: weights, or None.
            draw: the number of the draw of dropout, which is this part's alone.
            scale: what the loss is multiplied by before its gradient is taken.
            global_rows: B.

        Returns:
            Sums as `Layout` orders them, and the new state of layers that share it over replicas.
        """
        with tf.GradientTape(persistent=True) as tape:
            with NotingScope() as scope:
                scope.state_mapping |= self._stand_ins(self.variables, ())
                for variable, value in [*self._seeds(draw), *self.metrics.zeros()]:
                    scope.state_mapping[id(variable)] = value
                with self._remat():
                    y_pred = self.model(x, training=True)
                part = Part(x, y, y_pred, sample_weight, scope, True, global_rows)
                with self._lesson(x):
                    terms, additions = self._sums_of(part)
            groups = grouped(terms)
            targets = [
                tf.add_n([terms[index].numerator * terms[index].weight for index in group])
                * (scale / global_rows)
                for group in groups
            ]
        seeds = {id(variable) for variable in self.seed_states}
        changed = [variable for variable in self._assigned(scope) if id(variable) not in seeds]
        check_carried(self.model.network, changed, self.options.micro_batches)
        found = [tape.gradient(target, self.variables) for target in targets]
        del tape
        gradients = self._connect(found)
        self._state = self._same(self._state, changed)
        self._layout = Layout(groups, [described(term) for term in terms], self._connected or [])
        sums = [g for of_group in gradients for g in of_group]
        sums += [term.numerator for term in terms] + [term.denominator for term in terms]
        return [*sums, *additions], [scope.get_current_value(v) for v in changed]

    def finish(self, sums, scale, global_rows, rows_in_shape: int | None = None):
        """Computes what the update needs, from the sums over all parts of a batch.

        Returns:
            As `whole_gradients` up to whether all is finite, then the additions of the metrics.
        """
        layout = self._layout
        assert layout is not None
        by_group, numerators, denominators, additions = layout.parted(sums)
        values = [quotient(n, d) for n, d in zip(numerators, denominators, strict=True)]
        weighted = [v * term.weight for v, term in zip(values, layout.terms, strict=True)]
        loss = tf.add_n(weighted)
        # The gradients of a group are divided by the rows already.
        for index, group in enumerate(layout.groups):
            if not layout.terms[group[0]].by_rows:
                share = quotient(global_rows, denominators[group[0]])
                by_group[index] = [gradient * share for gradient in by_group[index]]
        gradients = [tf.add_n(of_weight) for of_weight in zip(*by_group, strict=True)]
        factor, loss, _, norm, finite = self._mean_factor(gradients, loss, tf.ones(()), scale)
        outputs = values[: len(self.objective.outputs)]
        additions = self.metrics.with_losses(additions, loss, outputs, global_rows, rows_in_shape)
        return gradients, factor, loss, norm, finite, additions

    def evaluation_part(self, x, y, sample_weight, global_rows):
        """Computes what some rows add up to, without a gradient.

        Returns:
            Numerators and denominators of the loss, then the additions of the metrics.
        """
        with keras.StatelessScope(collect_losses=True) as scope:
            for variable, value in self.metrics.zeros():
                scope.state_mapping[id(variable)] = value
            y_pred = self.model(x, training=False)
            part = Part(x, y, y_pred, sample_weight, scope, False, global_rows)
            terms, additions = self._sums_of(part)
        self._evaluated = [described(term) for term in terms]
        numbers = [term.numerator for term in terms] + [term.denominator for term in terms]
        return [*numbers, *additions]

    def _remat(self) -> contextlib.AbstractContextManager[None]:
        """Has the network's forward pass of the block computed again in the backward pass."""
        if self.options.remat:
            return rematerialized_blocks(self.network)
        return contextlib.nullcontext()

    def _lesson(self, x: Nested) -> contextlib.AbstractContextManager[None]:
        """Has the loss learn from the teacher's outputs for the block, if there is one."""
        return contextlib.nullcontext() if self.distilled is None else self.distilled.lesson(x)

    def _sums_of(self, part: Part) -> tuple[list[Term], list[tf.Tensor]]:
        """Returns the terms of the loss of a part and the additions of its metrics."""
        if self.objective.overridden:
            show_regularized(self.network, part.scope)
        rules = self.rules[part.training]
        terms = self.objective.terms(part, rules)
        x, y, y_pred, sample_weight, scope, *_ = part
        additions = self.metrics.additions(
            scope,
            x,
            y,
            y_pred,
            sample_weight,
            None if rules is None else rules.metrics,
            part.global_rows,
        )
        return terms, additions

    def evaluate_replica(self, part, batch, global_rows, even, static) -> list[tf.Tensor]:
        """Returns the additions of the metrics of a batch, from one replica's rows of it.

        Args:
            part: `evaluation_part`, compiled or not.
            batch: inputs, targets and weights (b, ...).
            global_rows: B.
            even: whether no replica is without rows.
            static: B if the shape of the data says it.
        """
        if even:
            sums = part(*batch, global_rows)
        else:
            sums = zeros_of(part, *batch, global_rows)
            if row_count(batch[0]) > 0:
                sums = part(*batch, global_rows)
        context = tf.distribute.get_replica_context()
        sums = summed_over_replicas(context, sums)
        count = len(self._evaluated)
        pairs = zip(sums[:count], sums[count : 2 * count], strict=True)
        values = [quotient(numerator, denominator) for numerator, denominator in pairs]
        loss = tf.add_n([v * t.weight for v, t in zip(values, self._evaluated, strict=True)])
        outputs = values[: len(self.objective.outputs)]
        additions = sums[2 * count :]
        return self.metrics.with_losses(additions, loss, outputs, global_rows, static)

    def _connect(self, found: list[list]) -> list[list[tf.Tensor]]:
        """Returns dense gradients by group, of the weights that any of them reaches."""
        places = [
            index
            for index in range(len(self.variables))
            if any(of_group[index] is not None for of_group in found)
        ]
        self._connected = self._same(self._connected, places)
        return [
            [_dense(of_group[index], self.variables[index]) for index in places]
            for of_group in found
        ]

    def _assigned(self, scope: NotingScope) -> list[keras.Variable]:
        """Returns the variables that the forward pass has assigned, besides those of metrics.

        Raises:
            ConfigError: a weight that is trained is one of them.
        """
        metrics = {id(variable) for variable in self.metric_variables}
        found = [variable for key, variable in scope.noted.items() if key not in metrics]
        trained = {id(weight) for weight in self.network.trainable_variables}
        if both := [variable for variable in found if id(variable) in trained]:
            raise ConfigError(
                f"weight {both[0].path!r} is trained, and a layer assigns it in the forward pass"
                " (SpectralNormalization does); the step would undo one of the two. Normalize the"
                " weight in the computation instead, or give a kernel_constraint"
            )
        return found

    def _same(self, before: list | None, now: list) -> list:
        """Returns what a trace has found, which must be the same in every trace."""
        if before and [id(v) for v in before] != [id(v) for v in now] and before != now:
            raise ConfigError(
                f"model {self.network.name!r} updates other variables, or depends on other weights,"
                " from batch to batch; its step needs the same ones for all"
            )
        return now

    def _update_variables(self, gradients):
        every: list = [None] * len(self.variables)
        for index, gradient in zip(self._connected or [], gradients, strict=True):
            every[index] = gradient
        super()._update_variables(every)

    def assign_state(self, values: Sequence[tf.Tensor]) -> None:
        """Gives the network's state what the forward pass made of it."""
        for variable, value in zip(self._state, values, strict=True):
            variable.assign(value)


def _changed(scope: keras.StatelessScope, variable: keras.Variable) -> bool:
    return scope.get_current_value(variable) is not None


def _dense(gradient: tf.Tensor | tf.IndexedSlices | None, variable: tf.Variable) -> tf.Tensor:
    if gradient is None:
        return tf.zeros_like(variable)
    return of_shape(tf.convert_to_tensor(gradient), variable.shape)
