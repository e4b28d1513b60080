"""The optimizer "adamw": AdamW, the default of every family but the Transformer."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class AdamW(OptimizerSpec):
    """AdamW (Loshchilov and Hutter 2019)."""

    name = "adamw"
    summary = "Adam with decoupled weight decay"
    keras_class = "keras.optimizers.AdamW"
    defaults = {
        "weight_decay": 0.1,
        "beta_1": 0.9,
        "beta_2": 0.99,
        "epsilon": 1e-8,
        "amsgrad": False,
    }

    @classmethod
    def state_values(cls, model, options):
        return (3.0 if options["amsgrad"] else 2.0) * model.parameter_count()
