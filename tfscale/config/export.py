"""The options of `tfscale export`."""

from dataclasses import dataclass, field
from typing import Annotated

from tfscale.config.choices import Quantization, Rounding
from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.config.refused import explain_refusal
from tfscale.errors import ConfigError, check_range
from tfscale.registry import FORMATS, RECIPES, NameIn

WINDOWS_OF_UPDATE = 8
"""Windows from which learned rounding learns at a time."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Options):
    """A trained run to a file for the device."""

    output: str
    """Export folder to write. It must be absent, empty, or an earlier export (which is
    replaced)."""
    format: Annotated[str, NameIn(FORMATS, explained=True)] = "tflite"
    """Form of the file."""
    quantize: Quantization = "none"
    """Weights in the file: float32 (none), float16, int8 (computed in int8 where the runtime can),
    int4 (matrices in blocks of 64 or 32 weights, with embedding tables in int8; the tables too with
    int4_all)."""
    rounding: Rounding = "nearest"
    """How weights in blocks of int4 are rounded: each to the nearest number, or up or down as is
    learned from windows of the training text (Cheng et al. 2023)."""
    calibration_windows: int = 1600
    """Windows of the run's training text from which rounding is learned, a multiple of 8."""
    calibration_seed: int = rare(0)
    """Seed by which these windows are drawn."""
    prefill_lengths: list[int] = field(default_factory=lambda: [8, 64])
    """Tokens per call of the prompt signatures of a Transformer; those above the context are left
    out."""
    embedding: bool = rare(False)
    """Also give hidden states (signature embed), by which tfscale embed makes vectors of texts from
    the file. For tflite and web."""
    parity_tokens: int = 512
    """Held-out tokens on which the file is compared with the Keras model."""
    threads: int = 1
    """CPU threads of the runtime in the comparison and the timing."""

    def __post_init__(self) -> None:
        for choice in (self.format, self.quantize):
            explain_refusal(str(choice))
        super().__post_init__()
        check_range(
            bool(self.prefill_lengths) and min(self.prefill_lengths) >= 1,
            "prefill_lengths",
            self.prefill_lengths,
            "one or more lengths of 1 or more",
        )
        check_range(
            16 <= self.parity_tokens <= 100_000,
            "parity_tokens",
            self.parity_tokens,
            "16 to 100,000",
        )
        check_range(self.threads >= 1, "threads", self.threads, "1 or more")
        check_range(
            self.calibration_windows >= 1 and self.calibration_windows % WINDOWS_OF_UPDATE == 0,
            "calibration_windows",
            self.calibration_windows,
            f"a multiple of {WINDOWS_OF_UPDATE}, {WINDOWS_OF_UPDATE} or more",
        )
        if self.rounding != "nearest" and not RECIPES.get(self.quantize).blocks_in:
            raise ConfigError(
                f"rounding: {self.rounding} is for quantize=int4 and int4_all; received"
                f" quantize={self.quantize!r}"
            )
        recipes = FORMATS.get(self.format).recipes
        if recipes is not None and self.quantize not in recipes:
            raise ConfigError(
                f"quantize: expected one of {', '.join(recipes)}; received {self.quantize!r}, which"
                f" is not for format={self.format}"
            )
