"""The optimizer "muon": orthogonal steps for matrices, AdamW for the rest."""

from tfscale.config.optimizer import OptimizerSpec
from tfscale.registry import register


@register
class Muon(OptimizerSpec):
    """Muon (Jordan et al. 2024) for the matrices of hidden layers; AdamW for embeddings, output
    layers, norms and biases.
    """

    name = "muon"
    summary = "orthogonal steps for the matrices of hidden layers, AdamW for the rest"
    keras_class = "tfscale.training.muon.Muon"
    learning_rate_factor = 10.0
    sequential_factor = 3.0
    defaults = {
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "ns_steps": 0,
        "rms_rate": 0.2,
        "adam_lr_ratio": 1.0,
        "adam_beta_1": 0.9,
        "adam_beta_2": 0.99,
        "epsilon": 1e-8,
    }
    # A step depends on the whole matrix.
    by_entries = False
    matrices_argument = "matrices"

    @classmethod
    def state_values(cls, model, options):
        # A momentum for each weight, and a mean square for those of AdamW.
        matrices = sum(rows * columns for rows, columns in model.hidden_matrices())
        return float(2 * model.parameter_count() - matrices)
