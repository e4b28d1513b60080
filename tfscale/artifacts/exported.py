"""Exported files of language models, run by NumPy and ai-edge-litert: no TensorFlow, no Keras."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from tfscale.artifacts.base import Artifact, GenerateOptions
from tfscale.config import EDIT_COST
from tfscale.config.tasks import SwapConfig
from tfscale.device.model import Ability, ExportedModel
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.inference.generation import Generation
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.analysis.slicing import TextScores
    from tfscale.inference.cloze import Correction, Filling
    from tfscale.inference.text_windows import Pooling


_UNSCORED = "is a bundle, which LiteRT-LM does not score; give the .tflite file or the run"


class FileArtifact(Artifact):
    """An exported file of a language model; its `abilities` say what it can do.

    Args:
        path: the file or its folder.
        model: the result of `tfscale.device.load`.
    """

    kind = "an exported file"

    def __init__(self, path: str, model: ExportedModel):
        super().__init__(path)
        self.model = model

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.model.tokenizer

    def score(
        self,
        text: Sequence[str] = (),
        data: str | None = None,
        split: str = "validation",
        text_field: str = "text",
    ) -> JsonObject:
        model = self._able("score")
        from tfscale.evaluation.evaluate import evaluate_file

        return evaluate_file(
            model, data_dir=data, split=split, text_files=text or None, text_field=text_field
        )

    def score_groups(
        self, text: Sequence[str], slice_by: str, text_field: str = "text"
    ) -> JsonObject:
        self._able("score", "score_groups")
        from tfscale.analysis.slicing import score_text_groups

        tokenizer = self._own_tokenizer()
        return score_text_groups(self._text_scores, tokenizer, text, slice_by, text_field)

    def score_choices(
        self, text: Sequence[str], form: str, shots: int = 0, shots_text: Sequence[str] = ()
    ) -> JsonObject:
        model = self._able("choose", "score_choices")
        from tfscale.evaluation.choosing import evaluate_choices
        from tfscale.evaluation.continuations import ContinuationModel

        scorer = ContinuationModel(
            self._own_tokenizer(), model.context_length, model.score_continuations
        )
        return evaluate_choices(scorer, form, text, shots, shots_text)

    def swap(self, config: SwapConfig) -> JsonObject:
        self._able("score", "swap")
        from tfscale.analysis.swapping import swap

        return swap(self._text_scores, self._own_tokenizer(), config)

    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> Generation:
        return self._able("generate").generate(prompt, **options)

    def embed(self, texts: Sequence[str], pooling: "Pooling" = "mean") -> np.ndarray:
        from tfscale.terminal import note

        return self._able("embed").embed(texts, pooling, note)

    def fill(self, text: str, count: int = 5) -> "list[Filling]":
        return self._able("fill").fill(text, count)

    def correct(self, text: str, edit_cost: float = EDIT_COST) -> "list[Correction]":
        return self._able("fill").correct(text, edit_cost)

    def benchmark(self, tokens: int = 128, repeats: int = 3, prompt_tokens: int = 64) -> JsonObject:
        return self._able("benchmark").benchmark(tokens, repeats, prompt_tokens)

    def _able(self, ability: Ability, method: str = "") -> Any:
        """Returns the model, whose class has the methods of its abilities; refuses other ones."""
        if not self.model.can(ability):
            self._refuse(method or ability)
        return self.model

    def _text_scores(self, texts: Sequence[str]) -> "TextScores":
        from tfscale.analysis.slicing import TextScores

        model = self._able("score")
        scores = [model.score(text) for text in texts]
        return TextScores([(score.nll, score.tokens) for score in scores], scores[0].cloze)

    def _own_tokenizer(self) -> Tokenizer:
        if self.model.tokenizer is None:
            raise ConfigError(f"{self.path} has no tokenizer beside it and scores ids alone")
        return self.model.tokenizer


class BundleArtifact(FileArtifact):
    """A `.litertlm` bundle, which LiteRT-LM's own runtime reads; its tokenizer is in it."""

    kind = "a bundle"
    refusals = {
        "score": _UNSCORED,
        "score_choices": _UNSCORED,
        "embed": "is a bundle, whose runtime gives no hidden states; export the run as .tflite with"
        " --embedding true, or ask the run itself",
        "benchmark": "is a bundle, which LiteRT-LM times itself; give the .tflite file",
    }
