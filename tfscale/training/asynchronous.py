"""The train step under parameter servers: each worker computes gradients at its own pace.

A step is one update of the weights by one worker: it reads the weights from the servers, computes
the mean gradient of a batch, and applies it, by the time of which others may have changed the
weights (Dean et al. 2012). The arithmetic is that of `TrainStep`; with one worker it gives the same
answer as a single device. What differs is where things are: an embedding table that is only looked
up never leaves the servers as a whole, a worker gets the rows of its batch; the optimizer's own
variables stay beside their weights, and its arithmetic is done there.

Counters are raised by the servers (`tf.Variable.assign_add`). Keras's own counter is read, raised
and written back by a worker and so forgets steps of others.

Shapes: B rows of a batch, T tokens, V vocabulary, D width of a table, N = B x T.
"""

import re
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import set_path
from tfscale.compat.keras_optimizers import count_updates_in_place, decays_weight
from tfscale.compat.tensorflow import number_of_workers
from tfscale.config.step import CompileOptions
from tfscale.distribution.parameter_server import worker_iterators
from tfscale.distribution.workers import lost_workers
from tfscale.errors import ConfigError
from tfscale.training.checkpoint import network_state
from tfscale.training.row_tables import RowTables
from tfscale.training.step import TrainStep
from tfscale.training.step_options import BlockResult
from tfscale.training.variables import Stored, joined, shards

_SHARD_OF = re.compile(r"\.of-\d+")
"""Stands in the names of the optimizer's variables for the shards of a weight."""


