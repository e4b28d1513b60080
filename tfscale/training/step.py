"""The one train step: the same answer on any number of replicas and micro-batches.

Keras 3's own distributed step clips before the all-reduce and takes one replica's word on overflow.
Here each replica sums the loss over its tokens, micro-batch by micro-batch; ONE all-reduce adds
gradients, loss and token count; the sum is divided by the global token count; only then come the
finite check, clipping and the optimizer. XLA compiles the parts that hold no communication: forward
and backward, the scaling, and (on one device) the optimizer.

Dropout draws are a function of (seed, step, replica, micro-batch), so they repeat after a resume
and differ by replica.

Shapes: B rows of the global batch, b rows of a micro-batch, T tokens, V vocabulary, R replicas, M
micro-batches.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfscale.compat.keras import take_gradients_as_reduced
from tfscale.distribution.workers import lost_workers
from tfscale.errors import ConfigError
from tfscale.models.remat import SEED_STATE_NAME
from tfscale.models.weight_formats import WeightFormat, rounded
from tfscale.training.averages import local_value
from tfscale.training.checkpoint import network_state
from tfscale.training.distillation import Teacher
from tfscale.training.gradients import global_norm
from tfscale.training.loss import (
    check_offers_hidden_states,
    chunked_loss_and_gradients,
    penalties,
    token_losses,
)
from tfscale.training.loss_scale import LossScale, replicated
from tfscale.training.masks import as_float32, unmasked
from tfscale.training.step_options import BlockResult, StepOptions, check_optimizer
from tfscale.training.xla import has_xla


class TrainStep:
    """Runs blocks of train steps of a network under a strategy. Make it inside `strategy.scope()`.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        optimizer: a Keras optimizer without clipping, EMA, accumulation or loss scaling of its own.
        options: see `StepOptions`.
        strategy: the strategy whose scope the network was made in.
        pruner: keeps weights sparse, see `tfscale.compress.prune`; None leaves them dense.
        formats: the formats that weights are rounded to in the forward pass, by path; weights
            without one, or with one of 16 or 32 bits, are taken as they are. See
            `tfscale.compress.quantize_aware`.
        teacher: what the network learns from besides the targets, see `tfscale.compress.distill`.

    Raises:
        ConfigError: the optimizer does one of the things that the step does itself, the network
            keeps state between batches that the step cannot carry, such as batch normalization, or
            it does not offer the hidden states that `remat` and `loss_chunk_tokens` need.
    """

    in_parts = False
    """Whether XLA must compile the parts of a step each by itself even for one replica."""

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        options: StepOptions,
        strategy: tf.distribute.Strategy,
        pruner: Any = None,
        formats: Mapping[str, WeightFormat] | None = None,
        teacher: Teacher | None = None,
    ):
        check_optimizer(optimizer)
        self.network, self.optimizer, self.options, self.strategy = (
            network,
            optimizer,
            options,
            strategy,
        )
        self.replicas = strategy.num_replicas_in_sync
        if not network.trainable_variables:
            raise ConfigError(f"model {network.name!r} has no trainable weights")
        # What the optimizer updates, and the variables behind it.
        self.weights = self._optimized_weights()
        self.variables = [w.value for w in self.weights]
        self.formats = [(formats or {}).get(weight.path) for weight in self.weights]
        self.teacher = teacher
        for option in ("remat", "loss_chunk_tokens"):
            if getattr(options, option):
                check_offers_hidden_states(network, f"{option}={getattr(options, option)}")
        if teacher is not None:
            teacher.check_fits(network)
            if options.loss_chunk_tokens:
                check_offers_hidden_states(
                    teacher.network, f"loss_chunk_tokens={options.loss_chunk_tokens}"
                )
        self.seed_states = [v for v in network.variables if v.name == SEED_STATE_NAME]
        self.frozen = [v for v in network.non_trainable_variables if v.name != SEED_STATE_NAME]
        if not optimizer.built:
            optimizer.build(self.weights)
        # The gradients reach the optimizer reduced; Keras would add them up over the replicas once
        # more.
        take_gradients_as_reduced(optimizer)

        self.step = replicated(0, tf.int64)
        self.loss_scale = LossScale(network)
        self.overflows = replicated(0, tf.int64)
        self.first_bad_step = replicated(-1, tf.int64)
        self.averages = [self._new_average(v) for v in self.variables] if options.ema_decay else []
        self.pruner = pruner
        if pruner is not None:
            pruner.build(network, self)

        def compiled(function: Callable, on: bool = True) -> Callable:
            return (
                tf.function(function, jit_compile=True)
                if options.xla and on and has_xla()
                else function
            )

        # On one device a step is two XLA programs, gradients and update, because a condition around
        # the update would have XLA compute both outcomes and copy the optimizer's state. Several
        # replicas communicate between the parts of the first, and write through the strategy in the
        # second, which XLA cannot compile.
        in_parts = self.replicas > 1 or self.in_parts
        self._forward_backward = compiled(self._micro_batch, in_parts)
        self._factor = compiled(self._mean_factor, in_parts)
        self._gradients_alone = compiled(self._replica_gradients)
        self._update_alone = compiled(self._scale_and_update)
        self._block = tf.function(self._run_block)

    def _optimized_weights(self) -> list[keras.Variable]:
        return self.network.trainable_variables

    def _new_average(self, variable: tf.Variable) -> tf.Variable:
        return replicated(tf.convert_to_tensor(variable), variable.dtype)

    def final_values(self) -> list[tf.Tensor]:
        """The weights as they are meant to be used: averaged, and rounded to their formats; none if
        they are as is.

        Averages begin with the first update. Until then the weights are used, which may have been
        set meanwhile.
        """
        averages = self.averages if int(self.step.numpy()) > int(self.overflows.numpy()) else []
        values = [tf.convert_to_tensor(local_value(v)) for v in averages or self.variables]
        if any(self.formats):
            return [rounded(value, form) for value, form in zip(values, self.formats, strict=True)]
        return values if averages else []

    def state(self) -> dict[str, tf.Variable]:
        """All that a checkpoint must hold so that a resumed run goes on bit for bit."""
        named = network_state(self.network)
        named |= {
            f"optimizer/{i}/{v.name}": v.value for i, v in enumerate(self.optimizer.variables)
        }
        return named | self.beside_weights() | self.counters()

    def beside_weights(self) -> dict[str, Any]:
        """Returns the state that Keras treats as weights: averages and pruning masks."""
        named: dict[str, Any] = {f"average/{i}": v for i, v in enumerate(self.averages)}
        return named | (self.pruner.state() if self.pruner else {})

    def counters(self) -> dict[str, tf.Variable]:
        """Returns the state that Keras treats as an optimizer's: counts of steps and the loss
        scale."""
        return self.loss_scale.state() | {"step": self.step, "overflows": self.overflows}

    def run(self, iterator: Any, count: int) -> BlockResult:
        """Takes `count` steps on the next `count` batches of a (distributed) iterator of (ids,
        targets[, weights])."""
        self.first_bad_step.assign(-1)
        with lost_workers() if self.replicas > 1 else contextlib.nullcontext():
            nll, tokens, norm, waited = self._block(iterator, tf.constant(count))
        counts = (int(variable.numpy()) for variable in (self.overflows, self.first_bad_step))
        return BlockResult(float(nll), float(tokens), float(norm), float(waited), *counts)

    def _run_block(self, iterator, count):
        nll = tokens = norm = tf.zeros(())
        waited = tf.zeros((), tf.float64)
        for _ in tf.range(count):
            # The clock starts when the step before is done and stops when the batch is there.
            with tf.control_dependencies([nll, norm]):
                asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += tf.timestamp() - asked
            step_nll, step_tokens, norm = self._one_step(batch)
            nll, tokens = nll + step_nll, tokens + step_tokens
            # The caller raises; the weights stay those before the bad step.
            if self.first_bad_step >= 0:
                break
        return nll, tokens, norm, waited

    def _one_step(self, batch):
        # A batch in which no token counts changes nothing: Adam would move the weights by its
        # moments alone.
        first = self.strategy.experimental_local_results
        if isinstance(self.strategy, tf.distribute.TPUStrategy):
            # A TPU compiles the whole step of a replica, its communication and the condition
            # included.
            numbers = self.strategy.run(self._gradients_and_update, args=batch)
            nll, tokens, norm, finite = (first(x)[0] for x in numbers)
        elif self.replicas == 1:
            sums, factor, nll, tokens, norm, finite = self._gradients_alone(*batch)
            if finite & (tokens > 0):
                self._update_alone(sums, factor)
        else:
            sums, factor, *numbers = self.strategy.run(self._replica_gradients, args=batch)
            nll, tokens, norm, finite = (first(x)[0] for x in numbers)
            if finite & (tokens > 0):
                self.strategy.run(self._scale_and_update, args=(sums, factor))
        at_its_least = self.loss_scale.at_its_least()
        self.loss_scale.adjust(finite)
        if not finite:
            self.overflows.assign_add(1)
            if at_its_least:
                self.first_bad_step.assign(self.step + 1)
        self.step.assign_add(1)
        # A step that was skipped is no part of the means.
        return tf.where(finite, nll, 0.0), tf.where(finite, tokens, 0.0), norm

    def _gradients_and_update(self, ids, targets, weights=None):
        """A replica's whole step as one program: (B / R, T) -> loss sum, token count, gradient
        norm, all finite."""
        sums, factor, nll, tokens, norm, finite = self._replica_gradients(ids, targets, weights)
        if finite & (tokens > 0):
            self._scale_and_update(sums, factor)
        return nll, tokens, norm, finite

    def _replica_gradients(self, ids, targets, weights=None, draw=None, values=()):
        """One replica's share (B / R, T) -> global sums of the gradients of the scaled loss, the
        factor that makes them the clipped mean gradients, loss sum, token count, norm of the mean
        gradients, all finite.
        """
        weights = tf.ones(ids.shape) if weights is None else weights
        micro = self.options.micro_batches
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # The sum is cut down to about a mean before it is scaled, or float16 gradients of many
        # tokens would overflow.
        scale = tf.identity(self.loss_scale.value) / float(
            ids.shape[0] * ids.shape[1] * self.replicas
        )
        sources = values[: len(self.network.trainable_variables)] or self.variables
        # Draw number d is unique to (step, replica, micro-batch).
        draw = (tf.identity(self.step) * self.replicas + replica if draw is None else draw) * micro
        if micro == 1:
            sums = self._forward_backward(ids, targets, weights, scale, draw, values)
        else:
            cut = [
                tf.reshape(x, (micro, x.shape[0] // micro, x.shape[1]))
                for x in (ids, targets, weights)
            ]
            sums = [tf.zeros_like(v) for v in sources] + [tf.zeros(()), tf.zeros(())]
            for index in tf.range(micro):
                # Without XLA, TensorFlow would begin up to 10 micro-batches at once and save
                # nothing.
                tf.autograph.experimental.set_loop_options(parallel_iterations=1)
                part = self._forward_backward(
                    *(x[index] for x in cut), scale, draw + tf.cast(index, tf.int64), values
                )
                # The dependency keeps each sum by itself. Without it, and without XLA, TensorFlow
                # joins it with the sum of a tied embedding's two gradients and, where they are
                # large, adds in a temporary variable that it does not free in a loop: the second
                # step would end with AlreadyExistsError (tensorflow#23780).
                with tf.control_dependencies([part[-1]]):
                    sums = [total + value for total, value in zip(sums, part, strict=True)]
        if self.replicas > 1:
            sums = context.all_reduce(tf.distribute.ReduceOp.SUM, list(sums))
        *gradients, nll, tokens = sums
        return gradients, *self._factor(gradients, nll, tokens, scale)

    def _micro_batch(self, ids, targets, weights, scale, draw, values=()):
        """(b, T) -> gradients of the scaled loss sum, then the loss sum in nats and the token
        count.

        `values` are tensors that stand in for the trainable and frozen variables, where those are
        out of reach.
        """
        options, network = self.options, self.network
        trained = network.trainable_variables
        sources = list(values[: len(trained)]) or self.variables
        # Not given to the scope at once, which would ask for the variable's shape: of a table, rows
        # may stand in.
        stand_ins = (
            {id(w): v for w, v in zip([*trained, *self.frozen], values, strict=True)}
            if values
            else {}
        )
        of_weight = {id(weight): source for weight, source in zip(trained, sources, strict=True)}
        base = options.seed * 1009
        seeds = [
            (state, tf.stack([tf.constant(base + i, tf.int64), draw]))
            for i, state in enumerate(self.seed_states)
        ]
        teacher = self.teacher
        taught = None if teacher is None else self._taught(teacher.network, ids)
        with tf.GradientTape() as tape:
            tape.watch(values)
            if any(self.formats):
                stored = [
                    rounded(tf.convert_to_tensor(v), form)
                    for v, form in zip(sources, self.formats, strict=True)
                ]
                stand_ins |= {id(w): v for w, v in zip(trained, stored, strict=True)}
            with keras.StatelessScope(state_mapping=seeds, collect_losses=True) as scope:
                scope.state_mapping |= stand_ins
                given = dict(scope.state_mapping)
                result = self._forward(ids)
                weights = unmasked(weights, result)
                added = penalties(network, scope)
            drawn = {id(state) for state in self.seed_states}
            if any(
                v is not given.get(key)
                for key, v in scope.state_mapping.items()
                if key not in drawn
            ):
                raise ConfigError(
                    f"model {network.name!r} updates state in its forward pass (batch"
                    " normalization?); use layers whose only state is their weights, such as layer"
                    " normalization"
                )
            if not options.loss_chunk_tokens:
                loss, nll = token_losses(result, targets, options.label_smoothing, options.xla)
                if teacher is not None:
                    loss = teacher.blend(loss, result, taught)
                result = tf.reduce_sum(loss * weights) * scale
                nll = tf.reduce_sum(nll * weights)
            # What layers add to the loss are means, so each token has its part.
            added = [penalty * (tf.reduce_sum(weights) * scale) for penalty in added]
        upstream, of_output = None, {}
        if options.loss_chunk_tokens:
            trained_outputs = [v for v in network.output_variables if v.trainable]
            outputs = [of_weight[id(v)] for v in trained_outputs]
            # Of a weight that is rounded, the gradient is that of the rounded one.
            read = [stand_ins.get(id(v), of_weight[id(v)]) for v in trained_outputs]
            with keras.StatelessScope() as scope:
                scope.state_mapping |= stand_ins
                nll, upstream, sums = chunked_loss_and_gradients(
                    network,
                    result,
                    targets,
                    weights,
                    scale,
                    read,
                    chunk_tokens=options.loss_chunk_tokens,
                    label_smoothing=options.label_smoothing,
                    teacher=teacher,
                    taught=taught,
                    xla=options.xla,
                )
            of_output = {id(v): value for v, value in zip(outputs, sums, strict=True)}
        upstreams = [
            tf.ones_like(result) if upstream is None else upstream,
            *map(tf.ones_like, added),
        ]
        gradients = tape.gradient([result, *added], sources, output_gradients=upstreams)
        # Tied embeddings have a part from either end.
        parts = [
            [tf.convert_to_tensor(x) for x in (below, of_output.get(id(source))) if x is not None]
            for source, below in zip(sources, gradients, strict=True)
        ]
        missing = [v.path for v, found in zip(trained, parts, strict=True) if not found]
        if missing:
            raise ConfigError(
                f"the loss does not depend on the weights {', '.join(missing)}; freeze or remove"
                " them"
            )
        return [*map(tf.add_n, parts), nll, tf.reduce_sum(weights)]

    def _forward(self, ids):
        """(b, T) -> logits (b, T, V) float32, or hidden states where the loss is taken in
        chunks."""
        network, options = self.network, self.options
        if not options.remat and not options.loss_chunk_tokens:
            return as_float32(network(ids, training=True))
        hidden = network.hidden_states(ids, training=True, remat=options.remat)
        return hidden if options.loss_chunk_tokens else network.project(hidden)

    def _taught(self, network, ids):
        """The same of the teacher's network."""
        return (
            network.hidden_states(ids)
            if self.options.loss_chunk_tokens
            else network(ids, training=False)
        )

    def _mean_factor(self, gradients, nll, tokens, scale):
        # The gradients themselves are multiplied by it in the update, where that costs no pass over
        # memory. Of a batch in which no token counts, all gradients are 0.
        mean = 1 / (tf.where(tokens > 0, tokens, 1.0) * scale)
        norm = global_norm(gradients) * mean
        finite = tf.math.is_finite(norm) & tf.math.is_finite(nll)
        if self.options.clip_norm:
            mean *= self.options.clip_norm / tf.maximum(norm, self.options.clip_norm)
        return mean, nll, tokens, norm, finite

    def _scale_and_update(self, sums, factor):
        self._update_variables([gradient * factor for gradient in sums])

    def _update_variables(self, gradients):
        self.optimizer.apply(gradients, self.weights)
        if self.averages:
            self._update_averages()
        if self.pruner is not None:
            self.pruner.after_update()

    def _average_decay(self):
        """Returns min(decay, (1 + t) / (10 + t)), where t updates came before this one.

        This is what `tf.train.ExponentialMovingAverage` does with `num_updates`: the average
        forgets the random first weights, and covers more steps as the training goes on.
        """
        # The optimizer has counted this update, and none of the steps that changed nothing.
        updates = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32) - 1
        return tf.minimum(self.options.ema_decay, (1 + updates) / (10 + updates))

    def _update_averages(self):
        decay = self._average_decay()
        for average, variable in zip(self.averages, self.variables, strict=True):
            average.assign(decay * average + (1 - decay) * variable)
