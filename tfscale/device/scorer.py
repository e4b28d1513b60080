"""Scores windows of tokens with a file whose one signature is `score`.

Shapes: T tokens of a window, V vocabulary.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from tfscale.config import EDIT_COST
from tfscale.device.interpreter import open_interpreter, running
from tfscale.device.model import Ability, ExportedFile, ExportedModel, ids_to_score
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.evaluation.continuations import Continuation, Progress, Scored, scored
from tfscale.files.description import Description
from tfscale.inference.cloze import Correction, Filling, correct, fill
from tfscale.text.score import Score, token_nll
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.special import as_inputs


class ScoreSignature:
    """The signature `score` of a file: tokens (1, T) int32 -> logits (1, P, C) float32.

    Args:
        path: the .tflite file.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: the file cannot be run, or has other signatures.
    """

    def __init__(self, path: str, threads: int, xnnpack: bool):
        self._interpreter = open_interpreter(path, threads, xnnpack)
        signatures = self._interpreter.get_signature_list()
        expected = ["score"], [["tokens"], ["logits"]]
        if (list(signatures), [*signatures.get("score", {}).values()]) != expected:
            raise ExportError(
                f"{path} does not score: its signatures are {signatures}, expected score(tokens) ->"
                " logits"
            )
        self._path, self._lock = path, threading.Lock()
        with running(path):
            self._runner = self._interpreter.get_signature_runner("score")
            tokens = self._runner.get_input_details()["tokens"]["shape"]
            logits = self._runner.get_output_details()["logits"]["shape"]
        if len(tokens) != 2 or len(logits) != 3:
            raise ExportError(
                f"{path} does not score: tokens have shape {tuple(tokens)}, logits {tuple(logits)}"
            )
        self.sequence_length, self.classes = int(tokens[1]), int(logits[-1])

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """Returns the logits (P, C) of tokens (T,)."""
        # A fused LSTM keeps its state in the file's variables from one call to the next.
        with self._lock, running(self._path):
            self._interpreter.reset_all_variables()
            return self._runner(tokens=np.asarray(tokens, np.int32)[None])["logits"][0]


class ScoringModel(ExportedModel):
    """A file that reads whole windows; made by `tfscale.device.load`.

    Args:
        path: the .tflite file.
        tokenizer: the model's; None if the caller has one of their own, and scores ids.
        description: the content of model.json.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: the file cannot be run, or has other signatures.
    """

    abilities: frozenset[Ability] = frozenset({"score", "choose"})

    def __init__(
        self,
        path: str,
        tokenizer: Tokenizer | None,
        description: Description,
        threads: int = 1,
        xnnpack: bool = True,
    ):
        super().__init__(path, tokenizer, description, threads)
        self._score = ScoreSignature(path, threads, xnnpack)
        self.sequence_length = self._score.sequence_length
        self.vocabulary_size = self._score.classes
        end_id = description.end_id
        if end_id is None or not 0 <= end_id < self.vocabulary_size:
            raise ExportError(
                f"{path} has {self.vocabulary_size} tokens, and the end token in its description is"
                f" {end_id!r}"
            )
        if description.cloze:
            self.abilities = frozenset({"score", "fill"})
        self._end_id = end_id
        # Files of earlier versions name the end token alone.
        self._start_id = end_id if description.start_id is None else description.start_id

    @classmethod
    def open(cls, file: ExportedFile) -> "ScoringModel":
        """Loads a .tflite file with the one signature `score`."""
        file.check_tflite()
        tokenizer = file.tokenizer() if file.description.tokenizer else None
        return cls(file.path, tokenizer, file.description, file.threads, file.xnnpack)

    def generate(self, *_: object, **__: object) -> NoReturn:
        """Raises a ConfigError: the file reads whole windows and has no call for the next token."""
        raise ConfigError(
            f"{self.path} scores texts and does not write them; tfscale.export_keras writes a file"
            " that generates for models whose attention keeps a key-value cache"
        )

    stream = generate

    def logits(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the logits (n, V) float32 after each of n ids, 1 <= n <= T.

        Start tokens fill the window up.
        """
        count = len(ids)
        if not 1 <= count <= self.sequence_length:
            raise DataError(f"a window has 1 to {self.sequence_length} tokens; received {count}")
        tokens = np.full(self.sequence_length, self._start_id, np.int32)
        tokens[:count] = ids
        return self._score(tokens)[:count]

    @property
    def context_length(self) -> int:
        """Most tokens that it reads."""
        return self.sequence_length

    def score_continuations(
        self, rows: Sequence[Continuation], progress: Progress | None = None
    ) -> list[Scored]:
        """Returns the likelihood of each continuation, in order; each must fit into the window.

        Rows in a row that read the same tokens are computed once.

        Raises:
            DataError: an id that the model does not have, as of the tokenizer of another model.
        """
        largest = max(max(*row.context, *row.tokens) for row in rows)
        if largest >= self.vocabulary_size:
            raise DataError(
                f"{self.path} has {self.vocabulary_size} tokens, and a continuation has the id"
                f" {largest}; give the tokenizer that the model was trained with"
            )
        results: list[Scored] = []
        for inputs, members in itertools.groupby(rows, lambda row: row.inputs):
            logits = self.logits(inputs)
            results += [scored(logits[-len(row.tokens) :], row.tokens) for row in members]
            if progress is not None:
                progress(len(results), len(rows))
        return results

    def fill(self, text: str, count: int = 5) -> list[Filling]:
        """Returns the most likely tokens for the gap `___`; see `tfscale.inference.cloze.fill`."""
        return fill(self._cloze_logits, self._cloze_tokenizer(), text, self.sequence_length, count)

    def correct(self, text: str, edit_cost: float = EDIT_COST) -> list[Correction]:
        """Returns words that are probably misspelt; see `tfscale.inference.cloze.correct`."""
        return correct(
            self._cloze_logits, self._cloze_tokenizer(), text, self.sequence_length, edit_cost
        )

    def _cloze_logits(self, ids: np.ndarray) -> np.ndarray:
        return self.logits(self._cloze_tokenizer().as_inputs(ids))

    def _cloze_tokenizer(self) -> Tokenizer:
        if not self.description.cloze:
            raise ConfigError(
                f"{self.path} predicts the next token and does not fill gaps; a bilstm does"
            )
        if self.tokenizer is None:
            raise ConfigError(
                f"{self.path} has no tokenizer beside it; keep the export folder together"
            )
        return self.tokenizer

    def score(
        self,
        text: str | Sequence[int],
        utf8_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Score:
        """Returns the likelihood of a text or of ids, in windows of T; see `DeviceModel.score`."""
        if isinstance(text, str) and self.tokenizer is None:
            raise ConfigError(f"{self.path} has no tokenizer beside it; give ids instead of text")
        ids, known = ids_to_score(self.tokenizer, text, utf8_bytes, self.vocabulary_size)
        inputs = as_inputs([self._end_id, *ids[:-1]], self._end_id, self._start_id)
        nll = 0.0
        for start in range(0, len(ids), self.sequence_length):
            end = min(start + self.sequence_length, len(ids))
            logits = self.logits(inputs[start:end])
            nll += float(token_nll(logits, np.array(ids[start:end])).sum())
            if progress is not None:
                progress(end, len(ids))
        return Score(nll, len(ids), cloze=bool(self.description.cloze)).of(known)
