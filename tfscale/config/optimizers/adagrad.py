"""The optimizer "adagrad": gradients divided by the root of the sum of their squares."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Adagrad(OptimizerSpec):
    """Adagrad (Duchi et al. 2011)."""

    name = "adagrad"
    summary = "gradients divided by the root of the sum of their squares"
    keras_class = "keras.optimizers.Adagrad"
    learning_rate_factor = 10.0
    sequential_factor = 3.0
    defaults = {"weight_decay": 0.0, "initial_accumulator_value": 0.1, "epsilon": 1e-7}
