"""The options of `tfscale train`: batch, optimizer, schedule, precision and what is written."""

import dataclasses
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from tfscale.config.choices import Precision
from tfscale.config.fields import rare
from tfscale.config.models import NetworkConfig
from tfscale.config.step import CompileOptions, StepOptions
from tfscale.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig(StepOptions):
    """Options of training: batch, optimizer, schedule, precision, and what is written when."""

    section: ClassVar[str] = "train"

    steps: int = 1000
    """Optimizer steps of the whole run."""
    global_batch_size: int = 32
    """Windows per optimizer step over all replicas (with parameter servers: of the one worker that
    takes the step); must be divisible by replicas x micro_batches."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu", "parameter_server"] = (
        "auto"
    )
    """Where to train: one device, all local devices (mirrored), all processes of the cluster that
    the environment names, in step (multi_worker) or each at its own pace (parameter_server), a TPU,
    or what machine and environment offer (auto)."""
    precision: Precision = "float32"
    """Compute type. mixed_float16 scales the loss dynamically; weights stay float32 in all
    three."""
    xla: Literal["auto", "on", "off"] = rare("auto")
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
    final_learning_rate_fraction: float = rare(0.1)
    """Learning rate at the last step, as a fraction of the peak. No effect with
    schedule=constant."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay per unit of learning rate; norms, biases and embeddings are
    left alone."""
    beta_1: float = rare(0.9)
    """AdamW's decay rate of the first moment."""
    beta_2: float = rare(0.99)
    """AdamW's decay rate of the second moment."""
    validate_every: int = 250
    """Optimizer steps between validations (and at the last step)."""
    validation_batches: int = rare(0)
    """Batches (of global_batch_size / micro_batches; of a stateful model of a window from each of 8
    streams) per validation during training; 0 takes the whole split, as the validation at the end
    always does."""
    checkpoint_every: int = 250
    """Optimizer steps between checkpoints (and at the last step)."""
    log_every: int = rare(20)
    """Optimizer steps per line of history.jsonl, and per call of the compiled training loop."""
    shuffle_windows: int = rare(65_536)
    """Windows in the shuffle buffers, over all of them; 1 reads in order. A stateful model always
    reads in order, and takes the default or 1."""
    result: Literal["best", "last"] = rare("best")
    """Weights that become the run's model: of the lowest validation loss, or the last. Without
    validation: the last."""
    tensorboard: bool = rare(True)
    """Write TensorBoard events to RUN_DIR/tensorboard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "steps",
            "global_batch_size",
            "validate_every",
            "checkpoint_every",
            "log_every",
            "shuffle_windows",
        ):
            self.check_range(getattr(self, name) >= 1, name, "1 or more")
        for name in ("warmup_steps", "validation_batches", "weight_decay"):
            self.check_range(getattr(self, name) >= 0, name, "0 or more")
        self.check_range(self.learning_rate >= 0, "learning_rate", "0 (the family's) or more")
        fraction = "final_learning_rate_fraction"
        self.check_range(0 <= self.final_learning_rate_fraction <= 1, fraction, "0 to 1")
        for name in ("beta_1", "beta_2"):
            self.check_range(0 <= getattr(self, name) < 1, name, "0 to below 1")
        if self.global_batch_size % self.micro_batches:
            raise ConfigError(
                f"train.global_batch_size={self.global_batch_size} is not divisible by "
                f"train.micro_batches={self.micro_batches}"
            )

    def for_model(self, model: NetworkConfig) -> "TrainConfig":
        """Returns the same options, with the learning rate of the model's family if none is named.

        Example:
            TrainConfig().for_model(LSTMConfig()).learning_rate    # 0.01
        """
        if self.learning_rate:
            return self
        return dataclasses.replace(self, learning_rate=model.learning_rate)

    def compile_options(
        self, *, xla: bool, streams: int = 0, pass_steps: int = 0
    ) -> CompileOptions:
        """Returns the arguments of `LanguageModel.compile` for these options.

        Args:
            xla: what `self.xla` comes to for the model and the device.
            streams: see `CompileOptions`.
            pass_steps: see `CompileOptions`.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(StepOptions)}
        return CompileOptions(**shared, xla=xla, streams=streams, pass_steps=pass_steps)
