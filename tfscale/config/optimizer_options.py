"""The options of optimizers, under Keras's names.

Each optimizer has some of them; `tfscale.config.optimizers` says which, with their defaults. A new
option is a field here and an entry of RANGES in `tfscale.config.optimizer`.
"""

from dataclasses import dataclass
from typing import Annotated

from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.registry import OPTIMIZERS, NameIn


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """The optimizer and its options; None is the optimizer's own default."""

    optimizer: Annotated[str, NameIn(OPTIMIZERS, explained=True, or_empty=True)] = ""
    """Optimizer; empty takes that of the model's family: muon for transformer, lstm and gru (on
    parameter servers adamw), adamw for the others. An option that the chosen one does not have is
    refused; one that is left out has the optimizer's default."""
    weight_decay: float | None = None
    """Decoupled weight decay per unit of learning rate; norms, biases and embeddings are left
    alone. 0.1 with adamw and muon, 0.5 with lion, 0 with the others."""
    beta_1: float | None = rare(None)
    """Decay rate of the first moment; 0.9."""
    beta_2: float | None = rare(None)
    """Decay rate of the second moment; 0.99, or 0.999 with adamax and lamb."""
    epsilon: float | None = rare(None)
    """Added to what is divided by; 1e-8 with adamw, adam, nadam and muon, 1e-7 with the others."""
    momentum: float | None = rare(None)
    """Decay rate of the sum of gradients: 0.9 with sgd, 0.95 with muon, 0 with rmsprop."""
    nesterov: bool | None = rare(None)
    """Nesterov's momentum, which looks a step ahead: true with muon, false with sgd."""
    amsgrad: bool | None = rare(None)
    """adamw and adam: divide by the largest second moment so far; false."""
    rho: float | None = rare(None)
    """rmsprop: decay rate of the mean square; 0.9."""
    centered: bool | None = rare(None)
    """rmsprop: divide by the variance of the gradients, not by their mean square; false."""
    initial_accumulator_value: float | None = rare(None)
    """adagrad: first value of the sums of squares; 0.1."""
    beta_2_decay: float | None = rare(None)
    """adafactor: exponent by which the mean square forgets, 1 - step^x; -0.8."""
    epsilon_1: float | None = rare(None)
    """adafactor: added to the squared gradient; 1e-30."""
    epsilon_2: float | None = rare(None)
    """adafactor: least root mean square of a weight that its steps are in proportion to; 1e-3."""
    clip_threshold: float | None = rare(None)
    """adafactor: largest root mean square of an update; 1."""
    ns_steps: int | None = rare(None)
    """muon: steps of Keras's Newton-Schulz iteration; 0 takes a shorter iteration of tfscale with
    no larger error."""
    rms_rate: float | None = rare(None)
    """muon: root mean square of an update per unit of learning rate, so that AdamW's learning rates
    suit; 0.2. With 0 the singular values of an update are 1 (Keras: None)."""
    adam_lr_ratio: float | None = rare(None)
    """muon: learning rate of AdamW's weights as a multiple of the matrices'; 1."""
    adam_beta_1: float | None = rare(None)
    """muon: beta_1 of AdamW's weights; 0.9."""
    adam_beta_2: float | None = rare(None)
    """muon: beta_2 of AdamW's weights; 0.99."""
