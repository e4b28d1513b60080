"""`Workers`: numbers that all workers exchange."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import tfscale
from tfscale.distribution.workers import Workers, lost_workers
from tfscale.errors import WorkerLostError


def test_many_shapes_are_summed_without_a_warning():
    messages = []
    handler = logging.Handler()
    handler.emit = messages.append
    workers = Workers(tfscale.strategy("mirrored"))
    tf.get_logger().addHandler(handler)
    try:
        for width in range(1, 12):
            [total] = workers._sum([tf.range(width, dtype=tf.float64)])
            np.testing.assert_array_equal(total, np.arange(width))
    finally:
        tf.get_logger().removeHandler(handler)
    assert not messages


@pytest.mark.parametrize("sizes", [(3, 5), (5, 3)])
def test_a_second_strategy_sums_other_shapes(sizes):
    """TensorFlow gives both the same numbers of groups, and refuses the second one's shapes."""
    for size in sizes:
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

        def summed(size=size):
            context = tf.distribute.get_replica_context()
            return context.all_reduce("sum", tf.range(float(size)))

        # Whoever asks again leaves what the strategy has begun.
        for workers in (Workers(strategy), Workers(strategy)):
            [total, _] = workers.strategy.experimental_local_results(
                tf.function(lambda workers=workers, summed=summed: workers.strategy.run(summed))()
            )
            np.testing.assert_array_equal(total, 2 * np.arange(size))


def test_a_process_by_itself_loses_no_worker():
    with pytest.raises(tf.errors.CancelledError, match="stopped"), lost_workers():
        raise tf.errors.CancelledError(None, None, "stopped")


def test_one_of_a_cluster_may_have_lost_another(monkeypatch):
    """The names are those that a worker of `MultiWorkerMirroredStrategy` sees."""
    device = tf.config.LogicalDevice("/job:worker/replica:0/task:0/device:CPU:0", "CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [device])
    with pytest.raises(WorkerLostError, match=r"another worker has gone away \(stopped\)"):
        with lost_workers():
            raise tf.errors.CancelledError(None, None, "stopped")
