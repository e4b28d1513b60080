"""Keeps the ports of workers on one machine from everybody else.

TensorFlow's server takes orders from whoever reaches its port: it reads and writes any file that
its user can. It listens at every address of the machine, and no option makes it listen at loopback
alone. So the workers get a network of their own in which there is nothing but loopback; where the
system does not allow that, the user has to say so.
"""

import contextlib
import fcntl
import getpass
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tfscale.config.launching import LaunchConfig
from tfscale.errors import ConfigError
from tfscale.launching import namespace
from tfscale.terminal import print

_SIOCGIFADDR = 0x8915
"""From <linux/sockios.h>."""
_IPV6_ADDRESSES = "/proc/net/if_inet6"


class PrivateNetwork:
    """A network of its own with loopback alone, for processes that are started with `wrap`.

    It exists until `close` was called and the last of its processes has ended.

    Raises:
        OSError: the system has no network namespaces, or does not allow them to this user.

    Example:
        network = PrivateNetwork()
        subprocess.run(network.wrap(["ip", "address"]), pass_fds=network.descriptors)
        network.close()
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(f"{sys.platform} has no network namespaces")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = _program("make", str(theirs.fileno()))
            done = subprocess.run(words, pass_fds=[theirs.fileno()], capture_output=True, text=True)
            if done.returncode:
                raise OSError(done.stderr.strip().splitlines()[-1])
            self.descriptors: Sequence[int] = socket.recv_fds(ours, 16, 2)[1]
            """The file descriptors that a process must inherit to enter."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Returns a command that enters this network and becomes `command`, in one process."""
        return [*_program("enter", ",".join(map(str, self.descriptors))), *command]

    def close(self) -> None:
        """Lets the network go."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()


def _program(*words: str) -> list[str]:
    return [sys.executable, "-I", "-S", namespace.__file__, *words]


def has_private_networks() -> bool:
    """Returns whether the system allows a network with loopback alone to this user.

    Many containers do not.
    """
    try:
        PrivateNetwork().close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def workers_network(config: LaunchConfig) -> Iterator[PrivateNetwork | None]:
    """Gives the network for the workers of one machine; None if they use the machine's.

    They do where there is one worker, which listens nowhere, where `config.allow_network` says so
    (a line on stderr then says who can reach them), and where the machine itself has nothing but
    loopback.

    Raises:
        ConfigError: the system does not allow a network of their own, and others could reach this
            machine.
    """
    if config.workers == 1 and not config.parameter_servers:
        yield None
        return
    if config.allow_network:
        if outside_addresses():
            print(f"launch: {reach_warning()}", file=sys.stderr, flush=True)
        yield None
        return
    network = _private_network()
    try:
        yield network
    finally:
        if network:
            network.close()


def _private_network() -> PrivateNetwork | None:
    try:
        return PrivateNetwork()
    except OSError as error:
        if not outside_addresses():
            return None
        raise ConfigError(
            f"the workers' ports cannot be kept from other machines here ({error}), and"
            f" {reach_warning()}. Give --allow-network if nobody else is in this machine's network,"
            " or train in one process"
        ) from error


def reach_warning(ports: str = "the workers' ports") -> str:
    """Returns a sentence on who reaches TensorFlow's servers here, and what they can do.

    Args:
        ports: the servers' ports, in words.
    """
    return (
        f"whoever reaches {ports} at {', '.join(outside_addresses())} can read and write files as "
        f"{_user()} (TensorFlow's server asks for no password; see docs/security.md)"
    )


def outside_addresses() -> list[str]:
    """Returns the addresses at which others may reach this machine: all but loopback.

    Where the system does not list them, which is everywhere but on Linux, the machine's name stands
    for them.

    Example:
        outside_addresses()    # ["192.168.0.17", "fe80::5054:ff:fe12:3456"]
    """
    if sys.platform != "linux":
        return [socket.gethostname()]
    return [*_ipv4_addresses(), *_ipv6_addresses()]


def _ipv4_addresses() -> list[str]:
    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(control, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # The interface has no address.
                continue
            addresses.append(socket.inet_ntop(socket.AF_INET, answer[20:24]))
    return [address for address in addresses if not address.startswith("127.")]


def _ipv6_addresses() -> list[str]:
    if not os.path.exists(_IPV6_ADDRESSES):  # A kernel without IPv6.
        return []
    with open(_IPV6_ADDRESSES) as file:
        packed = [bytes.fromhex(line.split()[0]) for line in file]
    loopback = socket.inet_pton(socket.AF_INET6, "::1")
    return [socket.inet_ntop(socket.AF_INET6, address) for address in packed if address != loopback]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A user without a name, as in some containers.
        return f"user {os.geteuid()}"
