"""Exported models in general: their file, its description, and what they can do."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from tfscale.errors import DataError, ExportError, TfscaleError, TokenizerError
from tfscale.files.description import METADATA_FILE, Description
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import sha256_file
from tfscale.text.cleaning import Cleaner
from tfscale.text.score import ScoredText
from tfscale.text.scored import read_stream
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

Ability = Literal["generate", "score", "choose", "embed", "fill", "predict", "benchmark"]
"""generate: writes text after a prompt (`generate`, `stream`); score: says how likely a text is;
choose: says how likely texts are after another one (`score_continuations`); embed: gives a vector
for each text (`embed`); fill: finds the token
for a gap (`fill`, `correct`); predict: labels, tags, answers or texts by a fine-tuned task, or the
outputs of somebody's own model; benchmark: can be timed."""
Form = Literal["file", "bundle", "ngram", "task", "predictor"]
"""The kind of artifact that `tfscale.open` makes of an exported model."""
_LOGGER = logging.getLogger("tfscale")


@dataclass(frozen=True)
class ExportedFile:
    """A file that `tfscale.device.load` was given, before it is read.

    Attributes:
        path: the file, or the folder that the export consists of.
        folder: where it lies, beside its model.json and its tokenizer.
        description: the content of model.json.
        threads: CPU threads of the runtime.
        xnnpack: whether to use the XNNPACK kernels.
    """

    path: str
    folder: str
    description: Description
    threads: int = 1
    xnnpack: bool = True

    def check_tflite(self) -> None:
        """Refuses what must not reach LiteRT, which maps a file and believes most of it.

        Raises:
            ExportError: the file is not TFLite, or not the one that is described.
        """
        try:
            with open(self.path, "rb") as file:
                head = file.read(8)
        except OSError as error:
            raise ExportError(
                f"cannot read {self.path}: {error.strerror}; name an export folder or a .tflite"
                " file"
            ) from error
        if head[4:8] != b"TFL3":
            raise ExportError(
                f"{self.path} is not a TFLite file: bytes 4 to 8 are {head[4:8]!r}, not b'TFL3'"
            )
        self.check_digest()

    def check_digest(self) -> None:
        """Refuses a file that is damaged; see the function `check_digest`."""
        check_digest(self.path, self.description)

    def tokenizer(self) -> Tokenizer:
        """Loads the tokenizer beside the file.

        Raises:
            TokenizerError: it is missing, or is not the one that the model was trained with.
        """
        path = os.path.join(self.folder, self.description.tokenizer or "tokenizer")
        if not os.path.isdir(path):
            raise TokenizerError(
                f"the model's tokenizer is missing: {path}; keep the export folder together"
            )
        try:
            tokenizer = load_tokenizer(path)
        except TokenizerError:
            raise
        except TfscaleError as error:
            raise TokenizerError(f"cannot load the tokenizer {path}: {error}") from error
        expected = self.description.tokenizer_digest
        if expected is not None and tokenizer.digest != expected:
            raise TokenizerError(
                f"{path} is not the tokenizer of this model: its digest is"
                f" {tokenizer.digest[:12]}..., and {METADATA_FILE} expects {expected[:12]}..."
            )
        return tokenizer

    def cleaner(self) -> Cleaner:
        """Returns what cleans texts before they are cut.

        Raises:
            ExportError: its description is damaged.
        """
        try:
            return Cleaner.from_dict(self.description.cleaning)
        except ValueError as error:
            path = os.path.join(self.folder, METADATA_FILE)
            raise ExportError(f"{path} is damaged: {error}") from error


class ExportedModel:
    """An exported model; `tfscale.device.load` makes one of the subclasses.

    Attributes:
        abilities: what it can do; see `Ability`.
        form: what `tfscale.open` makes of it; see `Form`.
        path: the model's file.
        description: the content of model.json.
        tokenizer: the tokenizer beside the file; None where the user has one.
        threads: CPU threads of the runtime.
    """

    abilities: frozenset[Ability] = frozenset()
    form: ClassVar[Form] = "file"
    tokenizer: Tokenizer | None

    def __init__(
        self, path: str, tokenizer: Tokenizer | None, description: Description, threads: int
    ):
        self.path, self.description, self.threads = path, description, threads
        self.tokenizer = tokenizer

    @property
    def metadata(self) -> JsonObject:
        """The content of model.json as it is on disk; empty where there is none."""
        return self.description.to_dict()

    def can(self, ability: Ability) -> bool:
        """Returns whether it can do this."""
        return ability in self.abilities


def check_digest(path: str, description: Description) -> None:
    """Refuses a file that is not the one that its description was written for.

    A file that lies beside no description, or beside that of another one, cannot be checked: damage
    in its weights would go unnoticed. A warning of the logger `tfscale` says so. Where the
    described file is not there, this one is taken for it under another name.

    Raises:
        ExportError: the file is missing or damaged.
    """
    if not os.path.exists(path):
        raise ExportError(f"{path} is missing; keep the export folder together")
    named, expected = description.file, description.sha256
    described = os.path.join(os.path.dirname(path), named) if named else ""
    if not expected or (named != os.path.basename(path) and os.path.exists(described)):
        _LOGGER.warning(
            "%s cannot be checked for damage: no %s beside it has its SHA-256; keep the export"
            " folder together",
            path,
            METADATA_FILE,
        )
        return
    if (digest := sha256_file(path)) != expected:
        raise ExportError(
            f"{path} is damaged or was replaced: its SHA-256 is {digest[:12]}..., "
            f"and {METADATA_FILE} expects {expected[:12]}..."
        )


def ids_to_score(
    tokenizer: Tokenizer | None, text: str | Sequence[int], utf8_bytes: int, vocabulary_size: int
) -> tuple[list[int], ScoredText]:
    """Returns the ids of a text, or checked ids as they are, and what is known about their text.

    Args:
        tokenizer: the model's; None takes ids alone.
        text: one document, whose end token is scored too, or ids.
        utf8_bytes: bytes that ids stand for, where they are known.
        vocabulary_size: ids are below it.

    Raises:
        DataError: there is no token, or an id that the model does not have.
    """
    ids, known = read_stream(tokenizer, text, utf8_bytes)
    if not ids:
        raise DataError("nothing to score: the text has 0 tokens; give 1 or more")
    if min(ids) < 0 or max(ids) >= vocabulary_size:
        raise DataError(
            f"token ids to score must be 0 to {vocabulary_size - 1}; received {min(ids)} to"
            f" {max(ids)}"
        )
    return ids, known
