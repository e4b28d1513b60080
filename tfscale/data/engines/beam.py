"""The engine of many machines: the work as a pipeline of Apache Beam."""

from collections.abc import Iterable

from tfscale.compat.quiet import log_unheard
from tfscale.config import PrepareConfig
from tfscale.data.engine import Done, Engine, Task
from tfscale.errors import ConfigError, check_installed
from tfscale.registry import register


@register
class BeamEngine(Engine):
    """Works on the workers of a runner of Apache Beam."""

    name = "beam"
    summary = "Apache Beam, on one machine or many"

    def check(self, config: PrepareConfig, texts: Iterable[object] | None) -> None:
        """Refuses what workers elsewhere cannot do; see `Engine.check`."""
        if texts is not None:
            raise ConfigError(
                "texts of a Python program are not where the workers of --engine beam are; write"
                " them into files, such as JSON lines, and name these by text"
            )
        check_installed("beam", "apache_beam")
        # Imported here: nobody else waits for Beam.
        with log_unheard():
            from tfscale.data.beam.options import beam_options, runner_of

            runner_of(beam_options(config.beam))

    def write(self, directory: str, task: Task) -> Done:
        """Writes the shards; see `Engine.write`."""
        with log_unheard():
            from tfscale.data.beam.options import beam_options, runner_of
            from tfscale.data.beam.pipeline import write

            options = beam_options(task.config.beam)
            return write(directory, task, options, runner_of(options))
