"""Exported files of language models, run by NumPy and ai-edge-litert: no TensorFlow, no Keras."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfscale.artifacts.base import Artifact
from tfscale.config import EDIT_COST, SamplingConfig
from tfscale.config.tasks import SwapConfig
from tfscale.device import DeviceModel
from tfscale.device.scorer import ScoringModel
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.inference.generation import Generation
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.analysis.slicing import TextScores
    from tfscale.inference.cloze import Correction, Filling


class ScoringFile(Artifact):
    """A file that scores texts; one of a model that reads both sides fills gaps, too.

    Args:
        path: the file or its folder.
        model: what `tfscale.device.load` returned.
    """

    kind = "an exported file"

    def __init__(self, path: str, model: ScoringModel | DeviceModel):
        super().__init__(path)
        self.model = model

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.model.tokenizer

    def score(
        self, text: Sequence[str] = (), data: str | None = None, split: str = "validation"
    ) -> JsonObject:
        from tfscale.evaluation.evaluate import evaluate_file

        return evaluate_file(self.model, data_dir=data, split=split, text_files=text or None)

    def score_groups(
        self, text: Sequence[str], slice_by: str, text_field: str = "text"
    ) -> JsonObject:
        from tfscale.analysis.slicing import score_text_groups

        tokenizer = self._own_tokenizer()
        return score_text_groups(self._text_scores, tokenizer, text, slice_by, text_field)

    def swap(self, config: SwapConfig) -> JsonObject:
        from tfscale.analysis.swapping import swap

        return swap(self._text_scores, self._own_tokenizer(), config)

    def fill(self, text: str, count: int = 5) -> "list[Filling]":
        return self._cloze_model().fill(text, count)

    def correct(self, text: str, edit_cost: float = EDIT_COST) -> "list[Correction]":
        return self._cloze_model().correct(text, edit_cost)

    def _cloze_model(self) -> ScoringModel:
        if not isinstance(self.model, ScoringModel) or not self.model.metadata.get("cloze"):
            self._refuse("fill")
        return self.model

    def _text_scores(self, texts: Sequence[str]) -> "TextScores":
        from tfscale.analysis.slicing import TextScores

        scores = [self.model.score(text) for text in texts]
        return TextScores([(score.nll, score.tokens) for score in scores], scores[0].cloze)

    def _own_tokenizer(self) -> Tokenizer:
        if self.model.tokenizer is None:
            raise ConfigError(f"{self.path} has no tokenizer beside it and scores ids alone")
        return self.model.tokenizer


class GeneratingFile(ScoringFile):
    """A file of a model of the next token: it writes texts, scores them and is timed."""

    model: DeviceModel

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
        parse_special: bool = False,
    ) -> Generation:
        return self.model.generate(prompt, max_tokens, sampling, stop, on_text, parse_special)

    def benchmark(self, tokens: int = 128, repeats: int = 3, prompt_tokens: int = 64) -> JsonObject:
        return self.model.benchmark(tokens, repeats, prompt_tokens)
