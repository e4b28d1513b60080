"""Chooses a `tf.distribute` strategy, once per process."""

import functools
import os
import sys
import warnings

import keras
import tensorflow as tf

from tfscale.compat.tensorflow import workers_and_servers
from tfscale.config.options import checks_arguments
from tfscale.distribution.cluster import Cluster, meet, read_cluster
from tfscale.distribution.parameter_server import is_asynchronous, parameter_server_strategy
from tfscale.distribution.tpu import has_tpu_wheel, tpu_device_files, tpu_strategy
from tfscale.errors import ConfigError, check_range
from tfscale.launching.heartbeat import VARIABLE as LAUNCHED
from tfscale.launching.network import outside_addresses, reach_warning
from tfscale.terminal import print

STARTUP_SECONDS = 600.0
"""How long workers wait for each other at the start; the environment variable
TFSCALE_STARTUP_SECONDS sets another."""
NAMES = ("auto", "single", "mirrored", "multi_worker", "tpu", "parameter_server")

_chosen: dict[str, tf.distribute.Strategy] = {}


@checks_arguments
def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the strategy of this process; the same object on every call with the same name.

    A second strategy that communicates would clash with the collectives of the first, so a process
    has one.

    The first call also tells TensorFlow to take the memory of a GPU as it is needed, not all of it
    at the start (TF_FORCE_GPU_ALLOW_GROWTH=false in the environment undoes that).

    Args:
        name: "single" (one device); "mirrored" (every GPU of this machine or, without one, every
            logical CPU device); "multi_worker" (all processes of the cluster that TF_CONFIG, Slurm
            or TFSCALE_WORKERS describe); "parameter_server" (the same, where TF_CONFIG names a
            chief, workers and ps tasks: in the processes of workers and servers this call serves
            the chief and ends the process after it); "tpu" (this machine's TPU, or the one that
            TPU_NAME names); or "auto": parameter_server or multi_worker where there is such a
            cluster, tpu where there is one, mirrored where there is more than one GPU, single
            elsewhere.

    Raises:
        ConfigError: an unknown name, no or an unsound cluster, a second strategy in one process, or
            `keras.distribution` is set, which does nothing on TensorFlow.
        SystemExit: with code 0, in a worker or parameter server whose chief has ended.

    Example:
        with tfscale.strategy("mirrored").scope():
            model = tfscale.LanguageModel(tfscale.build_network(config))
    """
    if keras.distribution.distribution() is not None:
        raise ConfigError(
            "keras.distribution is set, and on the TensorFlow backend it shards nothing; "
            "unset it and use tfscale.strategy(...)"
        )
    grow_gpu_memory()
    if name == "auto":
        name = _offered()[0]
    if name not in NAMES:
        raise ConfigError(f"unknown strategy {name!r}; expected one of {', '.join(NAMES)}")
    if name not in _chosen:
        communicating = [other for other in _chosen if other != "single"]
        if name != "single" and communicating:
            raise ConfigError(
                f"this process already trains under the {communicating[0]} strategy, and a second"
                f" one ({name}) would clash with its communication; use one strategy per process"
            )
        _chosen[name] = _make(name)
    return _chosen[name]


@functools.cache
def grow_gpu_memory() -> None:
    """Has TensorFlow take each GPU's memory as it is needed, so that others can use it.

    It must come before TensorFlow is used in any other way; where it is too late, a warning says
    so.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError) as error:
            # The devices are in use, or were divided by hand.
            warnings.warn(
                f"TensorFlow takes all memory of {gpu.name}: {error}; call tfscale.strategy(...)"
                " before any other use of TensorFlow to let it grow",
                RuntimeWarning,
                stacklevel=3,
            )
            return


def _offered() -> tuple[str, str]:
    """Returns the strategy that machine and environment call for, and why."""
    cluster = read_cluster()
    if cluster is not None and cluster.servers:
        servers = len(cluster.servers)
        return "parameter_server", f"{cluster.source} names {servers} parameter servers"
    if cluster is not None and len(cluster.workers) > 1:
        return "multi_worker", f"{cluster.source} names {len(cluster.workers)} workers"
    if has_tpu_wheel() and (chips := len(tpu_device_files())):
        return "tpu", f"this machine has {chips} TPU device files"
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus > 1:
        return "mirrored", f"this machine has {gpus} GPUs"
    if gpus:
        return "single", "this machine has one GPU"
    return "single", "this machine has no GPU, and its cores share one device"


def has_servers(name: str) -> bool:
    """Returns whether a strategy has parameter servers, before it is made.

    Args:
        name: see `strategy`.
    """
    return (_offered()[0] if name == "auto" else name) == "parameter_server"


def serves_only() -> bool:
    """Returns whether this process is a worker or parameter server that serves its chief."""
    cluster = read_cluster()
    return cluster is not None and bool(cluster.servers) and not cluster.is_chief


def _make(name: str) -> tf.distribute.Strategy:
    if name == "single":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    if name == "tpu":
        return tpu_strategy()
    cluster, seconds = read_cluster(), _startup_seconds()
    if cluster is None:
        servers = "--parameter-servers 1 " if name == "parameter_server" else ""
        raise ConfigError(
            f"strategy {name} needs a cluster, and the environment names none (TF_CONFIG, Slurm, or"
            f" TFSCALE_WORKERS); on one machine: tfscale launch --workers 2 {servers}-- train ..."
        )
    # `tfscale launch` has said it, or gives workers a network of their own.
    if LAUNCHED not in os.environ and outside_addresses():
        port = cluster.address.rpartition(":")[2]
        print(f"warning: {reach_warning(f'port {port}')}", file=sys.stderr, flush=True)
    if name == "parameter_server":
        return parameter_server_strategy(cluster, seconds)
    return _multi_worker(cluster, seconds)


def _startup_seconds() -> float:
    text = os.environ.get("TFSCALE_STARTUP_SECONDS", str(STARTUP_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    check_range(
        seconds > 0, "TFSCALE_STARTUP_SECONDS", text, "a number of seconds above 0, such as 600"
    )
    return seconds


def _multi_worker(cluster: Cluster, seconds: float) -> tf.distribute.Strategy:
    if cluster.servers:
        raise ConfigError(
            f"strategy multi_worker has no parameter servers, and {cluster.source} names"
            f" {len(cluster.servers)}; take strategy parameter_server, or remove the ps tasks"
        )
    meet(cluster, seconds)
    spec = tf.train.ClusterSpec({"worker": list(cluster.workers)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except RuntimeError as error:
        raise ConfigError(
            "the multi_worker strategy must be made before TensorFlow is used in any other way"
            f' ({error}); call tfscale.strategy("multi_worker") first'
        ) from error


def describe(chosen: tf.distribute.Strategy, asked: str = "") -> str:
    """Returns a line for the log: name, replicas and device kind; and why, if it was "auto"."""
    kind = next(kind for kind in ("TPU", "GPU", "CPU") if tf.config.list_logical_devices(kind))
    replicas = chosen.num_replicas_in_sync
    why = f" ({_offered()[1]})" if asked == "auto" else ""
    if is_asynchronous(chosen):
        workers, servers = workers_and_servers(chosen)
        return f"ParameterServerStrategy, {workers} workers, {servers} parameter servers{why}"
    # TensorFlow's classes carry older names than those they are exported under.
    exported = ("MirroredStrategy", "MultiWorkerMirroredStrategy", "TPUStrategy")
    names = [name for name in exported if isinstance(chosen, getattr(tf.distribute, name))]
    name = names[0] if names else "one device"
    return f"{name}, {replicas} replica{'s' if replicas > 1 else ''} on {kind}{why}"