class AsynchronousStep(TrainStep):
    """Hands out blocks of train steps to workers. Make it inside `strategy.scope()`.

    Args:
        network: as in `TrainStep`.
        optimizer: as in `TrainStep`, not built yet.
        options: see `CompileOptions`.
        strategy: the strategy whose scope the network was made in.

    Raises:
        ConfigError: as `TrainStep`; or the workers have several GPUs each, the optimizer is built
            already, or a weight that is cut into shards has a constraint.
    """

    in_parts = True

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        options: CompileOptions,
        strategy: tf.distribute.ParameterServerStrategy,
    ):
        if strategy.num_replicas_in_sync > 1:
            raise ConfigError(
                "under parameter servers a worker has one GPU, and these have"
                f" {strategy.num_replicas_in_sync} each; start a worker for each and show it one of"
                " them by CUDA_VISIBLE_DEVICES"
            )
        if optimizer.built:
            raise ConfigError(
                f"optimizer {optimizer.name!r} is built already; give compile a new one"
            )
        self.coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        self.tables = RowTables(network)
        super().__init__(network, optimizer, options, strategy)
        self.repeated = 0
        """Steps that were taken twice because their worker was lost before it could say that it was
        done."""
        count_updates_in_place(optimizer)
        self._worker_step = tf.function(self._take_step)

    def iterator(
        self, datasets: Sequence[tf.data.Dataset]
    ) -> tf.distribute.coordinator.PerWorkerValue:
        """Returns the iterator for `run`: over each worker's own dataset of batches (B, T)."""
        start = int(self.step.numpy())
        return worker_iterators(
            self.coordinator, datasets, lambda: (self.step - start) // len(datasets)
        )

    def run(self, iterator: tf.distribute.coordinator.PerWorkerValue, count: int) -> BlockResult:
        """Takes `count` steps, each on whichever worker is free, and waits for all of them."""
        start, updates = int(self.step.numpy()), int(self.optimizer.iterations.numpy())
        with lost_workers("a parameter server"):
            scheduled = [
                self.coordinator.schedule(
                    self._worker_step, args=(iterator, tf.constant(start + index, tf.int64))
                )
                for index in range(count)
            ]
            self.coordinator.join()
            # (count, 6): loss sum, tokens, gradient norm, all finite, diverged, seconds waited for
            # the batch.
            numbers = np.array([result.fetch() for result in scheduled], np.float64)
        finite = numbers[:, 3] > 0
        # A step whose worker was lost on the way is taken again, and may have been counted before.
        self.repeated += int(self.step.numpy()) - (start + count)
        self.step.assign(start + count)
        self.optimizer.iterations.value.assign(updates + int(finite.sum()))
        bad = np.flatnonzero(numbers[:, 4])
        readers = number_of_workers(self.coordinator)
        return BlockResult(
            nll=numbers[finite, 0].sum(),
            tokens=numbers[finite, 1].sum(),
            gradient_norm=numbers[-1, 2],
            input_seconds=numbers[:, 5].sum() / readers,
            overflows=int(self.overflows.numpy()),
            first_bad_step=start + int(bad[0]) + 1 if len(bad) else -1,
        )

    def state(self) -> dict[str, Stored]:
        """Returns the names and whole arrays of `TrainStep.state`, to go on without servers too."""
        named: dict[str, Stored] = dict(network_state(self.network))
        # The optimizer's variables of the shards of one weight have one name, which no others have.
        of_weight: dict[tuple[str, int], list[tf.Variable]] = {}
        for index, variable in enumerate(self.optimizer.variables):
            key = (variable.name, -1 if _SHARD_OF.search(variable.name) else index)
            of_weight.setdefault(key, []).append(variable.value)
        for index, ((name, _), variables) in enumerate(of_weight.items()):
            named[f"optimizer/{index}/{_SHARD_OF.sub('', name)}"] = joined(variables)
        return named | self.beside_weights() | self.counters()

    def beside_weights(self) -> dict[str, Stored]:
        """Returns the averages as whole arrays."""
        averages = iter(self.averages)
        weights = self.network.trainable_variables if self.averages else []
        return {
            f"average/{index}": joined([next(averages) for _ in shards(weight)])
            for index, weight in enumerate(weights)
        }

    def _optimized_weights(
        self, network: keras.Model, optimizer: keras.optimizers.Optimizer
    ) -> list[keras.Variable]:
        """Returns the trainable weights, each shard of a sharded one as a weight of its own."""
        weights, undecayed = [], []
        for index, weight in enumerate(network.trainable_variables):
            optimized = [weight]
            if len(shards(weight)) > 1:
                if weight.constraint is not None:
                    raise ConfigError(
                        f"weight {weight.path} has a constraint, which cannot be kept over its"
                        " shards"
                    )
                optimized = [keras.Variable(part, name=weight.name) for part in shards(weight)]
                for variable in optimized:
                    # The optimizer's variables are named after it.
                    set_path(variable, f"{weight.path}.of-{index}")
            weights += optimized
            undecayed += [] if decays_weight(optimizer, weight) else optimized
        if undecayed:
            optimizer.exclude_from_weight_decay(var_list=undecayed)
        return weights

    def _new_average(self, variable: tf.Variable) -> tf.Variable:
        with self.strategy.extended.colocate_vars_with(variable):
            return tf.Variable(tf.convert_to_tensor(variable), trainable=False)

    def _take_step(self, iterator, number):
        began = tf.timestamp()
        with tf.control_dependencies([began]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch)):
            waited = tf.timestamp() - began
        # Keras's optimizer asks for a replica context. `strategy.run` would also keep all that is
        # read on the worker, and so do there what the servers should do.
        with tf.distribute.ReplicaContext(self.strategy, replica_id_in_sync_group=0):
            *numbers, finite, diverged = self._read_compute_write(number, *batch)
        return tf.stack([*numbers, *(tf.cast(x, tf.float32) for x in (finite, diverged, waited))])

    def _read_compute_write(self, number, ids, targets, weights=None):
        rows = self.tables.rows_of(ids)
        # Of a table the rows of this batch, of any other weight all of it.
        read = []
        for weight in [*self.network.trainable_variables, *self.frozen]:
            if weight in self.tables:
                read.append(self.tables.read(weight, rows))
            else:
                read.append(tf.convert_to_tensor(weight.value))
        sums, factor, nll, tokens, norm, finite = self._replica_gradients(
            ids, targets, weights, draw=number, values=[*read, rows.ids]
        )
        if finite & (tokens > 0):
            self._update_variables(self._per_shard([gradient * factor for gradient in sums], rows))
        diverged = self.loss_scale.at_its_least() & ~finite
        self.loss_scale.adjust(finite)
        if not finite:
            self.overflows.assign_add(1)
        self.step.assign_add(1)
        return nll, tokens, norm, finite, diverged

    def _micro_batch(self, ids, targets, weights, scale, draw, values=()):
        *read, row_ids = values
        with self.tables.looking_up(row_ids):
            return super()._micro_batch(ids, targets, weights, scale, draw, read)

    def _per_shard(self, gradients, rows):
        of_shards = []
        for weight, gradient in zip(self.network.trainable_variables, gradients, strict=True):
            if weight in self.tables:
                of_shards += self.tables.slices(weight, gradient, rows)
            elif weight.shape:
                of_shards += tf.split(gradient, [shard.shape[0] for shard in shards(weight)])
            else:
                of_shards.append(gradient)
        return of_shards

    def _update_averages(self):
        decay = self._average_decay()
        for average, variable in zip(self.averages, self.variables, strict=True):
            with tf.device(average.device):
                average.assign_sub((1 - decay) * (average - variable))
