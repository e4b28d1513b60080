"""The optimizer "adam": Adam."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Adam(OptimizerSpec):
    """Adam (Kingma and Ba 2015)."""

    name = "adam"
    summary = "Adam without weight decay"
    keras_class = "keras.optimizers.Adam"
    defaults = {
        "weight_decay": 0.0,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "epsilon": 1e-8,
        "amsgrad": False,
    }

    @classmethod
    def state_values(cls, model, options):
        return (3.0 if options["amsgrad"] else 2.0) * model.parameter_count()
