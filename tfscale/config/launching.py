"""The options of `tfscale launch`."""

from dataclasses import dataclass

from tfscale.config.fields import rare
from tfscale.config.options import Options


@dataclass(frozen=True, kw_only=True)
class LaunchConfig(Options):
    """Worker processes on this machine and their supervision."""

    workers: int = 2
    """Processes of the training; they share its batches. 1 supervises a single process."""
    parameter_servers: int = 0
    """Processes that hold the weights; with them the workers train asynchronously, a chief besides
    them coordinates, and a worker that dies is started again alone."""
    max_restarts: int = 3
    """Failures after which what failed is started again; being stopped after a checkpoint does not
    count as one."""
    startup_seconds: float = rare(600.0)
    """Seconds within which every worker must have begun to train."""
    stall_seconds: float = rare(600.0)
    """Seconds without a step of some worker (validation and checkpoints included) that count as
    hanging; 0 is never."""
    grace_seconds: float = rare(60.0)
    """Seconds that workers get to write a checkpoint after SIGTERM, before they are killed."""
    port_base: int = rare(0)
    """First port; worker i listens on the i-th after it (with servers: chief, workers, servers). 0
    finds free ports."""
    allow_network: bool = False
    """Let the workers use this machine's network (for data on gs://, say), though whoever reaches
    their ports can then read and write files as you. Without it they have a network of their own,
    with loopback alone; where the system does not allow that, launch refuses to start."""
    log_dir: str | None = None
    """Folder that gets the whole output of each process, as worker-0.log and so on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_range(self.workers >= 1, "workers", "1 or more")
        self.check_range(self.startup_seconds > 0, "startup_seconds", "more than 0")
        for name in ("parameter_servers", "max_restarts", "stall_seconds", "grace_seconds"):
            self.check_range(getattr(self, name) >= 0, name, "0 or more")
        last = 65536 - (self.workers + self.parameter_servers + 1)
        fits = self.port_base == 0 or 1024 <= self.port_base < last
        self.check_range(fits, "port_base", "0 (free ports) or 1024 to 65535")
