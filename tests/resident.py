"""The memory of this process, from /proc."""

import os


def resident():
    """Bytes of it that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
