"""Gradients of a batch on one replica, micro-batch by micro-batch.

Dropout draws are a function of (seed, step, replica, micro-batch), so they repeat after a resume
and differ by replica.

Shapes: B rows of the global batch, b rows of a micro-batch, T tokens, V vocabulary, D width of the
hidden states, R replicas, M micro-batches.
"""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from tfscale.config.step import CompileOptions
from tfscale.distribution.sums import summed_over_replicas
from tfscale.errors import ConfigError
from tfscale.models.blockwise_rule import blockwise_where_faster
from tfscale.models.documents import apart
from tfscale.models.weight_formats import WeightFormat
from tfscale.training.distillation import Teacher
from tfscale.training.documents import checked_documents
from tfscale.training.loss import (
    TokenLoss,
    Tokens,
    check_offers_hidden_states,
    chunked_loss_and_gradients,
    penalties,
)
from tfscale.training.masks import as_float32, unmasked
from tfscale.training.step_state import Pruner, StepState
from tfscale.training.token_metrics import TokenMetrics


class ReplicaGradients(StepState):
    """Computes one replica's part of a train step up to the update; see `TrainStep`.

    Make it inside `strategy.scope()`. Arguments and errors are those of `StepState`, besides:

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        teacher: what the network learns from besides the targets.
        metrics: what is counted besides the loss; None without metrics.

    Raises:
        ConfigError: network or teacher do not offer what `remat`, `loss_chunk_tokens` and
            `document_mask` need, or do not fit each other.
    """

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
        for option in ("remat", "loss_chunk_tokens"):
            if value := getattr(options, option):
                check_offers_hidden_states(network, f"{option}={value}")
        if teacher is not None:
            teacher.check_fits(network)
            if chunk := options.loss_chunk_tokens:
                check_offers_hidden_states(teacher.network, f"loss_chunk_tokens={chunk}")
        readers = [network] if teacher is None else [network, teacher.network]
        self._documents = checked_documents(options, *readers)
        super().__init__(network, optimizer, options, strategy, pruner, formats)
        self.teacher, self.metrics = teacher, metrics
        tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        self.whole = self.replicas * options.micro_batches == 1 and not tpu
        """Whether a batch is computed at once, on one device."""
        self.token_loss = TokenLoss(options.label_smoothing, teacher, bool(options.xla))
        # `TrainStep` has XLA compile these two where it does not compile what surrounds them.
        self._forward_backward: Callable[..., list[tf.Tensor]] = self._micro_batch
        self._factor: Callable[..., tuple[tf.Tensor, ...]] = self._mean_factor

    def _replica_gradients(self, ids, targets, weights=None, draw=None, values=()):
        """Computes what the update needs, from one replica's share (B / R, T) of a batch.

        Returns:
            Global sums of the gradients of the scaled loss, the factor that makes them the clipped
            mean gradients, loss sum, token count, norm of the mean gradients, all finite, and then
            what the metrics' variables become or what is added to them.
        """
        weights = tf.ones(ids.shape) if weights is None else weights
        micro = self.options.micro_batches
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        # The sum is cut down to about a mean before it is scaled, or float16 gradients of many
        # tokens would overflow.
        size = float(ids.shape[0] * ids.shape[1] * self.replicas)
        scale = tf.identity(self.loss_scale.value) / size
        sources = values[: len(self.network.trainable_variables)] or self.variables
        # Draw number d is unique to (step, replica, micro-batch).
        draw = (tf.identity(self.step) * self.replicas + replica if draw is None else draw) * micro
        if micro == 1:
            sums = self._forward_backward(ids, targets, weights, scale, draw, values)
        else:
            shape = (micro, ids.shape[0] // micro, ids.shape[1])
            cut = [tf.reshape(x, shape) for x in (ids, targets, weights)]
            counts = [] if self.metrics is None else self.metrics.zeros()
            sums = [*map(tf.zeros_like, sources), *counts, tf.zeros(()), tf.zeros(())]
            for index in tf.range(micro):
                # Without XLA, TensorFlow would begin up to 10 micro-batches at once and save
                # nothing.
                tf.autograph.experimental.set_loop_options(parallel_iterations=1)
                batch = [x[index] for x in cut]
                its_draw = draw + tf.cast(index, tf.int64)
                micro_sums = self._forward_backward(*batch, scale, its_draw, values)
                # The dependency keeps each sum by itself. Without it, and without XLA, TensorFlow
                # joins it with the sum of a tied embedding's two gradients and, where they are
                # large, adds in a temporary variable that it does not free in a loop: the second
                # step would end with AlreadyExistsError (tensorflow#23780).
                with tf.control_dependencies([micro_sums[-1]]):
                    sums = [a + b for a, b in zip(sums, micro_sums, strict=True)]
        if self.replicas > 1:
            sums = summed_over_replicas(context, sums)
        gradients, (*counts, nll, tokens) = sums[: len(sources)], sums[len(sources) :]
        return gradients, *self._factor(gradients, nll, tokens, scale), *counts

    def _micro_batch(self, ids, targets, weights, scale, draw, values=()):
        """(b, T) -> gradients of the scaled loss sum, what metrics count, then loss sum in nats and
        token count.

        `values` are tensors that stand in for the trainable and frozen variables, where those are
        out of reach.
        """
        with blockwise_where_faster():
            return self._gradients_of(ids, targets, weights, scale, draw, values)

    def _gradients_of(self, ids, targets, weights, scale, draw, values):
        trained = self.network.trainable_variables
        sources = list(values[: len(trained)]) or self.variables
        seeds = self._seeds(draw)
        documents = apart(self._documents, targets)
        teacher_output = None
        if self.teacher is not None:
            teacher_output = self._teacher_output(self.teacher.network, ids, documents)
        with tf.GradientTape() as tape:
            tape.watch(values)
            stand_ins = self._stand_ins(sources, values)
            output, layer_losses = self._stateless_forward(ids, seeds, stand_ins, documents)
            weights = unmasked(weights, output)
            counts = []
            if self.metrics is not None:
                with tape.stop_recording():
                    counts = self.metrics.changes(targets, output, weights, self.whole)
            if not self.options.loss_chunk_tokens:
                loss, nll = self.token_loss(output, targets, teacher_output)
                # From here on, the output that is differentiated is the loss itself.
                output = tf.reduce_sum(loss * weights) * scale
                nll = tf.reduce_sum(nll * weights)
            # Layers add means to the loss, so each token adds its share.
            layer_losses = [loss * (tf.reduce_sum(weights) * scale) for loss in layer_losses]
        # In chunks, the loss is differentiated down to the hidden states chunk by chunk; the tape
        # takes it from there.
        upstream, output_gradients = None, {}
        if self.options.loss_chunk_tokens:
            tokens = Tokens(output, targets, weights, teacher_output)
            nll, upstream, output_gradients = self._chunked(tokens, scale, sources, stand_ins)
        upstreams = [
            tf.ones_like(output) if upstream is None else upstream,
            *map(tf.ones_like, layer_losses),
        ]
        below = tape.gradient([output, *layer_losses], sources, output_gradients=upstreams)
        gradients = self._added(sources, below, output_gradients)
        return [*gradients, *counts, nll, tf.reduce_sum(weights)]

    def _stateless_forward(self, ids, seeds, stand_ins, documents):
        """Returns the output, and what layers and regularizers add to the loss; assigns nothing.

        `documents` are the arguments that keep documents apart.

        Raises:
            ConfigError: the network updates state.
        """
        with keras.StatelessScope(state_mapping=seeds, collect_losses=True) as scope:
            scope.state_mapping |= stand_ins
            before = dict(scope.state_mapping)
            output = self._forward(ids, documents)
            layer_losses = penalties(self.network, scope)
        drawn = {id(state) for state in self.seed_states}
        after = scope.state_mapping.items()
        if any(value is not before.get(key) for key, value in after if key not in drawn):
            raise ConfigError(
                f"model {self.network.name!r} updates state in its forward pass (batch"
                " normalization?); use layers whose only state is their weights, such as layer"
                " normalization"
            )
        return output, layer_losses

    def _forward(self, ids, documents):
        """(b, T) -> logits (b, T, V) float32, or (b, T, D) if the loss is taken in chunks."""
        network, options = self.network, self.options
        if not options.remat and not options.loss_chunk_tokens and not documents:
            return as_float32(network(ids, training=True))
        hidden = network.hidden_states(ids, training=True, remat=options.remat, **documents)
        return hidden if options.loss_chunk_tokens else network.project(hidden)

    def _teacher_output(self, network, ids, documents):
        """Returns what `_forward` returns, of the teacher's network."""
        if not self.options.loss_chunk_tokens and not documents:
            return network(ids, training=False)
        hidden = network.hidden_states(ids, **documents)
        return hidden if self.options.loss_chunk_tokens else network.project(hidden)

    def _chunked(self, tokens, scale, sources, stand_ins):
        """Returns the loss sum in nats, its gradient with respect to the hidden states, and those
        with respect to the output weights, by the source's identity."""
        trained = self.network.trainable_variables
        source_of = {id(weight): source for weight, source in zip(trained, sources, strict=True)}
        outputs = [weight for weight in self.network.output_variables if weight.trainable]
        # The gradient of a rounded weight is that of what it is rounded to.
        differentiated = [stand_ins.get(id(w), source_of[id(w)]) for w in outputs]
        with keras.StatelessScope() as scope:
            scope.state_mapping |= stand_ins
            chunk = self.options.loss_chunk_tokens
            nll, upstream, sums = chunked_loss_and_gradients(
                self.network, tokens, scale, differentiated, self.token_loss, chunk
            )
        identities = [id(source_of[id(weight)]) for weight in outputs]
        return nll, upstream, dict(zip(identities, sums, strict=True))

    def _added(self, sources, below, output_gradients):
        """Adds up each source's gradients, through the hidden states and of the output.

        Raises:
            ConfigError: there is neither.
        """
        # Tied embeddings have both.
        gradients = []
        for source, through_hidden in zip(sources, below, strict=True):
            both = (through_hidden, output_gradients.get(id(source)))
            gradients.append([tf.convert_to_tensor(g) for g in both if g is not None])
        trained = self.network.trainable_variables
        missing = [w.path for w, present in zip(trained, gradients, strict=True) if not present]
        if missing:
            raise ConfigError(
                f"the loss does not depend on the weights {', '.join(missing)}; freeze or remove"
                " them"
            )
        return [tf.add_n(of_source) for of_source in gradients]
