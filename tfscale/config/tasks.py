"""The options of `tfscale finetune`, `tfscale explain` and `tfscale swap`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.errors import ConfigError, check_range
from tfscale.files.folders import claim_page
from tfscale.registry import TASKS, NameIn


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Options):
    """Options of a fine-tuning: a trained run and labelled examples give a model of a task."""

    task: Annotated[str, NameIn(TASKS, explained=True)]
    """The kind of result."""
    output: str
    """Folder to write; it must be absent, empty, or an earlier one of this command (which is
    replaced)."""
    train: list[str] = field(default_factory=list)
    """Files of training examples: .jsonl, .csv or .tsv with a head, .parquet, or .conll (a word and
    its tag a line); also packed (.gz, .zst), in folders and in archives."""
    validation: list[str] = field(default_factory=list)
    """Files of validation examples, which decide when to stop; without them a tenth of the training
    examples."""
    test: list[str] = field(default_factory=list)
    """Files of test examples, scored at the end."""
    text_field: str = "text"
    """Column or key of the text (for answer `context`, for translate and summarize `source` is also
    found)."""
    label_field: str = "label"
    """Column or key of the label (for answer `answer`, for translate and summarize `target` is also
    found)."""
    labels_separator: str = rare("")
    """The text between the labels of a text that may have several or none; empty: each text has one
    label."""
    sequence_length: int = 0
    """Most tokens of an example; longer ones are cut, and 0 takes the run's. Not for translate and
    summarize, which take source_length and target_length."""
    architecture: Literal["prefix", "encoder_decoder"] | None = rare(None)
    """For translate and summarize. prefix (if left out): the run itself, which sees the source in
    both directions; encoder_decoder: two stacks that start from the run's weights, and attention
    between them that is new."""
    source_length: int = rare(0)
    """For translate and summarize: most tokens of the source and its two ends; 0 takes half of the
    run's context."""
    target_length: int = rare(0)
    """For translate and summarize: most tokens of the text that is written; 0 takes half of the
    run's context."""
    epochs: int = 10
    """Most passes over the training examples."""
    patience: int = rare(2)
    """Passes without a lower validation loss after which training stops; the best weights are
    kept."""
    global_batch_size: int = 16
    """Examples per optimizer step."""
    learning_rate: float = 0.0
    """Peak learning rate, after a warm-up of a tenth of the steps; 0 takes 1e-4 where all weights
    of the run are trained for labels, 1e-3 where they stay (freeze, lora_rank) and for translate
    and summarize."""
    dropout: float = rare(0.1)
    """Dropout rate before the head; for translate and summarize in all layers, instead of the
    run's."""
    freeze: bool = False
    """Train only the head; the run's weights stay. Not for translate and summarize, which have no
    head."""
    lora_rank: int = 0
    """Train, besides the head, a low-rank addition to each dense layer of the run (Hu et al. 2022);
    0 trains all. Not for an encoder_decoder."""
    balance: Literal["none", "weights", "resample"] = rare("none")
    """For labels of unequal frequency: weigh each example by the inverse of its label's frequency,
    or draw rare labels as often as frequent ones. For classify with one label."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = rare("float32")
    """Compute type, as in train."""
    strategy: Literal["auto", "single", "mirrored"] = rare("auto")
    """Where to train, as in train."""
    seed: int = 0
    """Seed of the head, of the order, and of the examples held out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.train:
            raise ConfigError("give the files of the training examples: --train FILE.jsonl")
        for name in ("epochs", "global_batch_size", "patience"):
            check_range(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        check_range(
            self.sequence_length == 0 or self.sequence_length >= 4,
            "sequence_length",
            self.sequence_length,
            "0 (the run's), or 4 or more",
        )
        check_range(
            self.learning_rate >= 0,
            "learning_rate",
            self.learning_rate,
            "0 (one that suits) or more",
        )
        check_range(0 <= self.dropout < 1, "dropout", self.dropout, "0 to below 1")
        check_range(
            self.lora_rank >= 0, "lora_rank", self.lora_rank, "0 (train all weights) or more"
        )
        check_range(self.seed >= 0, "seed", self.seed, "0 or more")
        if self.freeze and self.lora_rank:
            raise ConfigError(
                "freeze trains the head alone, lora_rank an addition to the layers; give one of"
                " them"
            )
        TASKS.get(self.task).check_options(self)

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, or one that suits the weights that are trained: a whole run forgets
        what it knows at a high one."""
        if self.freeze or self.lora_rank:
            return self.learning_rate or 1e-3
        return self.learning_rate or float(TASKS.get(self.task).learning_rate)


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(Options):
    """Options of an explanation: a text, and how its prediction is explained."""

    text: str
    """The text; for a language model its last token is the prediction that is explained."""
    method: Literal["integrated_gradients", "lime"] = "integrated_gradients"
    """integrated_gradients: a weight for each token, in nats; lime: a weight for each word, for
    classifiers only."""
    label: str = ""
    """The label of a classifier that is explained; empty takes the most probable one."""
    steps: int = 50
    """Points of the integral, with method=integrated_gradients."""
    samples: int = 1000
    """Texts with words left out that lime fits its weights to, with method=lime."""
    seed: int = 0
    """Seed of lime's samples."""
    output: str = ""
    """HTML file to write, with the text coloured by weight."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text.strip():
            raise ConfigError("the text is empty; give one of a word or more")
        for name, method in (
            ("steps", "integrated_gradients"),
            ("samples", "lime"),
            ("seed", "lime"),
        ):
            value = getattr(self, name)
            if self.method != method and value != getattr(type(self), name):
                raise ConfigError(f"{name}={value} has no effect with method={self.method}")
        check_range(self.steps >= 1, "steps", self.steps, "1 or more")
        check_range(self.samples >= 10, "samples", self.samples, "10 or more")
        check_range(self.seed >= 0, "seed", self.seed, "0 or more")
        if self.output:
            claim_page(self.output)


@dataclass(frozen=True, kw_only=True)
class SwapConfig(Options):
    """Options of a swap: texts, and pairs of words that take each other's places in them."""

    text: list[str]
    """Files of texts: .jsonl, .csv or .tsv with a head, .parquet, or .txt with a text on each
    line."""
    pairs: str
    """File with a pair of words a line, such as he and she, with a tab, a comma or white space
    between."""
    text_field: str = "text"
    """Column or key of the text, with dots for one within another. No effect on .txt."""
    threads: int = 1
    """CPU threads; no effect on a run."""
    seed: int = 0
    """Seed of the bootstrap."""
    output: str = ""
    """HTML file to write, with the table and a picture of the intervals."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text:
            raise ConfigError("give the files of the texts: --text FILE.txt")
        check_range(self.threads >= 1, "threads", self.threads, "1 or more")
        check_range(self.seed >= 0, "seed", self.seed, "0 or more")
        if self.output:
            claim_page(self.output)
