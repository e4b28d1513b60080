"""Who can reach the workers of a launch: nobody but they themselves."""

import json
import socket
import subprocess
import sys
import threading

import pytest

from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError
from tfscale.launching import network
from tfscale.launching.launcher import launch
from tfscale.launching.network import PrivateNetwork, outside_addresses, workers_network

LISTENING = "0A"
"""The state LISTEN in /proc/net/tcp."""
SERVER = """
import json, os, sys, time
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher
follow_launcher()
folder = sys.argv[1]
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import tensorflow as tf
server = tf.distribute.Server(tf.train.ClusterSpec(config["cluster"]), job_name="worker", task_index=index)
from tfscale.distribution.cluster import answers
while not all(map(answers, config["cluster"]["worker"])):
    time.sleep(0.05)
with open(f"{folder}/{index}.new", "w") as file:
    json.dump([os.getpid(), config["cluster"]["worker"][index]], file)
os.rename(f"{folder}/{index}.new", f"{folder}/{index}.json")
while not os.path.exists(f"{folder}/done"):
    beat(1)
    time.sleep(0.05)
os._exit(0)
"""


def needs_namespaces():
    """Skips a test where the system does not allow a private network."""
    try:
        PrivateNetwork().close()
    except OSError as error:
        pytest.skip(f"no private network here: {error}")


def listeners(process):
    """The listening TCP sockets that a process sees: (packed address in hexadecimal, port)."""
    found = set()
    for name in ("tcp", "tcp6"):
        with open(f"/proc/{process}/net/{name}") as file:
            for line in list(file)[1:]:
                address, state = line.split()[1], line.split()[3]
                if state == LISTENING:
                    host, port = address.split(":")
                    found.add((host, int(port, 16)))
    return found


@pytest.mark.slow
def test_the_servers_of_a_launch_are_reached_by_its_workers_alone(tmp_path):
    needs_namespaces()
    (tmp_path / "server.py").write_text(SERVER)
    words = [sys.executable, str(tmp_path / "server.py")]
    found = []
    launcher = threading.Thread(
        target=lambda: found.append(
            launch([str(tmp_path)], LaunchConfig(max_restarts=0, startup_seconds=120), words)
        )
    )
    before = listeners("self")
    launcher.start()
    try:
        while launcher.is_alive() and not all(
            (tmp_path / f"{index}.json").exists() for index in (0, 1)
        ):
            launcher.join(0.1)
        workers = [json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1)]
        ports = {int(address.rpartition(":")[2]) for _, address in workers}
        # TensorFlow's servers listen at every address of the network they are in: the two of the launch...
        assert all({port for _, port in listeners(pid)} == ports for pid, _ in workers)
        # ...and that is not this machine's network, where nobody answers at their ports, not even at loopback.
        assert not ports & {port for _, port in listeners("self") - before}
        for address in [*outside_addresses(), "127.0.0.1", "::1"]:
            for port in ports:
                with pytest.raises(OSError):
                    socket.create_connection((address, port), timeout=2.0).close()
    finally:
        (tmp_path / "done").touch()
        launcher.join()
    assert [done.exit_code for done in found] == [0]


def test_a_private_network_has_loopback_alone():
    needs_namespaces()
    program = """
import os, socket
from tfscale.launching.network import outside_addresses
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print(os.getpid(), os.geteuid(), [name for _, name in socket.if_nameindex()], outside_addresses())
"""
    private = PrivateNetwork()
    words = private.wrap([sys.executable, "-c", program])
    process = subprocess.Popen(
        words, pass_fds=private.descriptors, stdout=subprocess.PIPE, text=True
    )
    private.close()
    output = process.communicate(timeout=60)[0]
    user = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip()
    assert output.split() == [str(process.pid), user, "['lo']", "[]"]


def test_addresses_are_those_that_packets_leave_from():
    found = outside_addresses()
    assert not {"127.0.0.1", "::1"} & set(found)
    for family, target in ((socket.AF_INET, "192.0.2.200"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((target, 9))  # Sends nothing.
            except OSError:
                continue
            assert probe.getsockname()[0] in found
    for address in found:
        assert not address.startswith("127.")


def forbidden():
    raise OSError("unshare: Operation not permitted")


def test_where_it_is_not_allowed_nothing_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(network, "PrivateNetwork", forbidden)
    monkeypatch.setattr(network, "outside_addresses", lambda: ["192.0.2.7", "fe80::1"])
    monkeypatch.setattr(network, "_user", lambda: "ada")
    with pytest.raises(ConfigError) as info:
        launch([], LaunchConfig(), [sys.executable, "-c", f"open({str(tmp_path / 'x')!r}, 'w')"])
    assert str(info.value) == (
        "the workers' ports cannot be kept from other machines here (unshare: Operation not permitted), and whoever "
        "reaches the workers' ports at 192.0.2.7, fe80::1 can read and write files as ada (TensorFlow's server asks "
        "for no password; see docs/security.md). Give --allow-network if nobody else is in this machine's network, or "
        "train in one process"
    )
    assert not (tmp_path / "x").exists()


def test_whoever_allows_it_is_told_who_can_reach_the_workers(monkeypatch, capsys):
    monkeypatch.setattr(network, "outside_addresses", lambda: ["192.0.2.7"])
    with workers_network(LaunchConfig(allow_network=True)) as chosen:
        assert chosen is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "launch: whoever reaches the workers' ports at 192.0.2.7 can read and write files as "
    )


@pytest.mark.parametrize("options,addresses", [({"workers": 1}, ["192.0.2.7"]), ({}, [])])
def test_where_nobody_can_reach_anything_the_machines_network_is_used(
    monkeypatch, capsys, options, addresses
):
    monkeypatch.setattr(network, "PrivateNetwork", forbidden)
    monkeypatch.setattr(network, "outside_addresses", lambda: addresses)
    with workers_network(LaunchConfig(**options)) as chosen:
        assert chosen is None
    assert capsys.readouterr().err == ""
