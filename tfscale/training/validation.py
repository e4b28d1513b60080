"""Sums the loss of a network over a dataset, under any strategy."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import DataError
from tfscale.models.blockwise_rule import blockwise_where_faster
from tfscale.models.documents import Documents, apart
from tfscale.training.documents import check_separates
from tfscale.training.loss import check_offers_hidden_states, chunked_loss, token_losses
from tfscale.training.masks import as_float32, unmasked
from tfscale.training.token_metrics import TokenMetrics
from tfscale.training.xla import has_xla


class Watcher(Protocol):
    """Callbacks around each batch that is evaluated."""

    def begin(self, index: int) -> None:
        """Is called before a batch, from 0."""

    def end(self, index: int, nll: float, tokens: float) -> None:
        """Is called after a batch, with the sums up to here."""


class EvaluationStep:
    """Sums the loss of batches (ids, targets[, weights]), each (B, T), over all replicas.

    The forward pass is compiled once and can be used for any number of passes. Sums over batches
    are in float64.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        strategy: the strategy whose scope the network was made in.
        xla: compile the forward pass by XLA.
        loss_chunk_tokens: the most tokens of a replica whose logits are held at once; 0 holds all
            of a batch.
        metrics: what is counted besides the loss; None without metrics. It is reset and asked for
            its results by the caller.
        documents: where documents begin, for a network that shall score each by itself; None
            scores windows as they are.

    Raises:
        ConfigError: the network does not offer the hidden states that `loss_chunk_tokens` needs,
            or cannot keep documents apart.

    Example:
        nll, tokens = EvaluationStep(network, strategy)(dataset)
    """

    def __init__(
        self,
        network: keras.Model,
        strategy: tf.distribute.Strategy,
        xla: bool = True,
        loss_chunk_tokens: int = 0,
        metrics: TokenMetrics | None = None,
        documents: Documents | None = None,
    ):
        if documents is not None:
            check_separates(network)
        if loss_chunk_tokens:
            check_offers_hidden_states(network, f"loss_chunk_tokens={loss_chunk_tokens}")
        self.network, self.strategy, self.loss_chunk_tokens = network, strategy, loss_chunk_tokens
        self.metrics, self._documents = metrics, documents
        tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        self.whole = strategy.num_replicas_in_sync == 1 and not tpu
        """Whether a batch is computed at once, on one device."""
        self._remote = network.weights if is_asynchronous(strategy) else []
        self._sums = self.replica_sums
        self.uses_xla = xla and has_xla()
        if self.uses_xla:
            self._sums = tf.function(self.replica_sums, jit_compile=True)
        self._step = tf.function(self._run)

    def __call__(
        self, batches: Iterable[Sequence[tf.Tensor]], watcher: Watcher | None = None
    ) -> tuple[float, float]:
        """Returns the summed loss in nats and the number of target tokens (the summed weights).

        Under parameter servers this process reads the weights once and computes by itself.

        Args:
            batches: (ids, targets[, weights]), each (B, T).
            watcher: is told of each batch; None for nobody.

        Raises:
            DataError: no token has a weight.
        """
        nll = tokens = 0.0
        values = [tf.convert_to_tensor(weight.value) for weight in self._remote]
        for index, batch in enumerate(batches):
            if watcher is not None:
                watcher.begin(index)
            batch_nll, batch_tokens = self._step(batch, values)
            nll, tokens = nll + float(batch_nll), tokens + float(batch_tokens)
            if watcher is not None:
                watcher.end(index, nll, tokens)
        if tokens == 0:
            raise DataError("there are no tokens to evaluate")
        return nll, tokens

    def _run(self, batch, values):
        if values:
            ids, targets, *weights = batch
            return self._sums(ids, targets, weights[0] if weights else None, values)
        # A plain function: MirroredStrategy would compile a tf.function over all replicas at once,
        # which XLA cannot do.
        sums = self.strategy.run(lambda *args: self._sums(*args), args=batch)
        return self._added(sums)

    def _added(self, sums):
        """Returns the first two sums over all replicas; the others go to the metrics."""
        add = tf.distribute.ReduceOp.SUM
        nll, tokens, *counts = [self.strategy.reduce(add, x, axis=None) for x in sums]
        if self.metrics is not None:
            if tokens > 0:
                self.metrics.apply(counts, self.whole)
        return nll, tokens

    def replica_sums(self, ids, targets, weights=None, values=()):
        """Returns sums over one replica's rows, and what metrics count.

        `values` stand in for the network's weights where those are out of reach.
        """
        if values:
            with keras.StatelessScope(state_mapping=zip(self._remote, values, strict=True)):
                return self._loss_and_tokens(ids, targets, weights)
        return self._loss_and_tokens(ids, targets, weights)

    def _loss_and_tokens(self, ids, targets, weights):
        with blockwise_where_faster():
            return self._sums_of(ids, targets, weights)

    def _sums_of(self, ids, targets, weights):
        weights = tf.ones(ids.shape) if weights is None else weights
        documents = apart(self._documents, targets)
        if self.loss_chunk_tokens:
            hidden = self.network.hidden_states(ids, training=False, **documents)
            weights = unmasked(weights, hidden)
            nll = chunked_loss(self.network, hidden, targets, weights, self.loss_chunk_tokens)
            return nll, tf.reduce_sum(weights)
        if documents:
            logits = self.network.project(self.network.hidden_states(ids, **documents))
        else:
            logits = as_float32(self.network(ids, training=False))
        weights = unmasked(weights, logits)
        _, nll = token_losses(logits, targets)
        counts = self._counts(targets, logits, weights)
        return tf.reduce_sum(nll * weights), tf.reduce_sum(weights), *counts

    def _counts(self, targets, logits, weights):
        if self.metrics is None:
            return []
        return self.metrics.changes(targets, logits, weights, self.whole)
