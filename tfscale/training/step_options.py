"""The result of a block of train steps, and the optimizers that a train step takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras_trainer import KerasLoop
from tfscale.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class BlockResult:
    """Sums over a block of steps, and figures of its last step.

    `nll` is in nats, without label smoothing; `tokens` counts target tokens.

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
    """Refuses an optimizer that clips, averages, accumulates or scales, as the step does.

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
            "give the inner optimizer instead of LossScaleOptimizer; the step scales the loss"
            " itself"
        )
    factor = getattr(optimizer, "loss_scale_factor", None)
    if factor is not None:
        raise ConfigError(
            f"optimizer {optimizer.name!r} sets loss_scale_factor={factor!r} and would divide every"
            " gradient by it; leave it out: where the network computes in float16 (mixed_float16)"
            " the step scales the loss itself"
        )


def check_reduced_optimizer(optimizer: keras.optimizers.Optimizer, replicas: int) -> None:
    """Refuses an optimizer that cannot be right with gradients that are summed over the replicas.

    Clipping can: the step hands over the gradients of the whole batch.

    Raises:
        ConfigError: names the optimizer's setting and what to use instead.
    """
    instead = {"gradient_accumulation_steps": "micro_batches", "use_ema": "ema_decay"}
    for name, ours in instead.items():
        if replicas > 1 and getattr(optimizer, name, None):
            raise ConfigError(
                f"optimizer {optimizer.name!r} sets {name}, which Keras does in a condition that"
                f" several replicas cannot take part in; leave it out and give compile({ours}=...)"
            )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ConfigError(
            "give the inner optimizer instead of LossScaleOptimizer; the step scales the loss"
            " itself where the network computes in float16"
        )
    factor = getattr(optimizer, "loss_scale_factor", None)
    if factor is not None:
        raise ConfigError(
            f"optimizer {optimizer.name!r} sets loss_scale_factor={factor!r} and would divide every"
            " gradient by it; leave it out: where the network computes in float16 (mixed_float16)"
            " the step scales the loss itself"
        )


def check_no_own_step(model: KerasLoop, names: Sequence[str], instead: str) -> None:
    """Refuses a subclass that overrides what its training would not call.

    Args:
        model: of the subclass.
        names: methods of Keras's trainer that are not called.
        instead: what to do.

    Raises:
        ConfigError: names the method.
    """
    if own := [name for name in names if model.overrides(name)]:
        raise ConfigError(
            f"{type(model).__name__} overrides {own[0]}, which would not be called: the step is"
            f" tfscale's own; {instead}"
        )


def check_steps_per_execution(steps: object) -> None:
    """Refuses what is no number of steps; Keras would fail where it compares it, within `fit`.

    Raises:
        ConfigError: it is no whole number from 1 on.
    """
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise ConfigError(
            f"steps_per_execution is a whole number of steps from 1 on; received {steps!r}"
        )


def check_made_in_scope(
    optimizer: str | keras.optimizers.Optimizer, strategy: tf.distribute.Strategy
) -> None:
    """Refuses an optimizer whose variables are not those of the strategy.

    Raises:
        ConfigError: says how to make it.
    """
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return
    if not strategy.extended.variable_created_in_scope(optimizer.variables[0].value):
        raise ConfigError(
            f"optimizer {optimizer.name!r} was not made in the scope of the model's strategy, and"
            " its counter would be another one on each replica: make it in the same `with"
            " strategy.scope():`, or give its name"
        )
