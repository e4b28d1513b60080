"""The optimizer "adafactor": squared gradients by row and column."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Adafactor(OptimizerSpec):
    """Adafactor (Shazeer and Stern 2018), with the learning rate of the schedule.

    Keras keeps the whole mean square of a weight beside its rows and columns, so that it takes half
    of Adam's memory and not less.
    """

    name = "adafactor"
    summary = "squared gradients by row and column, steps in proportion to each weight"
    keras_class = "keras.optimizers.Adafactor"
    learning_rate_factor = 30.0
    sequential_factor = 10.0
    defaults = {
        "weight_decay": 0.0,
        "beta_2_decay": -0.8,
        "epsilon_1": 1e-30,
        "epsilon_2": 1e-3,
        "clip_threshold": 1.0,
    }
    # Keras does not look at it where there is a schedule, and here there always is one.
    fixed = {"relative_step": False}
    # A step depends on the mean squares of the whole weight, of its rows and of its columns.
    by_entries = False

    @classmethod
    def state_values(cls, model, options):
        products = [(k, n) for _, k, n in model.matmul_shapes(1)]
        rows_and_columns = sum(k + n for k, n in products + model.lookup_tables())
        return float(model.parameter_count() + rows_and_columns)
