"""A network namespace of Linux with loopback alone, which processes make and enter.

A process with threads cannot change its namespace, so this runs as a program of its own, before the
one that it is for. It needs the standard library alone (`python -I -S namespace.py ...`), and so
starts in 20 ms:

    make LINK               makes a namespace and sends its descriptors through the inherited socket
    LINK enter 5,6 program ...   enters the namespaces behind the inherited descriptors 5 and 6, and
    becomes the program
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
"""From <linux/sched.h>."""
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
"""From <linux/sockios.h> and <net/if.h>."""


def make(link: socket.socket) -> None:
    """Makes a network namespace with loopback alone, and sends its descriptors over `link`.

    Raises:
        OSError: the system does not allow it to this user.
    """
    kinds = _unshare_network()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    socket.send_fds(
        link, [b"made"], [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in kinds]
    )


def enter(descriptors: Sequence[int], command: Sequence[str]) -> None:
    """Enters the namespaces behind `descriptors` and becomes `command`; does not return."""
    for descriptor in descriptors:
        _call("setns", descriptor, 0)
        os.close(descriptor)
    os.execvp(command[0], list(command))


def _unshare_network() -> tuple[str, ...]:
    """Moves this process into a new network namespace; returns the kinds that were made."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWNET)
        return ("net",)
    except PermissionError:
        # Inside a user namespace root would lose its right to the files of other users.
        if user == 0:
            raise
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return "user", "net"


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        if sys.argv[1] == "make":
            make(socket.socket(fileno=int(sys.argv[2])))
        else:
            enter([int(word) for word in sys.argv[2].split(",")], sys.argv[3:])
    except OSError as error:
        sys.exit(error.strerror or str(error))
