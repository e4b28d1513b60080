"""The commands as Python functions, by the same names: `tfscale.prepare`, `tfscale.train`, ...

They take the options of the command line as arguments and raise `TfscaleError` where it prints
`error: ...`. What they check, the commands check by them. `tfscale.api.making` holds those that
write a folder, `tfscale.api.scoring` and `tfscale.api.using` those that ask a model.
"""

from tfscale.api.making import compress_, export, prepare, train
from tfscale.api.scoring import embed, evaluate
from tfscale.api.using import (
    benchmark,
    correct,
    explain,
    fill,
    generate,
    predict,
    swap,
)

__all__ = [
    "benchmark",
    "compress_",
    "correct",
    "embed",
    "evaluate",
    "explain",
    "export",
    "fill",
    "generate",
    "predict",
    "prepare",
    "swap",
    "train",
]
