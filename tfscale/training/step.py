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

import keras
import tensorflow as tf

from tfscale.config.step import CompileOptions
from tfscale.distribution.workers import lost_workers
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.distillation import Teacher
from tfscale.training.gradients import ReplicaGradients
from tfscale.training.step_options import BlockResult, check_optimizer
from tfscale.training.step_state import Pruner
from tfscale.training.token_metrics import TokenMetrics
from tfscale.training.xla import compiled_by_xla, has_xla


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
        metrics: what is counted besides the loss, built before the first step; None without.

    Raises:
        ConfigError: the optimizer does one of the things that the step does itself, the network
            keeps state between batches that the step cannot carry, such as batch normalization, or
            it does not offer the hidden states that `remat` and `loss_chunk_tokens` need, or cannot
            keep documents apart, as `document_mask` asks.
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
        metrics: TokenMetrics | None = None,
    ):
        check_optimizer(optimizer)
        super().__init__(network, optimizer, options, strategy, pruner, formats, teacher, metrics)
        self._begin()
        self._compile_parts()

    def _begin(self) -> None:
        """Makes what a subclass keeps besides, before anything is traced."""

    def _compile_parts(self) -> None:
        # On one device a step is one XLA program. Several replicas communicate between the parts
        # of the gradients, and write through the strategy, which XLA cannot compile.
        xla, in_parts = self.options.xla and has_xla(), self.replicas > 1 or self.in_parts

        def compiled(function: Callable, has_loops: bool = False) -> Callable:
            if xla:
                return compiled_by_xla(function, autograph=has_loops)
            return function if has_loops else tf.autograph.experimental.do_not_convert(function)

        # To rewrite Python's loops and conditions takes AutoGraph a second or two, so it is asked
        # only where a part has some: chunks, micro-batches, pruning, and a teacher's or metrics'
        # code, which may be a user's. As in Keras's own `fit`, schedules are not rewritten.
        options = self.options
        theirs = self.teacher is not None or self.metrics is not None
        parted = theirs or bool(options.loss_chunk_tokens)
        if in_parts:
            self._forward_backward = compiled(self._micro_batch, parted)
            self._factor = compiled(self._mean_factor)
        elif not parted:
            self._forward_backward = tf.autograph.experimental.do_not_convert(self._micro_batch)
        looped = parted or in_parts or options.micro_batches > 1
        pruned = self.pruner is not None
        self._single = compiled(self._chosen_step, looped or pruned) if xla else None
        if self._single is None:
            self._gradients_alone = compiled(self._replica_gradients, looped)
            self._update_alone = compiled(self._scale_and_update, pruned)
        self._block = tf.function(self._run_block)

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
            with self.context():
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
            nll, tokens, norm, finite, *counts = (first(x)[0] for x in numbers)
        elif self.replicas == 1 and self._single is not None:
            nll, tokens, norm, finite, *counts = self._single(*batch)
        elif self.replicas == 1:
            sums, factor, nll, tokens, norm, finite, *counts = self._gradients_alone(*batch)
            if finite & (tokens > 0):
                self._update_alone(sums, factor)
        else:
            sums, factor, *numbers = self.strategy.run(self._replica_gradients, args=batch)
            nll, tokens, norm, finite, *counts = (first(x)[0] for x in numbers)
            if finite & (tokens > 0):
                self.strategy.run(self._scale_and_update, args=(sums, factor))
        if self.metrics is not None:
            if finite & (tokens > 0):
                self.metrics.apply(counts, self.whole)
        self._count(finite)
        # A step that was skipped does not count in the means.
        return tf.where(finite, nll, 0.0), tf.where(finite, tokens, 0.0), norm

    def _chosen_step(self, *batch):
        """As `gradients_and_update`, with a choice instead of a condition."""
        sums, factor, nll, tokens, norm, finite, *counts = self._replica_gradients(*batch)
        wanted = finite & (tokens > 0)
        self._update_if(wanted, lambda: self._scale_and_update(sums, factor))
        return nll, tokens, norm, finite, *counts

    def gradients_and_update(self, ids, targets, weights=None):
        """Takes a replica's whole step as one program.

        (B / R, T) -> loss sum, token count, gradient norm, all finite, and what metrics count.
        """
        sums, factor, nll, tokens, norm, finite, *counts = self._replica_gradients(
            ids, targets, weights
        )
        if finite & (tokens > 0):
            self._scale_and_update(sums, factor)
        return nll, tokens, norm, finite, *counts
