"""The optimizer "lion": the sign of a momentum."""

from tfscale.config.optimizer import POSITIVE_RATE, OptimizerSpec
from tfscale.registry import register


@register
class Lion(OptimizerSpec):
    """Lion (Chen et al. 2023)."""

    name = "lion"
    summary = "the sign of a momentum; half of Adam's memory"
    keras_class = "keras.optimizers.Lion"
    learning_rate_factor = 0.3
    sequential_factor = 0.1
    # Chen et al.: a learning rate of a third to a tenth of AdamW's, with as much more decay.
    defaults = {"weight_decay": 0.5, "beta_1": 0.9, "beta_2": 0.99}
    ranges = {"beta_1": POSITIVE_RATE}
