"""The optimizer "sgd": gradient descent, with momentum."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.errors import ConfigError
from tfscale.registry import register


@register
class SGD(OptimizerSpec):
    """Stochastic gradient descent with momentum."""

    name = "sgd"
    summary = "gradient descent with momentum"
    keras_class = "keras.optimizers.SGD"
    learning_rate_factor = 30.0
    sequential_factor = 30.0
    defaults = {"weight_decay": 0.0, "momentum": 0.9, "nesterov": False}

    @classmethod
    def check(cls, options):
        if options["nesterov"] and not options["momentum"]:
            raise ConfigError("train.nesterov=True needs a train.momentum; it is 0.0")

    @classmethod
    def state_values(cls, model, options):
        return float(model.parameter_count()) if options["momentum"] else 0.0
