"""The options of `tfscale compress`; those of smaller sizes are in `tfscale.config.shrinking`."""

import dataclasses
import re
from dataclasses import MISSING, dataclass, field
from typing import Annotated, ClassVar, Literal

from tfscale.config.fields import rare
from tfscale.config.options import Options
from tfscale.errors import ConfigError, check_range
from tfscale.registry import RECIPES, NameIn


@dataclass(frozen=True, kw_only=True)
class CompressConfig(Options):
    """A trained run to a smaller one of the same quality, by fine-tuning."""

    output: str
    """Run folder to write, or to go on with."""
    data: str | None = None
    """Data folder to fine-tune on; the run's own if left out."""
    steps: int = 1000
    """Optimizer steps of the fine-tuning; of all candidates together where there are bounds."""
    learning_rate: float = 3e-4
    """Peak learning rate of the fine-tuning. All other training options are those of the run."""
    quantize: Annotated[str, NameIn(RECIPES, leave_out=("float16",))] = "none"
    """Recipe of export to fine-tune for: in the forward pass the weights are rounded as its file
    stores them."""
    strategy: Literal["auto", "single", "mirrored", "multi_worker", "tpu"] = "auto"
    """Where to fine-tune, as in train."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.steps >= 1, "steps", self.steps, "1 or more")
        check_range(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Options):
    """Bounds for the smallest model that is good enough: with one of them, compress tries what it
    can do by itself."""

    target_size: str = ""
    """Most bytes of the file, as in 4MB, 900kB or 4000000 (1 MB is 1,000,000 bytes)."""
    max_perplexity_increase: str = ""
    """Most that the file's perplexity may be above that of the run in float32, as in 2% or 0.02."""
    target_tokens_per_second: float = 0.0
    """Least tokens per second that the file decodes on this machine, one thread; 0 asks for
    none."""
    gzip: bool = rare(False)
    """Take the size that gzip makes of the file, which is what a store sends; tries pruned
    candidates too."""
    candidate_steps: int = rare(0)
    """Fine-tuning steps of each candidate; 0 is a quarter of --steps, which is what all together
    may take."""
    evaluation_tokens: int = rare(10_000)
    """Tokens of the validation split on which each file is scored."""
    distill_weight: float = rare(0.5)
    """Part of the candidates' loss that is the run's own predictions, 0 to 1."""
    target_text: list[str] = field(default_factory=list)
    """Files, folders or globs with a sample of the text that the model is for: tries files without
    the tokens that it never has, too (of a SentencePiece unigram tokenizer)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size_bytes, self.increase  # noqa: B018 - raise where they cannot be read
        check_range(
            self.target_tokens_per_second >= 0,
            "target_tokens_per_second",
            self.target_tokens_per_second,
            "more than 0 (0 asks for none)",
        )
        check_range(
            self.candidate_steps >= 0,
            "candidate_steps",
            self.candidate_steps,
            "0 (automatic) or more",
        )
        check_range(
            self.evaluation_tokens >= 100,
            "evaluation_tokens",
            self.evaluation_tokens,
            "100 or more",
        )
        check_range(0 <= self.distill_weight <= 1, "distill_weight", self.distill_weight, "0 to 1")
        for option in dataclasses.fields(self):
            default = (
                option.default if option.default_factory is MISSING else option.default_factory()
            )
            if not self.asked and getattr(self, option.name) != default:
                raise ConfigError(
                    f"{option.name} has no effect without a bound; give target_size,"
                    " max_perplexity_increase or target_tokens_per_second"
                )

    @property
    def asked(self) -> bool:
        """Whether there is any bound."""
        return bool(
            self.target_size or self.max_perplexity_increase or self.target_tokens_per_second
        )

    @property
    def size_bytes(self) -> int | None:
        """`target_size` in bytes."""
        if not self.target_size:
            return None
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([kKMG]?)B?", self.target_size.strip())
        size = (
            round(float(match[1]) * {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}[match[2]])
            if match
            else 0
        )
        check_range(
            size > 0, "target_size", self.target_size, "a size such as 4MB, 900kB or 4000000"
        )
        return size

    @property
    def increase(self) -> float | None:
        """`max_perplexity_increase` as a fraction."""
        if not self.max_perplexity_increase:
            return None
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *(%?)", self.max_perplexity_increase.strip())
        check_range(
            bool(match),
            "max_perplexity_increase",
            self.max_perplexity_increase,
            "a fraction of 0 or more, such as 2% or 0.02",
        )
        assert match
        return float(match[1]) / (100 if match[2] else 1)


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Options):
    """Weights that are set to zero while the rest is trained on (Zhu and Gupta 2017)."""

    sparsity: float = 0.0
    """Fraction of each pruned weight that is zero at the end; 0 prunes nothing."""
    schedule: Literal["polynomial", "constant"] = rare("polynomial")
    """Course of the sparsity: rising by a cubic curve from begin_step to end_step, or at once
    at begin_step."""
    begin_step: int = rare(1)
    """First step of the fine-tuning that prunes."""
    end_step: int = rare(0)
    """Last step that changes what is pruned; 0 is three quarters of the steps."""
    frequency: int = rare(20)
    """Steps from one choice of what is pruned to the next."""
    block_rows: int = rare(1)
    """Rows of the blocks that are zero or not as a whole."""
    block_columns: int = rare(1)
    """Columns of these blocks."""
    pattern: Literal["none", "2:4"] = rare("none")
    """2:4 makes two of four consecutive weights zero, once, at begin_step, with sparsity 0.5;
    schedule, end_step and frequency have no effect then."""
    embeddings: bool = rare(False)
    """Prune embedding tables too."""
    include: str = rare("")
    """Regular expression that the path of a weight must contain to be pruned, as in
    'block_0|output'."""
    exclude: str = rare("")
    """Regular expression for the paths of weights that are not pruned."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(0 <= self.sparsity < 1, "sparsity", self.sparsity, "0 or more and less than 1")
        for name in ("begin_step", "frequency", "block_rows", "block_columns"):
            check_range(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        check_range(
            self.end_step == 0 or self.end_step >= self.begin_step,
            "end_step",
            self.end_step,
            f"0 (three quarters of the steps) or begin_step={self.begin_step} or more",
        )
        if self.pattern == "2:4":
            check_range(
                self.sparsity == 0.5,
                "sparsity",
                self.sparsity,
                "0.5, which is what pattern=2:4 makes",
            )
            check_range(
                self.block_rows == self.block_columns == 1,
                "block_rows and block_columns",
                (self.block_rows, self.block_columns),
                "1 and 1 with pattern=2:4",
            )

    def last_step(self, steps: int) -> int:
        """Returns the last step that changes what is pruned, of a fine-tuning of so many steps.

        Raises:
            ConfigError: it lies behind the end.
        """
        if self.begin_step > steps:
            raise ConfigError(
                f"prune.begin_step={self.begin_step} lies behind the last of {steps} steps"
            )
        last = self.end_step or max(self.begin_step, steps * 3 // 4)
        if last > steps:
            raise ConfigError(
                f"prune.end_step={last} lies behind the last of {steps} steps, so the sparsity is"
                " not reached"
            )
        return last


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Options):
    """A teacher whose predictions are learned besides the text (Hinton et al. 2015)."""

    section: ClassVar[str] = "distill"

    teacher: str | None = None
    """Run folder of the teacher; compress takes the run itself if it is left out."""
    weight: float = 0.0
    """The teacher's part of the loss, 0 (no teacher) to 1; the rest is cross-entropy with the
    text."""
    temperature: float = rare(2.0)
    """Divides the logits of teacher and student in the comparison: the higher, the more the
    unlikely tokens count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(0 <= self.weight <= 1, "distill.weight", self.weight, "0 to 1")
        check_range(self.temperature > 0, "distill.temperature", self.temperature, "more than 0")
        for name in ("teacher", "temperature"):
            if not self.weight and getattr(self, name) != getattr(type(self), name):
                raise ConfigError(
                    f"distill.{name} has no effect with distill.weight=0; give a weight such as 0.5"
                )
