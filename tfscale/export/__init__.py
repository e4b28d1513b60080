"""From a trained network to a file for a phone, proven against the network before it is written.

The room has the name of its command, so the module itself can be called: `tfscale.export("run", output="export")`.
"""

import sys
import types
from collections.abc import Callable
from typing import Any

from tfscale.config import ExportConfig, make_config
from tfscale.options import checks_arguments


class _Export(types.ModuleType):
    @checks_arguments
    def __call__(
        self, run_dir: str, *, output: str, progress: Callable[[str], None] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Writes a run as a file for the device and returns its parity report.

        Args:
            run_dir: run folder that `train` wrote.
            output: export folder to write.
            progress: receives the name of each stage.
            **options: the other fields of `ExportConfig`, such as quantize="int8".

        Raises:
            ExportError: the file fails its parity check; nothing is written.
        """
        config = make_config(ExportConfig, {"output": output, **options})
        from tfscale.export.export import export_run
        from tfscale.training.run_folder import load_run

        return export_run(load_run(run_dir), config, progress=progress)


sys.modules[__name__].__class__ = _Export
