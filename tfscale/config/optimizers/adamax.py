"""The optimizer "adamax": Adam by the largest gradient."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Adamax(OptimizerSpec):
    """Adamax (Kingma and Ba 2015, section 7.1)."""

    name = "adamax"
    summary = "Adam with the largest gradient for its mean square"
    keras_class = "keras.optimizers.Adamax"
    learning_rate_factor = 3.0
    defaults = {"weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    slots = 2
