"""Reads the processes of a training from the environment, and checks them before TensorFlow does.

Three sources, the first that is there counts: TF_CONFIG (by hand, Vertex AI, `tfscale launch`),
TFSCALE_WORKERS (for Kubernetes, whose pods know their index and can derive all addresses), and
Slurm's own variables.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfscale.errors import ConfigError, WorkerLostError

SLURM_PORT = 12345
"""Port of the first task on each Slurm node; the others follow. TFSCALE_PORT sets another."""
_TASKS = ("chief", "worker", "ps", "evaluator")
_WAITING = 128
"""Connections that may wait to be accepted."""


@dataclass(frozen=True)
class Cluster:
    """The processes of a training and which of them this one is.

    `workers` are "host:port" addresses, the chief first; `servers` are those of parameter servers.
    `task` is "worker", "chief" or "ps", `index` its place among `workers` (a chief counts as worker
    0) or among `servers`.
    """

    workers: tuple[str, ...]
    index: int
    task: str = "worker"
    servers: tuple[str, ...] = ()
    source: str = "TF_CONFIG"
    has_chief: bool = False
    """Whether worker 0 is a task of type "chief", which coordinates parameter servers."""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.index == 0 and self.task != "ps"

    @property
    def tasks(self) -> dict[str, str]:
        """Names of all processes, such as "chief", "worker 0" or "ps 1" -> their addresses."""
        chiefs = {"chief": self.workers[0]} if self.has_chief else {}
        workers = self.workers[len(chiefs) :]
        others = {f"worker {index}": address for index, address in enumerate(workers)}
        servers = {f"ps {index}": address for index, address in enumerate(self.servers)}
        return chiefs | others | servers

    @property
    def address(self) -> str:
        """The address at which this process listens."""
        return (self.servers if self.task == "ps" else self.workers)[self.index]


def read_cluster(environ: Mapping[str, str] | None = None) -> Cluster | None:
    """Returns the cluster that the environment describes.

    Args:
        environ: environment variables; by default those of the process.

    Returns:
        The cluster, or None where the environment describes none.

    Raises:
        ConfigError: the description contradicts itself; the message says where.

    Example:
        environ = {"TFSCALE_WORKERS": "a:2222,b:2222", "TFSCALE_WORKER_INDEX": "1"}
        read_cluster(environ).address    # "b:2222"
    """
    # Looked up now: `map` of the library datasets puts another object into `os.environ`.
    environ = os.environ if environ is None else environ
    # TensorFlow itself takes {} for no cluster.
    if environ.get("TF_CONFIG", "").strip() not in ("", "{}"):
        return _from_tf_config(environ["TF_CONFIG"])
    if environ.get("TFSCALE_WORKERS"):
        return _from_list(environ)
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return _from_slurm(environ)
    return None


def reports_progress(strategy: str = "auto", environ: Mapping[str, str] | None = None) -> bool:
    """Returns whether this process shows progress: of several, the chief. Needs no TensorFlow.

    Args:
        strategy: the name of the strategy; with some, every process trains for itself.
        environ: environment variables; by default those of the process.

    Raises:
        ConfigError: see `read_cluster`.

    Example:
        reports_progress("single")    # True
    """
    if strategy in ("single", "mirrored", "tpu"):
        return True
    environ = os.environ if environ is None else environ
    if environ.get("TF_CONFIG") or environ.get("TFSCALE_WORKERS"):
        cluster = read_cluster(environ)
        return cluster is None or cluster.is_chief
    # To read the rest of what Slurm says takes TensorFlow.
    return environ.get("SLURM_PROCID", "0") == "0"


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until every other process answers at its address, before TensorFlow is started.

    TensorFlow itself waits for ever, inside C++ where neither a thread nor a signal of Python's
    reaches it. So each worker first listens at its own address in plain Python, until each of the
    others has answered once.

    Args:
        cluster: the workers, and the parameter servers where there are any.
        seconds: how long to wait.

    Raises:
        ConfigError: this process's own port is taken.
        WorkerLostError: a worker did not come; the message names it.
    """
    deadline = time.monotonic() + seconds
    tasks = cluster.tasks.items()
    missing = {name: address for name, address in tasks if address != cluster.address}
    with _listening(cluster) as listener:
        while missing:
            _accept_all(listener)
            for name, address in list(missing.items()):
                if answers(address):
                    del missing[name]
            if missing and time.monotonic() > deadline:
                names = ", ".join(f"{name} at {address}" for name, address in missing.items())
                raise WorkerLostError(
                    f"the workers did not come together within {seconds:g} s; missing: {names}."
                    " Start every worker of the cluster, and let the others reach its port"
                )
            if missing:
                time.sleep(0.2)


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    port = int(cluster.address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of {cluster.task} {cluster.index} is taken on this machine"
                f" ({error.strerror}); end the process that holds it, or name another port in"
                f" {cluster.source}"
            ) from error
        # The kernel itself answers connections, until as many wait to be accepted.
        listener.listen(_WAITING)
        listener.setblocking(False)
        yield listener


def _accept_all(listener: socket.socket) -> None:
    """Takes waiting connections off the kernel's queue, which is of limited length."""
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()


