"""Worker processes of one training, and what they send each other.

Every function here that communicates must be called by all workers, in the same order. With one
process (also one that drives many devices) there is nothing to agree on, and nothing is sent.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfscale.compat.tensorflow import workers_and_servers
from tfscale.distribution.parameter_server import is_asynchronous
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
        self.strategy = strategy
        self.count, self.index = 1, 0
        self.readers = 1
        """How many processes read training data: all of them, or the workers that the one
        coordinator drives."""
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
        self._sum = tf.function(self._summed)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.index == 0

    def gather(self, values: Sequence[float]) -> np.ndarray:
        """The numbers of every worker, (workers, len(values)) float64."""
        table = np.zeros((self.count, len(values)))
        table[self.index] = values
        if self.count == 1:
            return table
        with lost_workers():
            return self._sum([tf.constant(table)])[0].numpy()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one worker. Nobody goes on before all have come
        here."""
        return bool(self.gather([float(flag)]).any())

    def from_chief(self, state: Mapping[str, tf.Variable]) -> None:
        """Gives every worker's variables the chief's values, bit for bit, so that only the chief
        needs its files."""
        if self.count == 1:
            return
        with lost_workers():
            own = [variable.numpy() for variable in state.values()]
            values = self._sum(
                [tf.constant(value if self.is_chief else np.zeros_like(value)) for value in own]
            )
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

    def _summed(self, values):
        local = self.strategy.num_replicas_in_sync // self.count

        def replica():
            context = tf.distribute.get_replica_context()
            # Each worker's value counts once, however many devices it has.
            counts = tf.cast(context.replica_id_in_sync_group, tf.int32) % local == 0
            parts = [tf.where(counts, value, tf.zeros_like(value)) for value in values]
            # TensorFlow packs what it reduces together, which must be of one type.
            for dtype in sorted({part.dtype.name for part in parts}):
                places = [place for place, part in enumerate(parts) if part.dtype.name == dtype]
                sums = context.all_reduce(
                    tf.distribute.ReduceOp.SUM, [parts[place] for place in places]
                )
                for place, value in zip(places, sums, strict=True):
                    parts[place] = value
            return parts

        first = self.strategy.experimental_local_results
        return [first(value)[0] for value in self.strategy.run(replica)]


def worker_addresses(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> list[str]:
    """Addresses of the workers of a cluster, the chief first."""
    cluster = resolver.cluster_spec().as_dict()
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


@contextlib.contextmanager
def lost_workers(who: str = "another worker") -> Iterator[None]:
    """Turns TensorFlow's errors about a peer that went away into one clear line.

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
        lines = [
            line
            for line in (error.message or "").splitlines()
            if line and not line.endswith("error:")
        ]
        first = lines[-1] if lines else type(error).__name__
        raise WorkerLostError(
            f"{who} has gone away ({first[:200]}); start all again: they go on from the last"
            " checkpoint"
        ) from error


def _digest(value: object) -> float:
    """A number that a float64 holds exactly and that is the same for equal values in all
    processes."""
    text = json.dumps(value, sort_keys=True, default=str)
    return float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))
