"""The options of `tfscale train`: batch, optimizer, schedule, precision and what is written."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfscale.config.choices import Precision
from tfscale.config.models import NetworkConfig
from tfscale.config.options import Options
from tfscale.errors import ConfigError, check_range


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options):
    """How a model is trained: batch, optimizer, schedule, precision, and what is written when."""

    section: ClassVar[str] = "train"

    steps: int = 1000
    """Optimizer steps of the whole run."""
    global_batch_size: int = 32
    """Windows per optimizer step over all replicas (with parameter servers: of the one worker that
    takes the step); must be divisible by replicas x micro_batches."""
    micro_batches: int = 1
    """Parts into which each replica cuts its batch, one after the other: less memory, the same
    answer."""
    remat: bool = False
    """Compute the activations of Transformer blocks and LSTM layers again in the backward pass:
    less memory, the same answer, up to a third more work."""
    loss_chunk_tokens: int = 0
    """Most tokens of a replica whose logits are held at once; the logits of a large vocabulary are
    most of a small model's memory. 0 holds all of a micro-batch."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu", "parameter_server"] = (
        "auto"
    )
    """Where to train: one device, all local devices (mirrored), all processes of the cluster that
    the environment names, in step (multi_worker) or each at its own pace (parameter_server), a TPU,
    or what machine and environment offer (auto)."""
    precision: Precision = "float32"
    """Compute type. mixed_float16 scales the loss dynamically; weights stay float32 in all
    three."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile forward and backward by XLA; auto is on, except for an LSTM on a GPU, where cuDNN is
    faster. A TPU compiles by itself."""
    learning_rate: float = 0.0
    """Peak learning rate; 0 takes one that suits the model's family: 1e-2 for lstm, 5e-3 for gru,
    rnn and bilstm, 1e-3 for the others."""
    warmup_steps: int = 100
    """Optimizer steps over which the learning rate rises linearly to its peak."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: half a cosine down to final_learning_rate_fraction, or
    constant."""
    final_learning_rate_fraction: float = 0.1
    """Learning rate at the last step, as a fraction of the peak. No effect with
    schedule=constant."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay per unit of learning rate; norms, biases and embeddings are
    left alone."""
    beta_1: float = 0.9
    """AdamW's decay rate of the first moment."""
    beta_2: float = 0.99
    """AdamW's decay rate of the second moment."""
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 does not clip."""
    label_smoothing: float = 0.0
    """Probability mass spread over the vocabulary in the training target, 0 to below 1. Reported
    losses have none."""
    ema_decay: float = 0.0
    """Decay per step of a moving average of the weights, which is validated and becomes the result;
    0 keeps none. After t steps it is at most (1 + t) / (10 + t), as in
    tf.train.ExponentialMovingAverage with num_updates, so that the random first weights do not
    linger in the average."""
    validate_every: int = 250
    """Optimizer steps between validations (and at the last step)."""
    validation_batches: int = 0
    """Batches (of global_batch_size / micro_batches; of a stateful model of a window from each of 8
    streams) per validation during training; 0 takes the whole split, as the validation at the end
    always does."""
    checkpoint_every: int = 250
    """Optimizer steps between checkpoints (and at the last step)."""
    log_every: int = 20
    """Optimizer steps per line of history.jsonl, and per call of the compiled training loop."""
    shuffle_windows: int = 65_536
    """Windows in the shuffle buffers, over all of them; 1 reads in order. A stateful model always
    reads in order, and takes the default or 1."""
    result: Literal["best", "last"] = "best"
    """Weights that become the run's model: of the lowest validation loss, or the last. Without
    validation: the last."""
    tensorboard: bool = True
    """Write TensorBoard events to RUN_DIR/tensorboard."""
    seed: int = 0
    """Seed of initial weights, data order and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one = (
            "steps",
            "global_batch_size",
            "micro_batches",
            "validate_every",
            "checkpoint_every",
            "log_every",
            "shuffle_windows",
        )
        for name in at_least_one:
            check_range(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")
        for name in (
            "loss_chunk_tokens",
            "warmup_steps",
            "validation_batches",
            "weight_decay",
            "clip_norm",
            "seed",
        ):
            check_range(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        check_range(
            self.learning_rate >= 0,
            "train.learning_rate",
            self.learning_rate,
            "0 (the family's) or more",
        )
        check_range(
            0 <= self.final_learning_rate_fraction <= 1,
            "train.final_learning_rate_fraction",
            self.final_learning_rate_fraction,
            "0 to 1",
        )
        for name in ("beta_1", "beta_2", "label_smoothing", "ema_decay"):
            check_range(
                0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "0 to below 1"
            )
        if self.global_batch_size % self.micro_batches:
            raise ConfigError(
                f"train.global_batch_size={self.global_batch_size} is not divisible by "
                f"train.micro_batches={self.micro_batches}"
            )

    def for_model(self, model: NetworkConfig) -> "TrainConfig":
        """The same options, with the learning rate of the model's family where none is named.

        Example:
            TrainConfig().for_model(LSTMConfig()).learning_rate    # 0.01
        """
        return (
            self
            if self.learning_rate
            else dataclasses.replace(self, learning_rate=model.learning_rate)
        )
