"""Private names of TensorFlow that tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of TensorFlow takes one away,
tests/compat/test_tensorflow.py says which.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf


def dynamic_update_slice(
    target: tf.Tensor, update: tf.Tensor, start: Sequence[tf.Tensor | int]
) -> tf.Tensor:
    """Returns `target` with `update` in it, which begins at `start`, one index an axis.

    It is XLA's operation, which TFLite has built in; `tf.raw_ops` does not offer it.
    """
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice as update_slice

    return update_slice(target, update, start)


def of_shape(tensor: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Returns a tensor that has a known shape, which is checked where tracing does not show it.

    `tf.ensure_shape` becomes operations of dynamic shapes in XLA, even where it cannot fail.
    """
    return tensor if tensor.shape == shape else tf.ensure_shape(tensor, shape)


def keep_last_scale_apart(converter: tf.lite.TFLiteConverter) -> None:
    """Keeps a converter from multiplying the last normalization's scale into the next projection.

    A table that is also the token embedding would be stored twice. The option has no public name.
    """
    assert isinstance(converter._experimental_disable_fuse_mul_and_fc, bool)
    converter._experimental_disable_fuse_mul_and_fc = True


_FIRST_GROUPS = itertools.count(1000, 1000)


def give_own_groups(strategy: tf.distribute.Strategy) -> None:
    """Gives a strategy of one process numbers of its own for its groups of devices.

    Each `MirroredStrategy` numbers them from 1, and a process keeps the shapes of what a group sums
    to its end. So the second strategy of a process, such as that of a notebook's cell which is run
    again, failed with a model of other sizes. One with operations of its own keeps its numbers.
    """
    if not isinstance(strategy, tf.distribute.MirroredStrategy):
        return
    extended = strategy.extended
    if extended._collective_key_base or extended._cross_device_ops is not extended._collective_ops:
        return
    extended._collective_key_base = next(_FIRST_GROUPS)
    extended._cross_device_ops = extended._make_collective_ops_with_fallbacks()
    extended._collective_ops = extended._cross_device_ops


def slurm_hosts(host_list: str) -> list[str]:
    """Returns the names in a host list of Slurm's: "node[1-2]" -> ["node1", "node2"].

    The public `SlurmClusterResolver` sorts hosts as text, so that node10 comes before node2 and
    ranks go astray. Its parsers are sound.

    Raises:
        ValueError: it is not a host list.
    """
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    return slurm_cluster_resolver.expand_hostlist(host_list)


def slurm_tasks(tasks_per_node: str) -> list[int]:
    """Returns the tasks of each node: "3(x2),1" -> [3, 3, 1]; see `slurm_hosts`.

    Raises:
        ValueError: it is not such a list.
    """
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    return slurm_cluster_resolver.expand_tasks_per_node(tasks_per_node)


def serialized(dataset: tf.data.Dataset) -> tf.Tensor:
    """Returns a dataset as a graph, a scalar string that another process can read.

    It is what `ClusterCoordinator.create_per_worker_dataset` does inside, which gives each worker
    the same dataset.
    """
    from tensorflow.python.distribute.coordinator import values

    return values.serialize_dataset_to_graph(dataset)


def deserialized(graph: tf.Tensor, element_spec: tf.TypeSpec) -> tf.data.Dataset:
    """Returns the dataset that `serialized` made a graph of."""
    from tensorflow.python.distribute.coordinator import values

    return values.deserialize_dataset_from_graph(graph, element_spec)


def number_of_workers(coordinator: tf.distribute.coordinator.ClusterCoordinator) -> int:
    """Returns how many workers a coordinator hands steps to."""
    return len(coordinator._cluster.workers)


def iterators_on_workers(
    coordinator: tf.distribute.coordinator.ClusterCoordinator,
    makers: Sequence[tuple[Callable[[], Iterator], tf.TypeSpec]],
) -> tf.distribute.coordinator.PerWorkerValue:
    """Returns an iterator on each worker, to be given to `coordinator.schedule`.

    The public `create_per_worker_dataset` does not tell a worker which one it is, and so cannot
    give each its own data.

    Args:
        coordinator: the cluster's coordinator.
        makers: for each worker the function that returns its iterator, and the `element_spec` of
            that. The function runs on the worker, once more after it was lost and is back.
    """
    iterators = []
    for worker, (maker, element_spec) in zip(coordinator._cluster.workers, makers, strict=True):
        iterator = worker.create_resource(maker)
        iterator._type_spec = tf.data.IteratorSpec(element_spec)
        iterators.append(iterator)
    return tf.distribute.coordinator.PerWorkerValue(iterators)


def workers_and_servers(strategy: tf.distribute.ParameterServerStrategy) -> tuple[int, int]:
    """Returns the numbers of workers and of parameter servers, which a strategy does not tell."""
    return strategy.extended._num_workers, strategy.extended._num_ps


@contextlib.contextmanager
def outside_of_scopes() -> Iterator[None]:
    """Leaves `with strategy.scope()` for a while, as though it had not been entered.

    With one replica a step is computed where it stands; inside a scope TensorFlow takes it for code
    that coordinates replicas, where neither a gradient nor an update can be computed.
    """
    from tensorflow.python.distribute import distribute_lib

    distribute_lib._push_per_thread_mode(distribute_lib._get_default_replica_mode())
    try:
        yield
    finally:
        distribute_lib._pop_per_thread_mode()
