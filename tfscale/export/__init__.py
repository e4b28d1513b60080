"""From a trained network to a file for a phone, proven against the network before it is written.

The room has the name of its command, so the module itself can be called: `tfscale.export("run", output="export")`.
"""

import sys
import types
from typing import Any


class _CallableRoom(types.ModuleType):
    def __call__(self, run_dir: str, *, output: str, **options: Any) -> dict[str, Any]:
        from tfscale import api

        return api.export(run_dir, output=output, **options)


sys.modules[__name__].__class__ = _CallableRoom
