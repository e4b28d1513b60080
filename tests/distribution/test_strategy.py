"""The choice of a strategy: what the environment offers, and what is refused."""

import json

import keras
import pytest
import tensorflow as tf

from tfscale.distribution import strategy as module
from tfscale.distribution import tpu
from tfscale.distribution.strategy import describe, strategy
from tfscale.distribution.workers import Workers
from tfscale.errors import ConfigError


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "TFSCALE_WORKERS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def two_workers(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))


def test_auto_takes_what_there_is_and_says_why(monkeypatch):
    assert strategy("auto") is tf.distribute.get_strategy()
    assert describe(strategy("auto"), "auto") == (
        "one device, 1 replica on CPU (this machine has no GPU, and its cores share one device)"
    )
    assert describe(strategy("single"), "single") == "one device, 1 replica on CPU"
    two_workers(monkeypatch)
    assert module._offered() == ("multi_worker", "TF_CONFIG names 2 workers")
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else []
    )
    assert module._offered() == ("mirrored", "this machine has 2 GPUs")


def test_one_object_per_process():
    assert strategy("mirrored") is strategy("mirrored")
    assert describe(strategy("mirrored")) == "MirroredStrategy, 2 replicas on CPU"


def test_a_second_strategy_that_communicates_is_refused(monkeypatch):
    two_workers(monkeypatch)
    monkeypatch.setattr(module, "_chosen", {"single": None, "mirrored": object()})
    with pytest.raises(
        ConfigError,
        match="already trains under the mirrored strategy, and a second one .multi_worker.",
    ):
        strategy("multi_worker")


@pytest.mark.parametrize("launched", [False, True])
def test_a_process_of_a_cluster_says_who_can_reach_it(monkeypatch, capsys, launched):
    two_workers(monkeypatch)
    monkeypatch.setattr(module, "outside_addresses", lambda: ["192.0.2.7"])
    monkeypatch.setattr("tfscale.launching.network.outside_addresses", lambda: ["192.0.2.7"])
    monkeypatch.setattr(module, "_multi_worker", lambda cluster, seconds: None)
    if launched:
        monkeypatch.setenv("TFSCALE_HEARTBEAT", "somewhere")
    module._make("multi_worker")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (0 if launched else 1)
    assert launched or lines[0].startswith(
        "warning: whoever reaches port 2 at 192.0.2.7 can read and write files as "
    )


def test_multi_worker_needs_a_cluster():
    with pytest.raises(ConfigError, match="needs a cluster.*tfscale launch --workers 2"):
        module._make("multi_worker")


def test_keras_distribution_is_refused(monkeypatch):
    monkeypatch.setattr(keras.distribution, "distribution", lambda: object())
    with pytest.raises(ConfigError, match="on the TensorFlow backend it shards nothing"):
        strategy()


def test_unknown_names():
    with pytest.raises(
        ConfigError, match="unknown strategy 'horovod'; expected one of auto, single, mirrored"
    ):
        strategy("horovod")


def test_one_process_has_nothing_to_agree_on():
    workers = Workers(strategy("mirrored"))
    assert (workers.count, workers.index, workers.is_chief) == (1, 0, True)
    assert workers.any(True) and not workers.any(False)
    assert workers.gather([1.0, 2.5]).tolist() == [[1.0, 2.5]]
    workers.check_alike({"data": "abc"})


def test_a_tpu_is_asked_for_where_there_is_none(monkeypatch):
    with pytest.raises(
        ConfigError,
        match="TensorFlow 2.2[01].* without TPU kernels; pip install tensorflow-tpu==2.20.0",
    ):
        module._make("tpu")
    monkeypatch.setattr(tpu, "has_tpu_wheel", lambda: True)
    with pytest.raises(ConfigError, match="this machine has no TPU .none of /dev/accel"):
        tpu.tpu_strategy()


def test_auto_takes_a_tpu(monkeypatch):
    monkeypatch.setattr(module, "tpu_device_files", lambda: ["/dev/accel0", "/dev/accel1"])
    assert module._offered()[0] == "single"  # a device that this TensorFlow cannot use
    monkeypatch.setattr(module, "has_tpu_wheel", lambda: True)
    assert module._offered() == ("tpu", "this machine has 2 TPU device files")
