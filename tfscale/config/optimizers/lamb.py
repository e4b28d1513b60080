"""The optimizer "lamb": Adam with steps in proportion to each weight."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Lamb(OptimizerSpec):
    """LAMB (You et al. 2020)."""

    name = "lamb"
    summary = "Adam with steps in proportion to each weight, for very large batches"
    keras_class = "keras.optimizers.Lamb"
    learning_rate_factor = 10.0
    defaults = {"weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
    slots = 2
    # A step depends on the norm of the whole weight.
    by_entries = False
