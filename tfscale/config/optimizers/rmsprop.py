"""The optimizer "rmsprop": gradients divided by their root mean square."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class RMSprop(OptimizerSpec):
    """RMSprop (Hinton 2012)."""

    name = "rmsprop"
    summary = "gradients divided by their root mean square"
    keras_class = "keras.optimizers.RMSprop"
    sequential_factor = 0.3
    defaults = {
        "weight_decay": 0.0,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-7,
        "centered": False,
    }

    @classmethod
    def state_values(cls, model, options):
        slots = 1 + bool(options["momentum"]) + bool(options["centered"])
        return float(slots * model.parameter_count())
