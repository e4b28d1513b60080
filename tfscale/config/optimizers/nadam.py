"""The optimizer "nadam": Adam with Nesterov momentum."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Nadam(OptimizerSpec):
    """Nadam (Dozat 2016)."""

    name = "nadam"
    summary = "Adam with Nesterov momentum"
    keras_class = "tfscale.compat.keras_optimizers.Nadam"
    defaults = {"weight_decay": 0.0, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8}
    slots = 2
    # It keeps a product over the steps, which workers would multiply at the same time.
    by_entries = False
