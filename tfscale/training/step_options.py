"""What a train step is told, what it tells, and which optimizers it takes."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras

from tfscale.config.options import Options
from tfscale.errors import ConfigError, TrainingError, check_range


@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """What the step does besides the gradient; see `TrainConfig` for the meaning of each field.

    `streams` are the rows whose state a stateful network carries from step to step (0: none), and
    after `pass_steps` steps it is zero again (0: never).
    """

    micro_batches: int = 1
    remat: bool = False
    loss_chunk_tokens: int = 0
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    xla: bool = True
    seed: int = 0
    streams: int = 0
    pass_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.micro_batches >= 1, "micro_batches", self.micro_batches, "1 or more")
        for name in ("loss_chunk_tokens", "clip_norm", "seed", "streams", "pass_steps"):
            check_range(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("label_smoothing", "ema_decay"):
            check_range(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")


@dataclass(frozen=True)
class BlockResult:
    """Sums over a block of steps: loss in nats without label smoothing, target tokens, and what the
    last step saw.

    Steps that were skipped because a gradient overflowed are in neither sum. `first_bad_step` is
    the first step whose loss or gradient was not finite with no loss scale left to halve: the
    training has diverged; -1 is none.
    """

    nll: float
    tokens: float
    gradient_norm: float
    input_seconds: float
    overflows: int
    first_bad_step: int

    def check(self, scaled: bool) -> None:
        """Checks that the training has not diverged.

        Args:
            scaled: whether the loss is scaled for float16.

        Raises:
            TrainingError: it has; names the step.
        """
        if self.first_bad_step >= 0:
            scale = ", though the loss scale is 1 and cannot be halved" if scaled else ""
            raise TrainingError(
                f"the loss or a gradient is not finite at step {self.first_bad_step}{scale}; the"
                " weights are those before it. Lower the learning rate or the clip norm, or look"
                " at the data"
            )


def check_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuses an optimizer that clips, averages, accumulates or scales: the step does these after
    the all-reduce.

    Raises:
        ConfigError: names the optimizer's setting and what to use instead.
    """
    instead = {
        "clipnorm": "clip_norm",
        "clipvalue": "clip_norm",
        "global_clipnorm": "clip_norm",
        "use_ema": "ema_decay",
        "gradient_accumulation_steps": "micro_batches",
    }
    for name, ours in instead.items():
        if getattr(optimizer, name, None):
            raise ConfigError(
                f"optimizer {optimizer.name!r} sets {name}; on several replicas Keras does it"
                f" before the all-reduce. Leave it out and give compile({ours}=...)"
            )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ConfigError(
            "give the inner optimizer in the place of LossScaleOptimizer; the step scales the loss"
            " itself"
        )
    factor = getattr(optimizer, "loss_scale_factor", None)
    if factor is not None:
        raise ConfigError(
            f"optimizer {optimizer.name!r} sets loss_scale_factor={factor!r} and would divide every"
            " gradient by it; leave it out: where the network computes in float16 (mixed_float16)"
            " the step scales the loss itself"
        )


def options_from(config: Any, xla: bool, streams: int = 0, pass_steps: int = 0) -> StepOptions:
    """The step's part of a `TrainConfig`, and what is not part of it."""
    names = {field.name for field in dataclasses.fields(StepOptions)} - {
        "xla",
        "streams",
        "pass_steps",
    }
    shared = {name: getattr(config, name) for name in names}
    return StepOptions(xla=xla, streams=streams, pass_steps=pass_steps, **shared)
