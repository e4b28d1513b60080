"""Processes of a training with parameter servers (Li et al. 2014): servers, workers and a chief.

A task of type "ps" holds variables, one of type "worker" computes gradients of batches that it
reads itself, and the task "chief" coordinates: it runs the program, hands out the steps, validates
and writes the files. Workers and servers run nothing but a TensorFlow server, so all that they do
comes from the chief.
"""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import tensorflow as tf

from tfscale.compat.tensorflow import deserialized, iterators_on_workers, serialized
from tfscale.distribution.cluster import Cluster, answers, meet
from tfscale.errors import ConfigError, WorkerLostError
from tfscale.launching.heartbeat import NO_STEPS, beat
from tfscale.terminal import print

MIN_SHARD_BYTES = 4 << 20
"""Variables of twice this size and more are cut into shards, as many as there are servers at most.
What is smaller is spread over the servers whole, since a sharded variable is not an ordinary one: a
layer cannot take a slice of it, say."""
POLL_SECONDS = 1.0
CHIEF_GONE_SECONDS = 30.0
"""How long workers and servers wait for a chief that has gone away to come back."""


def parameter_server_strategy(
    cluster: Cluster, startup_seconds: float, min_shard_bytes: int = MIN_SHARD_BYTES
) -> tf.distribute.ParameterServerStrategy:
    """Returns the strategy in the chief's process; in a worker or a server it serves the chief.

    Args:
        cluster: the tasks, as `read_cluster` gives them.
        startup_seconds: how long the tasks wait for each other at the start.
        min_shard_bytes: see MIN_SHARD_BYTES.

    Raises:
        ConfigError: the cluster lacks a chief, a worker or a server, a port is taken, or a task did
            not come.
        SystemExit: with code 0, in a worker or server whose chief has ended.

    Example:
        strategy = parameter_server_strategy(read_cluster(), 600.0)
    """
    spec = _cluster_spec(cluster)
    if not cluster.is_chief:
        _serve(cluster, spec, startup_seconds)
    meet(cluster, startup_seconds)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(spec), task_type="chief", task_id=0, rpc_layer="grpc"
    )
    tf.get_logger().addFilter(_report_lost_worker)
    partitioner = tf.distribute.experimental.partitioners.MinSizePartitioner(
        min_shard_bytes=min_shard_bytes, max_shards=len(cluster.servers)
    )
    return tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=partitioner)


def is_asynchronous(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether a strategy keeps its variables on parameter servers."""
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def worker_iterators(
    coordinator: tf.distribute.coordinator.ClusterCoordinator,
    datasets: Sequence[tf.data.Dataset],
    done: Callable[[], tf.Tensor],
) -> tf.distribute.coordinator.PerWorkerValue:
    """Returns an iterator on each worker, over its own dataset, for `coordinator.schedule`.

    Datasets travel as graphs, so they must be made of `tf.data`'s own operations. A worker that
    comes back after it was lost makes its dataset anew and goes on about where it was.

    Args:
        coordinator: the cluster's coordinator.
        datasets: one for each worker, in their order.
        done: function without arguments that returns how many batches a worker should skip, int64.

    Raises:
        ConfigError: a dataset runs Python code (`from_generator`, `py_function`), which cannot
            travel.
    """
    makers = [(_maker(dataset, done), dataset.element_spec) for dataset in datasets]
    return iterators_on_workers(coordinator, makers)


def _maker(dataset: tf.data.Dataset, done: Callable[[], tf.Tensor]) -> Callable[[], Iterator]:
    graph = serialized(dataset)
    if any(word in graph.numpy() for word in (b"PyFunc", b"GeneratorDataset")):
        raise ConfigError(
            "under parameter servers each worker runs its dataset itself, and this one runs Python"
            " code (from_generator or py_function); write it as shards (tfscale prepare) or as"
            " tf.data operations"
        )

    def build() -> tf.data.Dataset:
        return deserialized(graph, dataset.element_spec).skip(done())

    function = tf.function(build).get_concrete_function()
    return lambda: iter(function())


def _report_lost_worker(record: logging.LogRecord) -> bool:
    """Makes one line of what TensorFlow's coordinator logs about a lost task, which is pages long.

    A lost worker is not an error: another takes its step. All else is raised too, and shown when it
    is caught.
    """
    if not record.pathname.endswith("cluster_coordinator.py"):
        return True
    if str(record.msg).startswith("Worker %s failed with") and isinstance(record.args, tuple):
        name = str(record.args[0]).replace("/job:worker/replica:0/task:", "worker ")
        print(
            f"{name} is lost; another one takes its step, and the training goes on",
            file=sys.stderr,
            flush=True,
        )
    return False


def _cluster_spec(cluster: Cluster) -> dict[str, list[str]]:
    example = '{"chief": ["host0:2222"], "worker": ["host1:2222"], "ps": ["host2:2222"]}'
    if not cluster.servers:
        raise ConfigError(
            f"strategy parameter_server needs ps tasks in {cluster.source}, such as {example}"
        )
    if not cluster.has_chief or len(cluster.workers) < 2:
        raise ConfigError(
            f"strategy parameter_server needs a chief and a worker in {cluster.source}: {example}"
        )
    return {
        "chief": [cluster.workers[0]],
        "worker": list(cluster.workers[1:]),
        "ps": list(cluster.servers),
    }


def _serve(cluster: Cluster, spec: dict[str, list[str]], startup_seconds: float) -> NoReturn:
    """Runs this task's TensorFlow server until the chief has ended."""
    config = tf.compat.v1.ConfigProto()
    config.gpu_options.allow_growth = True
    if cluster.task == "ps":
        config.device_count["GPU"] = 0
    index = cluster.index - (cluster.task == "worker")
    try:
        server = tf.distribute.Server(
            tf.train.ClusterSpec(spec),
            job_name=cluster.task,
            task_index=index,
            protocol="grpc",
            config=config,
        )
    except tf.errors.OpError as error:
        raise ConfigError(
            f"{cluster.task} {index} cannot listen at {cluster.address} ({error.message}); end the"
            f" process that holds the port, or name another one in {cluster.source}"
        ) from error
    # A chief that is stopped by SIGTERM, as a rule together with all others, still needs the
    # weights for a checkpoint.
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    seen, last, patience = False, time.monotonic(), startup_seconds
    while True:
        beat(NO_STEPS)
        if answers(cluster.workers[0]):
            seen, last, patience = True, time.monotonic(), CHIEF_GONE_SECONDS
        elif stopping.is_set() or time.monotonic() - last > patience:
            break
        time.sleep(POLL_SECONDS)
    del server
    if not seen and not stopping.is_set():
        raise WorkerLostError(
            f"the chief at {cluster.workers[0]} did not come within {startup_seconds:g} s; start it"
        )
    raise SystemExit(0)
