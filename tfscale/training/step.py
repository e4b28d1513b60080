"""The one train step: the same answer on any number of replicas and micro-batches.

Keras 3's own distributed step clips before the all-reduce and takes one replica's word on overflow.
Here each replica sums the loss over its tokens, micro-batch by micro-batch; ONE all-reduce adds
gradients, loss and token count; the sum is divided by the global token count; only then come the
finite check, clipping and the optimizer. XLA compiles the parts that hold no communication: forward
and backward, the scaling, and (on one device) the optimizer.

Shapes: B rows of the global batch, T tokens, V vocabulary, R replicas.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import take_gradients_as_reduced
from tfscale.config.step import CompileOptions
from tfscale.distribution.workers import lost_workers
from tfscale.errors import ConfigError
from tfscale.models.weight_formats import WeightFormat, rounded
from tfscale.training.checkpoint import network_state
from tfscale.training.distillation import Teacher
from tfscale.training.gradients import ReplicaGradients
from tfscale.training.step_options import BlockResult, check_optimizer
from tfscale.training.variables import Stored, local_value, replicated
from tfscale.training.xla import has_xla


class Pruner(Protocol):
    """The members of `tfscale.compress.pruning.Pruner` that the step uses."""

    def build(self, network: keras.Model, step: "TrainStep") -> None: ...

    def choose(self, network: keras.Model) -> list[keras.Variable]: ...

    def after_update(self) -> None: ...

    def state(self) -> dict[str, tf.Variable]: ...

    def masks_of_zeros(self) -> dict[str, np.ndarray]: ...

    def is_kept(self) -> bool: ...


class TrainStep(ReplicaGradients):
    """Runs blocks of train steps of a network under a strategy. Make it inside `strategy.scope()`.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        optimizer: a Keras optimizer without clipping, EMA, accumulation or loss scaling of its own.
        options: see `CompileOptions`.
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
    """XLA must compile the parts of a step each by itself even for one replica."""

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        options: CompileOptions,
        strategy: tf.distribute.Strategy,
        pruner: Pruner | None = None,
        formats: Mapping[str, WeightFormat] | None = None,
        teacher: Teacher | None = None,
    ):
        check_optimizer(optimizer)
        if not network.trainable_variables:
            raise ConfigError(f"model {network.name!r} has no trainable weights")
        # What the optimizer updates, and the variables behind it.
        self.weights = self._optimized_weights(network, optimizer)
        weight_formats = [(formats or {}).get(weight.path) for weight in self.weights]
        variables = [weight.value for weight in self.weights]
        super().__init__(network, variables, weight_formats, options, strategy, teacher)
        self.optimizer, self.pruner = optimizer, pruner
        if not optimizer.built:
            optimizer.build(self.weights)
        take_gradients_as_reduced(optimizer)

        self.overflows = replicated(0, tf.int64)
        self.first_bad_step = replicated(-1, tf.int64)
        self.averages = [self._new_average(v) for v in self.variables] if options.ema_decay else []
        if pruner is not None:
            pruner.build(network, self)
        self._begin()
        self._compile_parts()

    def _begin(self) -> None:
        """Makes what a subclass keeps besides, before anything is traced."""

    def _compile_parts(self) -> None:
        # On one device a step is two XLA programs, gradients and update, because a condition around
        # the update would have XLA compute both outcomes and copy the optimizer's state. Several
        # replicas communicate between the parts of the first, and write through the strategy in the
        # second, which XLA cannot compile.
        xla, in_parts = self.options.xla and has_xla(), self.replicas > 1 or self.in_parts

        def compiled(function: Callable) -> Callable:
            return tf.function(function, jit_compile=True) if xla else function

        if in_parts:
            self._forward_backward = compiled(self._micro_batch)
            self._factor = compiled(self._mean_factor)
        self._gradients_alone = compiled(self._replica_gradients)
        self._update_alone = compiled(self._scale_and_update)
        self._block = tf.function(self._run_block)

    def _optimized_weights(
        self, network: keras.Model, optimizer: keras.optimizers.Optimizer
    ) -> list[keras.Variable]:
        return network.trainable_variables

    def _new_average(self, variable: tf.Variable) -> tf.Variable:
        return replicated(tf.convert_to_tensor(variable), variable.dtype)

    def final_values(self) -> list[tf.Tensor]:
        """Returns the weights as they are meant to be used: averaged, and rounded to their formats.

        The list is empty if they are used as they are. Averages begin with the first update; until
        then the weights are used, which may have been set meanwhile.
        """
        averages = self.averages if int(self.step.numpy()) > int(self.overflows.numpy()) else []
        values = [tf.convert_to_tensor(local_value(v)) for v in averages or self.variables]
        if any(self.formats):
            return [rounded(value, form) for value, form in zip(values, self.formats, strict=True)]
        return values if averages else []

    def state(self) -> dict[str, Stored]:
        """Returns all that a checkpoint must hold so that a resumed run goes on bit for bit."""
        named: dict[str, Stored] = dict(network_state(self.network))
        for index, variable in enumerate(self.optimizer.variables):
            named[f"optimizer/{index}/{variable.name}"] = variable.value
        return named | self.beside_weights() | self.counters()

    def beside_weights(self) -> dict[str, Stored]:
        """Returns the state that Keras treats as weights: averages and pruning masks."""
        named: dict[str, Stored] = {f"average/{i}": v for i, v in enumerate(self.averages)}
        return named | (self.pruner.state() if self.pruner else {})

    def counters(self) -> dict[str, tf.Variable]:
        """Returns the state that Keras treats as an optimizer's: counters and loss scale."""
        return self.loss_scale.state() | {"step": self.step, "overflows": self.overflows}

    def run(self, iterator: Iterator, count: int) -> BlockResult:
        """Takes `count` steps on the next batches (ids, targets[, weights]) of an iterator."""
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
                began = tf.timestamp()
            with tf.control_dependencies([began]):
                batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += tf.timestamp() - began
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
            numbers = self.strategy.run(self.gradients_and_update, args=batch)
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
        # A step that was skipped does not count in the means.
        return tf.where(finite, nll, 0.0), tf.where(finite, tokens, 0.0), norm

    def gradients_and_update(self, ids, targets, weights=None):
        """Takes a replica's whole step as one program.

        (B / R, T) -> loss sum, token count, gradient norm, all finite.
        """
        sums, factor, nll, tokens, norm, finite = self._replica_gradients(ids, targets, weights)
        if finite & (tokens > 0):
            self._scale_and_update(sums, factor)
        return nll, tokens, norm, finite

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
