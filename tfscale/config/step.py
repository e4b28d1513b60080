"""The options of the train step: declared here, and used by `TrainConfig`, by `compile` of
`LanguageModel` and `Model`, and by the step itself.

A new option is a field of `StepOptions` and a line of `StepKeywords`, or of `ModelKeywords` if it
means something for any Keras model.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict

from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.errors import ConfigError

DocumentPositions: TypeAlias = Literal["restart", "continue"]
"""Whether a table of positions counts anew in each document, or on through the window."""


@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """Options of what a train step does besides the gradient and the update."""

    micro_batches: int = 1
    """Parts into which each replica cuts its batch, one after the other: less memory, the same
    answer."""
    remat: bool = rare(False)
    """Compute the activations of Transformer blocks and LSTM layers again in the backward pass:
    less memory, the same answer, up to a third more work."""
    loss_chunk_tokens: int = rare(0)
    """Most tokens of a replica whose logits are held at once; the logits of a large vocabulary are
    most of a small model's memory. 0 holds all of a micro-batch."""
    clip_norm: float = rare(1.0)
    """Largest global gradient norm; 0 does not clip."""
    label_smoothing: float = rare(0.0)
    """Probability mass spread over the vocabulary in the training target, 0 to below 1. Reported
    losses have none."""
    ema_decay: float = rare(0.0)
    """Decay per step of a moving average of the weights, which is validated and becomes the result;
    0 keeps none. After t steps it is at most (1 + t) / (10 + t), as in
    tf.train.ExponentialMovingAverage with num_updates, so that the random first weights do not
    linger in the average."""
    document_mask: bool = False
    """Keep the documents of a window apart: no attention and no recurrent state goes across the
    beginning of a document, in training and in every validation and evaluation of the run."""
    document_positions: DocumentPositions = rare("restart")
    """With document_mask, whether learned positions count anew in each document, as if it stood
    alone, or on through the window. No effect with rotary positions and in recurrent networks."""
    seed: int = 0
    """Seed of dropout; when a run is trained, also of the initial weights and the data order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_range(self.micro_batches >= 1, "micro_batches", "1 or more")
        for name in ("loss_chunk_tokens", "clip_norm", "seed"):
            self.check_range(getattr(self, name) >= 0, name, "0 or more")
        for name in ("label_smoothing", "ema_decay"):
            self.check_range(0 <= getattr(self, name) < 1, name, "0 to below 1")
        if self.document_positions != "restart" and not self.document_mask:
            raise ConfigError(
                f"{self._named('document_positions')}={self.document_positions} has no effect"
                f" without {self._named('document_mask')}=true; leave it out, or give both"
            )


@dataclass(frozen=True, kw_only=True)
class CompileOptions(StepOptions):
    """The options of `LanguageModel.compile`: those of the step, and what `tfscale.train` finds
    out by itself."""

    xla: bool | None = None
    """Compile forward and backward by XLA; None does, but for layers in bfloat16 on a CPU where a
    short trial of the processor finds that it is slower."""
    streams: int = 0
    """Rows of every batch, each of which goes on where that of the batch before stopped: for a
    network whose config is stateful, and for no other one."""
    pass_steps: int = 0
    """With streams, the steps after which the carried state is zero again; 0 for never."""
    document_start: int | None = None
    """With document_mask, the id that the network reads before each document: `tokenizer.start_id`
    of the tokenizer that made the ids."""
    document_end: int | None = None
    """With document_mask, the target that ends each document, `tokenizer.end_id`, where pieces from
    within documents stand beside others, as in rows of training_dataset(packing="best_fit"): what
    comes after it belongs to another one, whatever it begins with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("streams", "pass_steps"):
            self.check_range(getattr(self, name) >= 0, name, "0 or more")
        start = self.document_start
        for name in ("document_start", "document_end"):
            id = getattr(self, name)
            self.check_range(id is None or id >= 0, name, "0 or more")
        if self.document_mask and start is None:
            raise ConfigError(
                "document_mask=True needs document_start, the id that the network reads before each"
                " document: tokenizer.start_id of the tokenizer that made the ids"
            )
        for name in ("document_start", "document_end"):
            if getattr(self, name) is not None and not self.document_mask:
                raise ConfigError(
                    f"{name}={getattr(self, name)} has no effect without document_mask=True; give"
                    " both"
                )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(CompileOptions):
    """The options of `Model.compile` besides Keras's own: those that `ModelKeywords` names."""

    clip_norm: float = 0.0
    """Largest global gradient norm; 0 does not clip, as in Keras."""
    remat: bool = False
    """Keep what goes from block to block, and compute the activations in a block again in the
    backward pass: less memory, the same answer, up to a third more work. Blocks are runs of layers
    of a functional or Sequential model, and the layers of a subclassed one."""
    xla: bool | None = None
    """Compile forward and backward by XLA; None does where the layers allow it and it is fast."""


class ModelKeywords(TypedDict, total=False):
    """The fields of `ModelOptions` that any Keras model has, for type checkers."""

    micro_batches: int
    remat: bool
    clip_norm: float
    ema_decay: float
    seed: int
    xla: bool | None


class StepKeywords(ModelKeywords, total=False):
    """The fields of `CompileOptions` as keyword arguments, for type checkers."""

    loss_chunk_tokens: int
    label_smoothing: float
    streams: int
    pass_steps: int
    document_mask: bool
    document_positions: DocumentPositions
    document_start: int | None
    document_end: int | None
