"""The options of `tfscale train`: batch, optimizer, schedule, precision and what is written."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from tfscale.config.choices import Packing, Precision
from tfscale.config.fields import rare
from tfscale.config.mixing import check_weights
from tfscale.config.models import NetworkConfig
from tfscale.config.optimizer import OPTIONS, check_optimizer_options
from tfscale.config.optimizer_options import OptimizerOptions
from tfscale.config.schedule import SCHEDULE_OPTIONS, Schedule, takers
from tfscale.config.step import CompileOptions, StepOptions
from tfscale.errors import ConfigError
from tfscale.registry import OPTIMIZERS, SCHEDULES, NameIn

DEFAULT_STEPS = 1000
LARGEST_RATE = 3.4028235e38
LENGTHS = ("steps", "epochs", "minutes")
"""Options that say how long a training is, of which one is given or none."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(OptimizerOptions, StepOptions):
    """Options of training: batch, optimizer, schedule, precision, and what is written when."""

    section: ClassVar[str] = "train"
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "adamw"}

    steps: int | None = None
    """Optimizer steps of the whole run; 1000 where neither steps nor epochs nor minutes is
    given."""
    epochs: float | None = None
    """Passes over the training windows instead of steps, such as 2 or 0.5."""
    minutes: float | None = None
    """Minutes of the whole run instead of steps, from the compilation of the train step to the last
    step; what comes after that, such as the last validation, is not counted."""
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
    faster, and in mixed_bfloat16 on a CPU, where a trial of a second or two decides. A TPU compiles
    by itself."""
    learning_rate: float = 0.0
    """Peak learning rate; 0 takes one that suits the model's family and the optimizer: 1e-2 for
    transformer with muon; with adamw 1e-2 for lstm, 5e-3 for gru, rnn and bilstm, 1e-3 for the
    others."""
    warmup_steps: int = 100
    """Optimizer steps over which the learning rate rises linearly to its peak."""
    schedule: Annotated[str, NameIn(SCHEDULES, explained=True)] = "cosine"
    """Learning rate after the warm-up."""
    final_learning_rate_fraction: float | None = rare(None)
    """Learning rate at the last step, as a fraction of the peak: by default 0.1 for cosine and
    linear, 0 for wsd."""
    decay_fraction: float | None = rare(None)
    """Share of the run that is the decay of wsd, at its end: by default 0.2."""
    decay_steps: int | None = rare(None)
    """Optimizer steps of the decay of wsd, instead of decay_fraction."""
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
    packing: Packing = "stream"
    """What a training window is made of: stream, the next tokens of the text, wherever documents
    begin and end; or best_fit, whole documents, and pieces of those that are longer than a window.
    What is left free at its end counts nothing. best_fit needs document_mask."""
    shuffle_windows: int = rare(65_536)
    """Windows in the shuffle buffers, over all of them; 1 reads in order. A stateful model always
    reads in order, and takes the default or 1."""
    mix: dict[str, float] | None = rare(None)
    """Weights of the sources that the data was prepared of, such as web=0.7 code=0.3: each has its
    share of the windows of any stretch of the training, and is read again where it is shorter. By
    default they are weighed by their tokens."""
    result: Literal["best", "last"] = rare("best")
    """Weights that become the run's model: of the lowest validation loss, or the last. Without
    validation: the last."""
    tensorboard: bool = rare(True)
    """Write TensorBoard events to RUN_DIR/tensorboard."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_length()
        self._check_schedule()
        for name in (
            "global_batch_size",
            "validate_every",
            "checkpoint_every",
            "log_every",
            "shuffle_windows",
        ):
            self.check_range(getattr(self, name) >= 1, name, "1 or more")
        for name in ("warmup_steps", "validation_batches"):
            self.check_range(getattr(self, name) >= 0, name, "0 or more")
        if self.mix is not None:
            check_weights(self.mix)
        if self.packing == "best_fit" and not self.document_mask:
            raise ConfigError(
                "train.packing=best_fit puts documents side by side that have nothing to do with"
                " each other, and needs train.document_mask=true, by which each is read by itself;"
                " give both"
            )
        self.check_range(
            0 <= self.learning_rate <= LARGEST_RATE,
            "learning_rate",
            f"0 (the family's) to {LARGEST_RATE:g}, the largest number of float32",
        )
        check_optimizer_options(self.optimizer, vars(self))
        if self.global_batch_size % self.micro_batches:
            raise ConfigError(
                f"train.global_batch_size={self.global_batch_size} is not divisible by "
                f"train.micro_batches={self.micro_batches}"
            )

    def _check_length(self) -> None:
        """Checks steps, epochs and minutes, of which at most one is given."""
        for name, expected in zip(
            LENGTHS, ("1 or more", "more than 0", "more than 0"), strict=True
        ):
            value = getattr(self, name)
            self.check_range(value is None or value > 0, name, expected)
        given = [f"{name}={getattr(self, name)}" for name in self._lengths]
        if len(given) > 1:
            raise ConfigError(
                f"give one of train.steps, train.epochs and train.minutes; received"
                f" {' and '.join(given)}"
            )

    def _check_schedule(self) -> None:
        """Checks the options of the schedule, and refuses those that it does not read."""
        kind: type[Schedule] = SCHEDULES.get(self.schedule)
        for name in SCHEDULE_OPTIONS:
            value = getattr(self, name)
            if value is not None and name not in kind.takes:
                raise ConfigError(
                    f"train.{name}={value} has no effect with train.schedule={self.schedule}; leave"
                    f" it out, or take one of {', '.join(takers(name))}"
                )
        fraction = self.final_learning_rate_fraction
        self.check_range(
            fraction is None or 0 <= fraction <= 1, "final_learning_rate_fraction", "0 to 1"
        )
        share, steps = self.decay_fraction, self.decay_steps
        self.check_range(share is None or 0 < share <= 1, "decay_fraction", "above 0 to 1")
        self.check_range(steps is None or steps >= 1, "decay_steps", "1 or more")
        if steps is not None and share is not None:
            raise ConfigError(
                f"give either train.decay_fraction or train.decay_steps; received {share} and"
                f" {steps}"
            )
        if steps is not None and self.minutes is not None:
            raise ConfigError(
                f"train.decay_steps={steps} needs to know where the steps end, and"
                " train.minutes does not say; give train.decay_fraction"
            )

    @property
    def _lengths(self) -> list[str]:
        return [name for name in LENGTHS if getattr(self, name) is not None]

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run.

        Raises:
            ConfigError: it is given in epochs, which the data makes into steps, or in minutes.
        """
        if self.epochs is not None or self.minutes is not None:
            raise ConfigError(
                f"train.{self._lengths[0]} is given, from which the number of steps does not follow"
                " without the data and the machine; give train.steps"
            )
        return DEFAULT_STEPS if self.steps is None else self.steps

    @property
    def length_in_words(self) -> str:
        """How long the training is, as it was asked for: "1,000 steps", "5 minutes"."""
        if self.minutes is not None:
            return f"{self.minutes:g} minutes"
        return f"{self.total_steps:,} steps" if self.epochs is None else f"{self.epochs:g} epochs"

    def of_steps(self, steps: int) -> "TrainConfig":
        """Returns the same options for a run of so many steps, whatever length was given."""
        return dataclasses.replace(self, steps=steps, epochs=None, minutes=None)

    def chosen_schedule(self, steps: int) -> Schedule:
        """Returns the schedule for a run of so many steps."""
        kind: type[Schedule] = SCHEDULES.get(self.schedule)
        given = {name: getattr(self, name) for name in SCHEDULE_OPTIONS}
        return kind(steps, self.warmup_steps, kind.completed(given))

    def optimizer_for(self, model: NetworkConfig, by_entries: bool = False) -> str:
        """Returns the name of the optimizer: the one that was asked for, or the family's.

        Args:
            model: the architecture.
            by_entries: whether each number of a weight is updated by itself, as on parameter
                servers, which cut large weights. A family's optimizer that cannot do so gives way
                to that of all families, AdamW; one that was asked for does not.
        """
        name = self.optimizer or model.optimizer
        if by_entries and not self.optimizer and not OPTIMIZERS.get(name).by_entries:
            return NetworkConfig.optimizer
        return name

    def for_model(self, model: NetworkConfig, by_entries: bool = False) -> "TrainConfig":
        """Returns the same options with the defaults that depend on others filled in.

        They are the optimizer, which is that of the model's family, the learning rate, which is
        that of both, the options of optimizer and schedule, and the steps where no length is given.
        A run keeps them, so that a default that changes later does not change a run that goes on.

        Args:
            model: the architecture.
            by_entries: see `optimizer_for`.

        Raises:
            ConfigError: an option that the family's optimizer does not have.

        Example:
            TrainConfig().for_model(LSTMConfig()).learning_rate    # 0.03
        """
        name = self.optimizer_for(model, by_entries)
        why = "" if self.optimizer else f", the default of the family {model.family}"
        check_optimizer_options(name, vars(self), why)
        spec = OPTIMIZERS.get(name)
        filled: dict[str, Any] = {
            "optimizer": name,
            "learning_rate": self.learning_rate or spec.learning_rate_for(model),
            **spec.options_of(vars(self)),
            **self.chosen_schedule(DEFAULT_STEPS).options,
        }
        if not self._lengths:
            filled["steps"] = DEFAULT_STEPS
        return dataclasses.replace(self, **filled)

    def with_optimizer(self, optimizer: str) -> "TrainConfig":
        """Returns the same options with an optimizer, and the defaults of it if it is another one.

        Example:
            TrainConfig(optimizer="muon", ns_steps=5).with_optimizer("adamw").ns_steps    # None
        """
        if optimizer == self.optimizer:
            return self
        options: dict[str, Any] = dict.fromkeys(OPTIONS)
        return dataclasses.replace(self, optimizer=optimizer, **options)

    @classmethod
    def of_record(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        # A final learning rate was written down for every schedule, and meant something for the
        # cosine alone.
        unused = {SCHEDULE_OPTIONS[0]} if options.get("schedule") == "constant" else set()
        filled = super().of_record(options)
        return {name: value for name, value in filled.items() if name not in unused}

    def compile_options(
        self,
        *,
        xla: bool,
        streams: int = 0,
        pass_steps: int = 0,
        document_start: int | None = None,
        document_end: int | None = None,
    ) -> CompileOptions:
        """Returns the arguments of `LanguageModel.compile` for these options.

        Args:
            xla: what `self.xla` comes to for the model and the device.
            streams: see `CompileOptions`.
            pass_steps: see `CompileOptions`.
            document_start: what the model reads before each document; only with `document_mask`
                does it become an option.
            document_end: the target that ends each document; only with `packing` does it become an
                option.
        """
        shared = {field.name: getattr(self, field.name) for field in fields(StepOptions)}
        return CompileOptions(
            **shared,
            xla=xla,
            streams=streams,
            pass_steps=pass_steps,
            document_start=document_start if self.document_mask else None,
            document_end=document_end if self.packing == "best_fit" else None,
        )
