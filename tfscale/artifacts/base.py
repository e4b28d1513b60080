"""`Artifact`: what `tfscale.open` returns, and what can be asked of it."""

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypedDict, Unpack

import numpy as np

from tfscale.config import EDIT_COST, ExportConfig, SamplingConfig
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.inference.generation import Generation
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.exporting.report import Report
    from tfscale.inference.cloze import Correction, Filling
    from tfscale.inference.text_windows import Pooling
    from tfscale.tasks.values import Prediction

_REFUSALS = {
    "score": "does not score texts; give a run, an exported file or a task",
    "score_groups": (
        "does not score texts one by one, as runs, tasks and exported files that score do"
    ),
    "score_choices": (
        "does not predict the next token, by which choices are judged; give a run, an n-gram run or"
        " an exported file of a model that does"
    ),
    "embed": (
        "gives no hidden states, which vectors are made of; give a run of a network, or its .tflite"
        " file exported with --embedding true"
    ),
    "generate": "scores texts and does not write them; give a file of a model of the next token",
    "fill": "does not read both sides of a gap; give a run of --model.family bilstm or bert",
    "predict": "is a language model; predict needs what tfscale finetune wrote, or its export",
    "export": "is an exported file already; give the run or the task that it was made of",
    "explain": (
        "has no network to explain; give a folder of tfscale finetune, or a run of a network's"
        " family"
    ),
    "swap": "does not score texts one by one, as runs and exported files that score do",
    "benchmark": "is not a file of a model of the next token, which alone is timed; export the run",
}


class GenerateOptions(TypedDict, total=False):
    """The options of a completion and their defaults; see `tfscale.generate`.

    `max_tokens` is 64, `sampling` greedy; there are no `stop` texts, nothing receives the text as
    it comes, and `parse_special` is False.
    """

    max_tokens: int
    sampling: SamplingConfig | None
    stop: Sequence[str]
    on_text: Callable[[str], None] | None
    parse_special: bool


class Artifact(abc.ABC):
    """A model that lies on disk: a run, an n-gram run, a task, an exported file or a bundle.

    Each method works, or raises a `ConfigError` of one line that says what to give instead.

    Attributes:
        kind: what it is, in words: "a run".
        path: its folder or file.

    Example:
        model = tfscale.open("export")
        print(model.kind, model.generate("def ", max_tokens=20).text)
    """

    kind: ClassVar[str]
    refusals: ClassVar[dict[str, str]] = {}
    """Method -> why this kind does not have it, where the usual words do not fit."""

    def __init__(self, path: str):
        self.path = path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    @property
    @abc.abstractmethod
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer; None where a file has none beside it, or keeps its own."""

    def score(
        self,
        text: Sequence[str] = (),
        data: str | None = None,
        split: str = "validation",
        text_field: str = "text",
    ) -> JsonObject:
        """Returns how well it predicts texts, or labels; see `tfscale.evaluate`."""
        self._refuse("score")

    def score_groups(
        self, text: Sequence[str], slice_by: str, text_field: str = "text"
    ) -> JsonObject:
        """Returns a score for each group of examples; see `tfscale.evaluate`."""
        self._refuse("score_groups")

    def score_choices(
        self, text: Sequence[str], form: str, shots: int = 0, shots_text: Sequence[str] = ()
    ) -> JsonObject:
        """Returns how often the right choice of a question is likeliest; see `tfscale.evaluate`."""
        self._refuse("score_choices")

    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> Generation:
        """Completes a prompt; see `tfscale.generate`."""
        self._refuse("generate")

    def embed(self, texts: Sequence[str], pooling: "Pooling" = "mean") -> np.ndarray:
        """Returns a vector for each text, float32 (N, D); see `tfscale.embed`."""
        self._refuse("embed")

    def fill(self, text: str, count: int = 5) -> "list[Filling]":
        """Returns the most likely tokens for the gap `___`; see `tfscale.fill`."""
        self._refuse("fill")

    def correct(self, text: str, edit_cost: float = EDIT_COST) -> "list[Correction]":
        """Returns words that are probably misspelt; see `tfscale.correct`."""
        self._refuse("fill")

    def predict(
        self, text: str = "", question: str = "", file: str = "", beams: int = 1
    ) -> "list[Prediction]":
        """Returns labels, tags, answers or texts; see `tfscale.predict`."""
        self._refuse("predict")

    def export(
        self, config: ExportConfig, progress: Callable[[str], None] | None = None
    ) -> "Report":
        """Writes a file for the device and returns its parity report; see `tfscale.export`."""
        self._refuse("export")

    def explain(self, config: ExplainConfig) -> JsonObject:
        """Returns what each token or word adds to a prediction; see `tfscale.explain`."""
        if config.method == "lime":
            raise ConfigError(
                "lime explains classifiers; a language model takes --method integrated_gradients"
            )
        self._refuse("explain")

    def swap(self, config: SwapConfig) -> JsonObject:
        """Returns how much likelier texts become by other words; see `tfscale.swap`."""
        self._refuse("swap")

    def benchmark(self, tokens: int = 128, repeats: int = 3, prompt_tokens: int = 64) -> JsonObject:
        """Times the file on this machine; see `tfscale.benchmark`."""
        self._refuse("benchmark")

    def _refuse(self, method: str) -> NoReturn:
        raise ConfigError(f"{self.path} {self.refusals.get(method) or _REFUSALS[method]}")
