"""Truncated backpropagation through time that carries its state (Mikolov et al. 2010).

Row b of a batch goes on where row b of the batch before stopped. The state after a window is the
first state of the next: it is carried in the forward pass, gradients stop at the window's edge, and
at the beginning of each pass over the data it is zero. What keeps it between steps are variables,
one per state of a layer, on each replica for its own rows; they are part of a checkpoint, joined
over the replicas.

Shapes: B rows of the global batch, b rows of a micro-batch, T tokens, U units, R replicas, M
micro-batches.
"""

from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf

from tfscale.config.step import CompileOptions
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError, DataError
from tfscale.models.capability import capabilities
from tfscale.models.documents import Documents, apart
from tfscale.training.batches import check_divisible
from tfscale.training.loss import chunked_loss, token_losses
from tfscale.training.step import TrainStep
from tfscale.training.token_metrics import TokenMetrics
from tfscale.training.validation import EvaluationStep, Watcher
from tfscale.training.variables import Stored, joined

ANY = -1
"""Stands for any token, where none is expected."""


def is_stateful(network: keras.Model) -> bool:
    """Returns whether a network's config asks for its state to be carried from window to window."""
    return capabilities(network).stateful


def check_carries(strategy: tf.distribute.Strategy) -> None:
    """Refuses a strategy under which no state is carried.

    Raises:
        ConfigError: a TPU, parameter servers or several workers.
    """
    spread = (tf.distribute.TPUStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    if is_asynchronous(strategy) or isinstance(strategy, spread):
        raise ConfigError(
            "model.stateful=True carries its state on one device or on those of one machine, not"
            f" under {type(strategy).__name__}; give --train.strategy single or mirrored"
        )


def check_streams(
    network: keras.Model, options: CompileOptions, strategy: tf.distribute.Strategy
) -> bool:
    """Returns whether a step carries state; network, options and strategy must agree about it.

    Raises:
        ConfigError: they do not.
    """
    if is_stateful(network) != bool(options.streams):
        raise ConfigError(
            f"compile(streams={options.streams}) and the network's config"
            f" (stateful={is_stateful(network)}) do not agree: a recurrent network of a config with"
            " stateful=True is trained with streams, the rows of its batches; any other one"
            " without"
        )
    if options.streams:
        check_carries(strategy)
        check_divisible(options.streams, strategy.num_replicas_in_sync, options.micro_batches)
    return bool(options.streams)


def check_batches(options: CompileOptions, rows: int, shuffled: bool) -> None:
    """Refuses batches whose rows are not the streams.

    Raises:
        ConfigError: another number of rows, or rows in random order.
    """
    if options.streams and rows != options.streams:
        raise ConfigError(
            f"compile(streams={options.streams}) carries the state of {options.streams} rows; the"
            f" batches have {rows}"
        )
    if options.streams and shuffled:
        raise ConfigError(
            "row b of a batch must go on where row b of the one before stopped; give shuffle=False"
        )


class StatefulStep(TrainStep):
    """The train step of a network that carries its state; see `TrainStep` for arguments and errors.

    A teacher that is stateful itself reads the same streams and carries its state as well. Dropout
    masks are drawn for each window.
    """

    def _begin(self) -> None:
        carriers = {"state": self.network}
        if self.teacher is not None and is_stateful(self.teacher.network):
            carriers["teacher_state"] = self.teacher.network
        rows = self.options.streams // self.replicas
        self._carried: dict[str, dict[str, tf.Variable]] = {}
        for kind, network in carriers.items():
            zeros = [_replica_variable(state) for state in network.first_states(rows)]
            self._carried[kind] = dict(zip(network.cache_spec(), zeros, strict=True))
        # Both of the micro-batch that is being traced: its first states, and the last ones, which
        # the forward pass puts there.
        self._first: dict[str, list[tf.Tensor]] = {}
        self._last: dict[str, list[tf.Tensor]] = {}

    def beside_weights(self) -> dict[str, Stored]:
        """Returns also the carried states, as arrays (B, U) whatever the number of replicas."""
        return super().beside_weights() | {
            f"{kind}/{name}": joined(list(getattr(variable, "values", [variable])))
            for kind, variables in self._carried.items()
            for name, variable in variables.items()
        }

    def _micro_batch(self, ids, targets, weights, scale, draw, values=()):
        micro, rows = self.options.micro_batches, ids.shape[0]
        # The draws of a step count on over its replicas and their micro-batches.
        places = (tf.cast(draw % micro, tf.int32) * rows + tf.range(rows))[:, None]
        step = draw // (micro * self.replicas)
        begins = step % self.options.pass_steps == 0 if self.options.pass_steps else step == 0
        for kind, variables in self._carried.items():
            states = [tf.gather(variable, places[:, 0]) for variable in variables.values()]
            self._first[kind] = [tf.where(begins, tf.zeros_like(state), state) for state in states]
        sums = super()._micro_batch(ids, targets, weights, scale, draw, values)
        for kind, variables in self._carried.items():
            for variable, state in zip(variables.values(), self._last[kind], strict=True):
                if self.loss_scale.on:
                    # The step after one that overflowed must not begin with what overflowed.
                    state = tf.where(tf.math.is_finite(state), state, tf.zeros_like(state))
                variable.assign(tf.tensor_scatter_nd_update(variable, places, state))
        return sums

    def _forward(self, ids, documents):
        hidden, self._last["state"] = self.network.carry(
            ids, self._first["state"], training=True, remat=self.options.remat, **documents
        )
        if self.options.loss_chunk_tokens:
            return hidden
        return tf.cast(self.network.project(hidden), tf.float32)

    def _teacher_output(self, network, ids, documents):
        if "teacher_state" not in self._carried:
            return super()._teacher_output(network, ids, documents)
        first = self._first["teacher_state"]
        hidden, self._last["teacher_state"] = network.carry(ids, first, **documents)
        return hidden if self.options.loss_chunk_tokens else network.project(hidden)


def _replica_variable(zeros: tf.Tensor) -> tf.Variable:
    """Returns a variable that is another one on each replica."""
    return tf.Variable(
        zeros,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def evaluation_step(
    network: keras.Model,
    strategy: tf.distribute.Strategy,
    xla: bool = True,
    loss_chunk_tokens: int = 0,
    metrics: TokenMetrics | None = None,
    documents: Documents | None = None,
) -> EvaluationStep:
    """Returns the evaluation step of a network, which carries state if the network does."""
    step_class = StatefulEvaluation if is_stateful(network) else EvaluationStep
    return step_class(network, strategy, xla, loss_chunk_tokens, metrics, documents)


class StatefulEvaluation(EvaluationStep):
    """Sums the loss of batches whose rows go on where those of the batch before stopped.

    See `EvaluationStep` for arguments and errors, and `tfscale.data.streams.evaluation_streams` for
    such batches.
    """

    def __call__(
        self, batches: Iterable[Sequence[tf.Tensor]], watcher: Watcher | None = None
    ) -> tuple[float, float]:
        """Sums over batches as `EvaluationStep` does; each call begins with states of zero.

        Raises:
            DataError: no token has a weight, or a row does not go on where that of the batch before
                stopped.
        """
        nll = tokens = 0.0
        states: tuple | None = None
        for number, batch in enumerate(batches, 1):
            if watcher is not None:
                watcher.begin(number - 1)
            states = self._begin(batch) if states is None else states
            batch_nll, batch_tokens, astray, states = self._step(batch, states)
            if astray:
                raise DataError(
                    f"batch {number} does not go on where batch {number - 1} stopped: in"
                    f" {int(astray)} of its rows the first input is not the last target of the"
                    " batch before. A stateful network reads the streams of"
                    " tfscale.data.streams.evaluation_streams, not any windows"
                )
            nll, tokens = nll + float(batch_nll), tokens + float(batch_tokens)
            if watcher is not None:
                watcher.end(number - 1, nll, tokens)
        if tokens == 0:
            raise DataError("there are no tokens to evaluate")
        return nll, tokens

    def _begin(self, batch):
        def replica(ids, *_):
            rows = ids.shape[0]
            return tf.fill((rows,), tf.constant(ANY, ids.dtype)), self.network.first_states(rows)

        return self.strategy.run(replica, args=tuple(batch))

    def _run(self, batch, carried):
        def replica(carried, ids, targets, weights=None):
            expected, states = carried
            weights = tf.ones(ids.shape) if weights is None else weights
            # What fills up a row that has ended has no weight.
            astray = (expected != ANY) & (ids[:, 0] != expected) & (weights[:, 0] > 0)
            nll, tokens, states, *counts = self._sums(ids, targets, weights, states)
            targets = tf.cast(targets[:, -1], ids.dtype)
            last = tf.where(weights[:, -1] > 0, targets, tf.constant(ANY, ids.dtype))
            astray = tf.reduce_sum(tf.cast(astray, tf.float32))
            return astray, (last, states), nll, tokens, *counts

        astray, carried, *sums = self.strategy.run(replica, args=(carried, *batch))
        astray = self.strategy.reduce(tf.distribute.ReduceOp.SUM, astray, axis=None)
        return *self._added(sums), astray, carried

    def replica_sums(self, ids, targets, weights=None, values=()):
        """Returns sums over one replica's rows, the states after them, and what metrics count.

        `values` are the states before.
        """
        documents = apart(self._documents, targets)
        hidden, states = self.network.carry(ids, values, **documents)
        if self.loss_chunk_tokens:
            nll = chunked_loss(self.network, hidden, targets, weights, self.loss_chunk_tokens)
            return nll, tf.reduce_sum(weights), states
        logits = tf.cast(self.network.project(hidden), tf.float32)
        _, each = token_losses(logits, targets)
        counts = self._counts(targets, logits, weights)
        return tf.reduce_sum(each * weights), tf.reduce_sum(weights), states, *counts
