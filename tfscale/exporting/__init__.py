"""From a trained network to a file for a phone, proven against the network before it is written.

The room has the name of its command, so the module itself can be called: `tfscale.export("run",
output="export")`.
"""

import os
import sys
import types
from collections.abc import Callable
from typing import Any

from tfscale.config import ExportConfig, make_config
from tfscale.config.options import checks_arguments


class _Export(types.ModuleType):
    @checks_arguments
    def __call__(
        self,
        run_dir: str | os.PathLike,
        *,
        output: str | os.PathLike,
        progress: Callable[[str], None] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Writes a run or a task as a file for the device and returns its parity report.

        Args:
            run_dir: folder that `train`, `train_ngram` or `finetune` wrote.
            output: export folder to write.
            progress: receives the name of each stage.
            **options: the other fields of `ExportConfig`, such as quantize="int8".

        Raises:
            ExportError: the file fails its parity check; nothing is written.
        """
        from tfscale.exporting.targets import export_folder

        return export_folder(
            run_dir, make_config(ExportConfig, {"output": os.fspath(output), **options}), progress
        )


sys.modules[__name__].__class__ = _Export
