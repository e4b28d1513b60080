"""A run of a network, as `tfscale train` writes it."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from tfscale.analysis.explaining import explain_last_token
from tfscale.analysis.slicing import TextScores, document_scores, score_text_groups
from tfscale.analysis.swapping import swap
from tfscale.artifacts.base import Artifact, GenerateOptions
from tfscale.config import EDIT_COST, ExportConfig, NetworkConfig, TrainConfig
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.evaluation.choosing import evaluate_choices
from tfscale.evaluation.continuations import ContinuationModel
from tfscale.evaluation.evaluate import evaluate_run
from tfscale.evaluation.network_continuations import context_length, score_continuations
from tfscale.exporting.network import network_source
from tfscale.exporting.report import Report
from tfscale.exporting.writer import export_source
from tfscale.files.json_text import JsonObject
from tfscale.inference import cloze
from tfscale.inference.embedding import embed_texts
from tfscale.inference.generation import Generation, generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.inference.text_windows import Pooling
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.runs.folder import Run, load_run
from tfscale.terminal import note
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.inference.cloze import Correction, Filling


class RunArtifact(Artifact):
    """A trained network with its tokenizer and the options that it was trained by.

    Args:
        run: the run, read back.

    Example:
        run = tfscale.open("run")
        logits = run.network(ids)
    """

    kind = "a run"

    def __init__(self, run: Run):
        super().__init__(run.directory)
        self.run = run

    @classmethod
    def open(cls, path: str, threads: int = 1) -> "RunArtifact":
        """Reads a run folder; a note on stderr says so where its training was stopped."""
        run = load_run(path)
        if run.summary.get("completed") is False:
            steps, wanted = run.summary["steps"], run.train_config.length_in_words
            note(
                f"{path} was stopped at step {steps:,} of {wanted.removesuffix(' steps')}: these"
                " are its last weights; the same train command goes on"
            )
        return cls(run)

    @property
    def network(self) -> LanguageNetwork:
        """The Keras model: ids (B, T) int32 -> logits (B, T, V)."""
        return self.run.network

    @property
    def tokenizer(self) -> Tokenizer:
        return self.run.tokenizer

    @property
    def model_config(self) -> NetworkConfig:
        """The options of the network."""
        return self.run.model_config

    @property
    def train_config(self) -> TrainConfig:
        """The options that it was trained by."""
        return self.run.train_config

    @property
    def data(self) -> str | None:
        """The data folder that it was trained on; None if it is gone."""
        return self.run.data_dir

    @property
    def summary(self) -> JsonObject:
        """The content of summary.json."""
        return self.run.summary

    def score(
        self,
        text: Sequence[str] = (),
        data: str | None = None,
        split: str = "validation",
        text_field: str = "text",
    ) -> JsonObject:
        return evaluate_run(
            self.run, data_dir=data, split=split, text_files=text or None, text_field=text_field
        )

    def score_groups(
        self, text: Sequence[str], slice_by: str, text_field: str = "text"
    ) -> JsonObject:
        return score_text_groups(self._text_scores, self.tokenizer, text, slice_by, text_field)

    def score_choices(
        self, text: Sequence[str], form: str, shots: int = 0, shots_text: Sequence[str] = ()
    ) -> JsonObject:
        if capabilities(self.network).is_cloze:
            self._refuse("score_choices")
        score = functools.partial(score_continuations, self.network)
        model = ContinuationModel(self.tokenizer, context_length(self.network), score)
        return evaluate_choices(model, form, text, shots, shots_text)

    def generate(self, prompt: str, **options: Unpack[GenerateOptions]) -> Generation:
        return generate(KerasDecoder(self.network), self.tokenizer, prompt, **options)

    def embed(self, texts: Sequence[str], pooling: Pooling = "mean") -> np.ndarray:
        return embed_texts(self.network, self.tokenizer, texts, pooling, note)

    def fill(self, text: str, count: int = 5) -> "list[Filling]":
        self._check_cloze()
        return cloze.fill(self._cloze_logits, self.tokenizer, text, self._length, count)

    def correct(self, text: str, edit_cost: float = EDIT_COST) -> "list[Correction]":
        self._check_cloze()
        return cloze.correct(self._cloze_logits, self.tokenizer, text, self._length, edit_cost)

    def export(self, config: ExportConfig, progress: Callable[[str], None] | None = None) -> Report:
        return export_source(network_source(self.run), config, progress)

    def explain(self, config: ExplainConfig) -> JsonObject:
        return explain_last_token(self.network, self.tokenizer, config)

    def swap(self, config: SwapConfig) -> JsonObject:
        return swap(self._text_scores, self.tokenizer, config)

    @property
    def _length(self) -> int:
        return self.network.config.sequence_length

    def _text_scores(self, texts: Sequence[str]) -> TextScores:
        scores = document_scores(self.run, texts)
        return TextScores(scores, capabilities(self.network).is_cloze)

    def _check_cloze(self) -> None:
        if not capabilities(self.network).is_cloze:
            self._refuse("fill")

    def _cloze_logits(self, ids: np.ndarray) -> np.ndarray:
        # A network of hidden tokens reads the text itself; others read what stands before it.
        masked = capabilities(self.network).predicts == "masked"
        return self.network.cloze_logits(ids if masked else self.tokenizer.as_inputs(ids))