def answers(address: str) -> bool:
    """Returns whether a process listens at an address "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2.0):
            return True
    except OSError:
        return False


def _from_tf_config(text: str) -> Cluster:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"TF_CONFIG is not JSON ({error}): {text[:80]!r}") from error
    example = (
        '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker",'
        ' "index": 0}}'
    )
    if not isinstance(document, dict) or not isinstance(document.get("cluster"), dict):
        raise ConfigError(f"TF_CONFIG names no cluster; expected for example {example}")
    cluster, task = document["cluster"], document.get("task")
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise ConfigError(
            f"TF_CONFIG does not say which task this process is; expected for example {example}"
        )
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list):
            raise ConfigError(
                f"TF_CONFIG: cluster.{kind} must be a list of addresses; received {addresses!r}"
            )
        if addresses and kind not in _TASKS:
            renamed = "chief is what master is called now"
            other = renamed if kind == "master" else f"expected {', '.join(_TASKS)}"
            raise ConfigError(
                f"TF_CONFIG: the cluster has tasks of type {kind}, which tfscale does not know;"
                f" {other}"
            )
    kind, index = task["type"], task["index"]
    if kind == "evaluator":
        raise ConfigError(
            "TF_CONFIG: tfscale has no evaluator tasks, it validates while it trains; use worker"
            " tasks"
        )
    if kind not in ("chief", "worker", "ps") or kind not in cluster:
        there = ", ".join(name for name, addresses in cluster.items() if addresses)
        raise ConfigError(
            f"TF_CONFIG: task type {kind!r} is not in the cluster, which has {there or 'no tasks'}"
        )
    chiefs, workers, servers = (cluster.get(name, []) for name in ("chief", "worker", "ps"))
    # Templates of environment variables write it as text.
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    index = _index(index, len(cluster[kind]), f"TF_CONFIG: task index of {kind}")
    if len(chiefs) > 1:
        raise ConfigError(f"TF_CONFIG: a cluster has one chief; received {len(chiefs)}")
    if not chiefs and not workers:
        raise ConfigError("TF_CONFIG: the cluster has no worker")
    if kind == "worker":
        index += len(chiefs)
    addresses = _addresses([*chiefs, *workers, *servers], "TF_CONFIG")
    count = len(chiefs) + len(workers)
    return Cluster(addresses[:count], index, kind, addresses[count:], has_chief=bool(chiefs))


def _from_list(environ: Mapping[str, str]) -> Cluster:
    source = "TFSCALE_WORKERS"
    text = environ[source]
    if "{index}" in text:
        name = "TFSCALE_NUM_WORKERS"
        count = _number(environ.get(name), f"{name}, which the {{index}} pattern needs,")
        addresses = [text.replace("{index}", str(index)) for index in range(count)]
    else:
        addresses = [address.strip() for address in text.split(",")]
    index = environ.get("TFSCALE_WORKER_INDEX", environ.get("JOB_COMPLETION_INDEX"))
    which = "TFSCALE_WORKER_INDEX (or Kubernetes's JOB_COMPLETION_INDEX)"
    number = _index(_number(index, which), len(addresses), which)
    return Cluster(_addresses(addresses, source), number, source=source)


def _from_slurm(environ: Mapping[str, str]) -> Cluster:
    # It imports TensorFlow, which nothing else here needs.
    from tfscale.compat.tensorflow import slurm_hosts, slurm_tasks

    def variable(name: str) -> str:
        if name not in environ:
            raise ConfigError(f"Slurm did not set {name}; start tfscale by srun inside the job")
        return environ[name]

    try:
        hosts = slurm_hosts(variable("SLURM_STEP_NODELIST"))
        tasks = slurm_tasks(variable("SLURM_STEP_TASKS_PER_NODE"))
    except ValueError as error:
        raise ConfigError(f"Slurm's list of nodes cannot be read: {error}") from error
    base = _number(environ.get("TFSCALE_PORT", str(SLURM_PORT)), "TFSCALE_PORT")
    counts = zip(hosts, tasks, strict=False)
    addresses = [f"{host}:{base + task}" for host, count in counts for task in range(count)]
    number = _number(variable("SLURM_PROCID"), "SLURM_PROCID")
    index = _index(number, len(addresses), "SLURM_PROCID")
    return Cluster(_addresses(addresses, "Slurm"), index, source="Slurm")


def _addresses(addresses: Sequence[object], source: str) -> tuple[str, ...]:
    named = [str(address).removeprefix("grpc://") for address in addresses]
    for address in named:
        host, colon, port = address.rpartition(":")
        if not colon or not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(
                f"{source}: {address!r} is not an address; expected host:port, such as host1:2222"
            )
    twice = {address for address in named if named.count(address) > 1}
    if twice:
        raise ConfigError(
            f"{source}: {sorted(twice)[0]} is named twice; every process needs an address of"
            " its own"
        )
    return tuple(named)


def _number(text: str | None, name: str) -> int:
    if text is None or not text.isdigit():
        raise ConfigError(f"{name} must be a whole number; received {text!r}")
    return int(text)


def _index(value: object, count: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise ConfigError(
            f"{name} is {value!r}; expected 0 to {count - 1}, since the cluster has {count}"
        )
    return value
