"""Worker processes of one training, and what they send each other.

Every function here that communicates must be called by all workers, in the same order. With one
process (also one that drives many devices) there is nothing to agree on, and nothing is sent.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfscale.compat.tensorflow import give_own_groups, workers_and_servers
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.sums import summed_over_replicas
from tfscale.errors import ConfigError, WorkerLostError


class Workers:
    """The worker processes of a strategy.

    Args:
        strategy: any `tf.distribute` strategy; only MultiWorkerMirroredStrategy has more than one
            process.

    Example:
        workers = Workers(strategy)
        if workers.any(stop_asked):  # one asks, all stop
            ...
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        give_own_groups(strategy)
        self.strategy = strategy
        self.count, self.index = 1, 0
        self.readers = 1
        """The number of processes that read training data: all, or a coordinator's workers."""
        if is_asynchronous(strategy):
            self.readers, _ = workers_and_servers(strategy)
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            if resolver is not None and resolver.task_type is not None:
                self.count = len(worker_addresses(resolver))
                # A task of type "chief" stands before those of type "worker".
                chief = len(resolver.cluster_spec().as_dict().get("chief", []))
                self.index = resolver.task_id + (chief if resolver.task_type == "worker" else 0)
                self.readers = self.count
        self._sums: dict[tuple, Callable] = {}

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.index == 0

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """Returns the numbers of every worker, (workers, len(values)) float64."""
        table = np.zeros((self.count, len(values)))
        table[self.index] = values
        if self.count == 1:
            return table
        with lost_workers():
            return self._sum([tf.constant(table)])[0].numpy()

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set on any worker, once all workers have called this."""
        return bool(self.gather([float(flag)]).any())

    def from_chief(self, state: Mapping[str, tf.Variable]) -> None:
        """Gives every worker's variables the chief's values, so that only the chief needs files."""
        if self.count == 1:
            return
        with lost_workers():
            # The sum over all workers is the chief's value bit for bit where the others add zeros.
            before = [variable.numpy() for variable in state.values()]
            sent = [value if self.is_chief else np.zeros_like(value) for value in before]
            values = self._sum([tf.constant(value) for value in sent])
            for variable, value in zip(state.values(), values, strict=True):
                variable.assign(value)

    def check_alike(self, described: Mapping[str, object]) -> None:
        """Compares what the workers were started with.

        Args:
            described: name of a thing that must be alike ("data", "train.steps") -> its value, as
                JSON knows it.

        Raises:
            ConfigError: on every worker, naming the things and the workers that differ from the
                chief.
        """
        digests = [_digest(value) for value in described.values()]
        table = self.gather(digests)
        different = []
        for name, column in zip(described, table.T, strict=True):
            if others := ", ".join(map(str, np.flatnonzero(column != column[0]))):
                different.append(f"{name} (worker {others})")
        if different:
            raise ConfigError(
                f"the workers were started with different {'; '.join(different)}, compared with"
                " worker 0. Give every worker the same data and options"
            )

    def _sum(self, values):
        """Returns the sums over the workers of tensors that each of them has in the same shapes.

        Every combination of shapes is traced once and kept: TensorFlow warns of a `tf.function`
        that is called with many of them.
        """
        shapes = tuple((value.dtype, tuple(value.shape)) for value in values)
        if shapes not in self._sums:
            self._sums[shapes] = tf.function(self._summed).get_concrete_function(values)
        return self._sums[shapes](values)

    def _summed(self, values):
        local = self.strategy.num_replicas_in_sync // self.count

        def replica():
            context = tf.distribute.get_replica_context()
            # Each worker's value counts once, however many devices it has.
            counts = tf.cast(context.replica_id_in_sync_group, tf.int32) % local == 0
            totals = [tf.where(counts, value, tf.zeros_like(value)) for value in values]
            return summed_over_replicas(context, totals)

        first = self.strategy.experimental_local_results
        return [first(value)[0] for value in self.strategy.run(replica)]


def worker_addresses(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> list[str]:
    """Returns the addresses of a cluster's workers, the chief first."""
    cluster = resolver.cluster_spec().as_dict()
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


@contextlib.contextmanager
def lost_workers(who: str = "another worker") -> Iterator[None]:
    """Turns TensorFlow's errors about a peer that went away into one clear line.

    A process by itself has no peer: its errors stay what they are.

    Args:
        who: how the message names the peer.

    Raises:
        WorkerLostError: a collective operation was aborted or cancelled.
    """
    try:
        yield
    except (
        tf.errors.AbortedError,
        tf.errors.UnavailableError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ) as error:
        if not any("/job:" in device.name for device in tf.config.list_logical_devices()):
            raise
        lines = (error.message or "").splitlines()
        lines = [line for line in lines if line and not line.endswith("error:")]
        first = lines[-1] if lines else type(error).__name__
        raise WorkerLostError(
            f"{who} has gone away ({first[:200]}); start all again: they go on from the last"
            " checkpoint"
        ) from error


def _digest(value: object) -> float:
    """Returns a number that a float64 holds exactly, the same for equal values everywhere."""
    text = json.dumps(value, sort_keys=True, default=str)
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))
