"""Each private name of TensorFlow that tfscale needs is there and does what is said of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfscale.compat import tensorflow as compat


def test_dynamic_update_slice():
    @tf.function(jit_compile=True)
    def update(target, rows):
        return compat.dynamic_update_slice(target, rows, [tf.constant(1), 0])

    np.testing.assert_array_equal(
        update(tf.zeros((3, 2)), tf.ones((1, 2))), [[0, 0], [1, 1], [0, 0]]
    )


def test_each_strategy_has_numbers_of_its_own():
    strategies = [tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) for _ in range(2)]
    for strategy in (*strategies, *strategies):  # The second time nothing is changed.
        compat.give_own_groups(strategy)
    first, second = (set(s.extended._collective_keys._known_groups.values()) for s in strategies)
    assert first and second and not first & second
    for strategy, groups in zip(strategies, (first, second), strict=True):
        assert strategy.extended._cross_device_ops._collective_keys._known_groups
        compat.give_own_groups(strategy)
        assert set(strategy.extended._collective_keys._known_groups.values()) == groups


def test_converter_keeps_the_last_scale_apart():
    module = tf.Module()
    module.table = tf.Variable(np.random.default_rng(0).normal(size=(64, 8)).astype("float32"))
    module.scale = tf.Variable(np.arange(1, 9, dtype="float32"))

    @tf.function(input_signature=[tf.TensorSpec((4,), tf.int32)])
    def tied(ids):
        rows = tf.gather(module.table, ids)
        return tf.matmul(rows * module.scale, module.table, transpose_b=True)

    def converted(apart):
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [tied.get_concrete_function()], module
        )
        if apart:
            compat.keep_last_scale_apart(converter)
        return len(converter.convert())

    # A second table of 64 x 8 float32 is 2,048 bytes.
    assert converted(apart=False) - converted(apart=True) > 1500


def test_slurm_lists():
    assert compat.slurm_hosts("node[9-10],login") == ["node9", "node10", "login"]
    assert compat.slurm_tasks("2(x2),1") == [2, 2, 1]
    with pytest.raises(ValueError):
        compat.slurm_tasks("two")


def test_datasets_travel_as_graphs():
    dataset = tf.data.Dataset.range(3).map(lambda number: number * 2)
    graph = compat.serialized(dataset)
    assert graph.dtype == tf.string and graph.shape == ()
    read = compat.deserialized(graph, dataset.element_spec)
    assert list(read.as_numpy_iterator()) == [0, 2, 4]


CLUSTER = """
import json, os, sys
import tensorflow as tf
from tests.distribution.in_process_cluster import start_cluster
from tfscale.compat import tensorflow as compat

strategy, running = start_cluster(workers=2, servers=1)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
datasets = [tf.data.Dataset.from_tensors(number).repeat() for number in (5, 7)]
makers = [(lambda dataset=dataset: iter(dataset), dataset.element_spec) for dataset in datasets]
iterators = compat.iterators_on_workers(coordinator, makers)
takes = tf.function(lambda iterator: tf.cast(next(iterator), tf.float32))
values = [coordinator.schedule(takes, args=(iterators,)) for _ in range(40)]
coordinator.join()
print(json.dumps({
    "workers": compat.number_of_workers(coordinator),
    "tasks": compat.workers_and_servers(strategy),
    "values": sorted({int(value.fetch()) for value in values}),
}))
sys.stdout.flush()
os._exit(0)  # TensorFlow's servers have no way to be stopped.
"""


@pytest.mark.slow
def test_workers_of_a_coordinator_have_their_own_iterators():
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["workers"] == 2 and result["tasks"] == [2, 1]
    assert result["values"] and set(result["values"]) <= {5, 7}


def test_a_scope_is_left_for_a_while_and_entered_again():
    one = tf.distribute.MirroredStrategy(["CPU:0"])
    with one.scope():
        with pytest.raises(ZeroDivisionError), compat.outside_of_scopes():
            assert not tf.distribute.has_strategy()
            assert not tf.distribute.in_cross_replica_context()
            _ = 1 / 0
        assert tf.distribute.get_strategy() is one
        assert tf.distribute.in_cross_replica_context()
    with compat.outside_of_scopes():
        assert not tf.distribute.has_strategy()
