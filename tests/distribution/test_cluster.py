"""A cluster is read from the environment; each way in which it can be wrong."""

import json
import os
import socket
import threading

import pytest

from tests.distribution.addresses import free_addresses
from tfscale.distribution.cluster import (
    Cluster,
    _accept_all,
    _listening,
    answers,
    meet,
    read_cluster,
    reports_progress,
)
from tfscale.errors import ConfigError, WorkerLostError

TWO = {"worker": ["a:1", "b:2"]}


def tf_config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environ", "reports"),
    [
        ({}, True),
        ({"TF_CONFIG": "{}"}, True),
        (tf_config(TWO), True),
        (tf_config(TWO, index=1), False),
        (tf_config({"chief": ["a:1"], "ps": ["b:2"]}, "ps"), False),
        ({"TFSCALE_WORKERS": "a:1,b:2", "TFSCALE_WORKER_INDEX": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_process_of_a_cluster_reports_progress(environ, reports):
    assert reports_progress("auto", environ) is reports
    # Where every process trains for itself, each reports.
    assert reports_progress("single", environ)


def test_no_cluster():
    assert read_cluster({}) is None
    assert read_cluster({"TF_CONFIG": "{}"}) is None
    assert read_cluster({"TF_CONFIG": "", "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_the_environment_is_that_of_the_moment(monkeypatch):
    """Also where another library put another object into its place."""
    monkeypatch.setattr(os, "environ", {"TFSCALE_WORKERS": "a:1,b:1", "TFSCALE_WORKER_INDEX": "1"})
    assert read_cluster().address == "b:1" and not reports_progress()


def test_workers_by_hand():
    cluster = read_cluster(tf_config(TWO, index=1))
    assert cluster == Cluster(("a:1", "b:2"), 1)
    assert (cluster.is_chief, cluster.address) == (False, "b:2")
    assert read_cluster(tf_config(TWO, index="1")) == cluster  # as templates write it
    assert read_cluster(tf_config({"worker": ["grpc://a:1", "grpc://b:2"]}, index=1)) == cluster


def test_a_chief_is_worker_zero():
    vertex = {"chief": ["c:1"], "worker": ["a:1", "b:2"], "evaluator": []}
    assert read_cluster(tf_config(vertex, "chief")) == Cluster(
        ("c:1", "a:1", "b:2"), 0, "chief", has_chief=True
    )
    assert read_cluster(tf_config(vertex, "worker", 1)) == Cluster(
        ("c:1", "a:1", "b:2"), 2, has_chief=True
    )


def test_parameter_servers():
    cluster = {"chief": ["c:1"], "worker": ["a:1"], "ps": ["p:1", "p:2"]}
    server = read_cluster(tf_config(cluster, "ps", 1))
    assert (server.servers, server.address, server.is_chief) == (("p:1", "p:2"), "p:2", False)


@pytest.mark.parametrize(
    "environ,message",
    [
        ({"TF_CONFIG": "{cluster:"}, "TF_CONFIG is not JSON .*: '{cluster:'"),
        ({"TF_CONFIG": "[]"}, "names no cluster"),
        ({"TF_CONFIG": json.dumps({"cluster": TWO})}, "does not say which task this process is"),
        (
            tf_config({"worker": "a:1"}),
            "cluster.worker must be a list of addresses; received 'a:1'",
        ),
        (tf_config({"ps": ["a:1"]}), "task type 'worker' is not in the cluster, which has ps"),
        (tf_config(TWO, "chief"), "task type 'chief' is not in the cluster, which has worker"),
        (tf_config(TWO, index=2), "task index of worker is 2; expected 0 to 1"),
        (tf_config(TWO, index="2"), "task index of worker is 2; expected 0 to 1"),
        (tf_config(TWO, index="first"), "task index of worker is 'first'; expected 0 to 1"),
        (
            tf_config({"master": ["m:1"], **TWO}, "master"),
            "tasks of type master, .*chief is what master is called now",
        ),
        (tf_config({"master": ["m:1"], **TWO}), "tasks of type master"),
        (tf_config({"worker": ["http://a:1"]}), "'http://a:1' is not an address"),
        (tf_config(TWO, "evaluator"), "no evaluator tasks"),
        (tf_config({"worker": ["a:1", "a:1"]}), "a:1 is named twice"),
        (tf_config({"worker": ["a:1", "b"]}), "'b' is not an address; expected host:port"),
        (tf_config({"worker": ["a:1", "b:port"]}), "'b:port' is not an address"),
        (tf_config({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "one chief; received 2"),
        (
            {"TFSCALE_WORKERS": "a:1,b:2"},
            "TFSCALE_WORKER_INDEX .* must be a whole number; received None",
        ),
        ({"TFSCALE_WORKERS": "a:1,b:2", "TFSCALE_WORKER_INDEX": "2"}, "is 2; expected 0 to 1"),
        ({"TFSCALE_WORKERS": "w-{index}:1", "TFSCALE_WORKER_INDEX": "0"}, "TFSCALE_NUM_WORKERS"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "Slurm did not set SLURM_STEP_NODELIST"),
    ],
)
def test_each_mistake_is_named(environ, message):
    with pytest.raises(ConfigError, match=message):
        read_cluster(environ)


def test_an_indexed_job_of_kubernetes():
    environ = {
        "TFSCALE_WORKERS": "train-{index}.train:2222",
        "TFSCALE_NUM_WORKERS": "3",
        "JOB_COMPLETION_INDEX": "2",
    }
    cluster = read_cluster(environ)
    assert cluster == Cluster(
        ("train-0.train:2222", "train-1.train:2222", "train-2.train:2222"), 2, source=cluster.source
    )
    assert cluster.address == "train-2.train:2222"


def test_slurm_keeps_the_order_of_its_nodes():
    environ = {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_STEP_NODELIST": "node[2,10],login",
        "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)",
    }
    cluster = read_cluster(environ)
    assert cluster.workers == ("node2:12345", "node2:12346", "node10:12345", "login:12345")
    assert cluster.address == "login:12345"
    assert read_cluster({**environ, "TFSCALE_PORT": "7000"}).address == "login:7000"


def test_workers_meet():
    addresses = tuple(free_addresses(2))
    both_met = threading.Barrier(2, timeout=20)

    def worker(index):
        meet(Cluster(addresses, index), 10.0)
        # What comes after the meeting, TensorFlow's server, answers in its place: the other may not have looked yet.
        with socket.create_server(("", int(addresses[index].rpartition(":")[2]))):
            both_met.wait()

    other = threading.Thread(target=worker, args=(1,))
    other.start()
    worker(0)
    other.join()
    assert not both_met.broken


def test_a_worker_that_does_not_come_is_named():
    addresses = tuple(free_addresses(2))
    with pytest.raises(WorkerLostError, match=f"within 0.1 s; missing: worker 1 at {addresses[1]}"):
        meet(Cluster(addresses, 0), 0.1)


def test_those_who_knock_often_are_answered_each_time(monkeypatch):
    """While one worker is late the others knock every second, and the kernel keeps only so many waiting."""
    monkeypatch.setattr("tfscale.distribution.cluster._WAITING", 1)
    cluster = Cluster(tuple(free_addresses(2)), 0)
    with _listening(cluster) as listener:
        for _ in range(8):
            assert answers(cluster.address)
            _accept_all(listener)


def test_a_taken_port_is_named():
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of worker 0 is taken"):
            meet(Cluster((f"localhost:{port}", "localhost:1"), 0), 1.0)
