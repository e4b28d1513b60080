"""Loads an exported model and generates, scores and times with it.

Needs NumPy, ai-edge-litert and the library of the tokenizer. This is what runs on a Raspberry Pi,
and what an app for another platform does by hand: the file's signatures are described in
`tfscale.device.decoder`.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfscale.config import SamplingConfig
from tfscale.config.options import checks_arguments
from tfscale.device.bench import peak_rss_bytes, read_bandwidth, time_decoder
from tfscale.device.bundle import BundleModel
from tfscale.device.decoder import LiteRTDecoder
from tfscale.device.scorer import ScoringModel
from tfscale.device.suggest import Suggestion, suggest
from tfscale.device.task import DeviceTask, DeviceWriter
from tfscale.device.turns import Turn, Turns
from tfscale.errors import ConfigError, DataError, ExportError, TfscaleError, TokenizerError
from tfscale.files.fields import check_fields
from tfscale.files.paths import read_json, sha256_file
from tfscale.inference.generation import Generation, generate, stream
from tfscale.registry import TASKS
from tfscale.text.cleaning import Cleaner
from tfscale.text.score import Score, stream_starts, token_nll
from tfscale.text.scored import read_stream
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

METADATA_FILE = "model.json"
FORMAT_VERSION = 1
_LOGGER = logging.getLogger("tfscale")


@dataclass(frozen=True)
class DescribedModel:
    """What is read of the options of the model in model.json."""

    sequence_length: int | None = None
    stateful: bool = False


@dataclass(frozen=True)
class Description:
    """What this module reads of model.json, which holds more. All of it may be missing but the
    version."""

    format_version: int
    file: str = ""
    sha256: str = ""
    format: str = ""
    family: str = ""
    tokenizer: str | None = None
    tokenizer_digest: str | None = None
    model: DescribedModel = field(default_factory=DescribedModel)
    end_id: int | None = None
    vocabulary_size: int | None = None
    bytes_per_token: int | None = None
    cloze: bool = False
    config: dict[str, Any] = field(default_factory=dict)


class DeviceModel:
    """An exported model with its tokenizer; made by `load`.

    It holds one text at a time. Calls from several threads wait for each other; a stream or a
    decoder that another call overtook raises `OvertakenError`. Texts that shall be written side by
    side need a model each.
    """

    def __init__(
        self, path: str, decoder: Any, tokenizer: Tokenizer, metadata: dict[str, Any], threads: int
    ):
        self.path = path
        """The model's file."""
        self.tokenizer = tokenizer
        """The tokenizer that lies beside the file."""
        self.metadata = metadata
        """The content of model.json; empty where the file has none beside it."""
        self.threads = threads
        """CPU threads of the runtime."""
        self._decoder = decoder
        self._turns = Turns(decoder)

    @property
    def sequence_length(self) -> int | None:
        """Tokens of a scoring window: the length of the training windows; None if model.json does
        not tell."""
        return self.metadata.get("model", {}).get("sequence_length") or self._decoder.context_length

    def decoder(self) -> Any:
        """The decoder, reset. There is one per loaded model, which holds one sequence at a time.

        Its `feed` raises `OvertakenError` once another text was begun on this model.
        """
        return self._turns.take()

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
        parse_special: bool = False,
    ) -> Generation:
        """Completes `prompt`; see `tfscale.inference.generation.generate`.

        Other threads wait until it is done.
        """
        with self._turns.lock:
            return generate(
                self.decoder(),
                self.tokenizer,
                prompt,
                max_tokens,
                sampling,
                stop,
                on_text,
                parse_special,
            )

    def stream(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        parse_special: bool = False,
    ) -> Iterator[str]:
        """Completes `prompt` piece by piece; see `tfscale.inference.generation.stream`.

        The model holds one text at a time: once another call has begun one, asking for the next
        piece raises `OvertakenError`.

        Example:
            for piece in model.stream("def main("):
                print(piece, end="", flush=True)
        """
        # It takes its turn when the first piece is asked for.
        return stream(
            Turn(self._turns), self.tokenizer, prompt, max_tokens, sampling, stop, parse_special
        )

    def suggest(self, text: str, count: int = 3) -> list[Suggestion]:
        """The most likely next words, or endings of the word that the text stops in; see
        `tfscale.device.suggest`."""
        with self._turns.lock:
            return suggest(self.decoder(), self.tokenizer, text, count)

    def score(
        self,
        text: str | Sequence[int],
        utf8_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Score:
        """The likelihood of a text, as training and Keras evaluation compute it, one decode step
        per token.

        The tokens are cut into windows of `sequence_length`; each starts from nothing but the token
        before it (the start token before the first of a document), and every token is predicted
        once. A stateful model carries its state over the whole text, cut where
        `tfscale.text.score.stream_starts` says.

        Args:
            text: one document, cleaned here as the model's text was, whose end token is scored too;
                or the ids of a stream as they are.
            utf8_bytes: bytes that the ids stand for; has no effect where a text is given.
            progress: is called with the tokens done and the tokens in all, after each window.

        Raises:
            DataError: there is no token, or an id that the model does not have.
        """
        end_id = self.tokenizer.end_id
        stream, known = read_stream(self.tokenizer, text, utf8_bytes)
        if not stream:
            raise DataError("nothing to score: the text has 0 tokens; give 1 or more")
        if min(stream) < 0 or max(stream) >= self._decoder.vocabulary_size:
            raise DataError(
                f"token ids to score must be 0 to {self._decoder.vocabulary_size - 1}; "
                f"received {min(stream)} to {max(stream)}"
            )
        length = self.sequence_length
        if length is None:
            raise ExportError(
                f"{self.path} cannot be scored: {METADATA_FILE}, which names the window, is not"
                " beside it"
            )
        inputs = self.tokenizer.as_inputs([end_id, *stream[:-1]]).tolist()
        carries = self.metadata.get("model", {}).get("stateful", False)
        begins = set(stream_starts(len(stream)) if carries else range(0, len(stream), length))
        nll = 0.0
        with self._turns.lock:
            decoder = self.decoder()
            for place, (token, target) in enumerate(zip(inputs, stream, strict=True)):
                if place in begins:
                    decoder.reset()
                nll += float(token_nll(decoder.feed([token]), np.array(target)))
                if progress is not None and ((place + 1) % length == 0 or place + 1 == len(stream)):
                    progress(place + 1, len(stream))
            decoder.reset()
        return Score(nll, len(stream)).of(known)

    def bytes_per_token(self) -> int | None:
        """Bytes of weights and caches that a decode step reads; None where model.json does not
        tell."""
        weights = self.metadata.get("bytes_per_token")
        if weights is None:
            return None
        return weights + 4 * sum(
            int(np.prod(shape)) for shape in self._decoder.cache_shapes.values()
        )

    def benchmark(
        self, tokens: int = 128, repeats: int = 3, prompt_tokens: int = 64
    ) -> dict[str, Any]:
        """Times the model on this machine.

        Args:
            tokens: tokens to decode.
            repeats: timed repetitions; medians are returned.
            prompt_tokens: tokens of the prompt.

        Returns:
            What `tfscale.device.bench.time_decoder` returns, and `threads`, `file_bytes`,
            `peak_rss_bytes` (of this process; None where the system does not tell),
            `bytes_per_token`, and with it `bandwidth_bytes_per_second`, that of reading as many
                bytes on this machine with one thread, and `bandwidth_bound_tokens_per_second`: no
            decoder that reads every weight for every token is faster on one core.
        """
        with self._turns.lock:
            timing = time_decoder(
                self.decoder(), self._decoder.vocabulary_size, tokens, repeats, prompt_tokens
            )
        peak = peak_rss_bytes()  # Without what is read below to learn the memory's speed.
        read = self.bytes_per_token()
        bandwidth = None if read is None else read_bandwidth(read)
        return {
            **timing,
            "bytes_per_token": read,
            "bandwidth_bytes_per_second": bandwidth,
            "bandwidth_bound_tokens_per_second": (
                None if bandwidth is None or read is None else bandwidth / read
            ),
            "threads": self.threads,
            "file_bytes": os.path.getsize(self.path),
            "peak_rss_bytes": peak,
        }


@checks_arguments
def load(path: str, threads: int = 1, xnnpack: bool = True) -> Any:
    """Loads an exported model, after it has been checked to be whole and to belong to its
    tokenizer.

    Args:
        path: an export folder, or the .tflite, .litertlm or .ngram file in it; the run folder of an
            n-gram model.
        threads: CPU threads; for small models one is usually the fastest.
        xnnpack: whether to use the XNNPACK kernels; no effect on a .litertlm bundle.

    Returns:
        A `DeviceModel`; a `tfscale.device.bundle.BundleModel`, which can generate only, for a
        .litertlm bundle; a `tfscale.device.scorer.ScoringModel`, which can score only, for a file
        of `tfscale.export_keras`; a `tfscale.device.task.DeviceTask`, which predicts labels, tags
        or answers, or a `DeviceWriter`, which writes a text for a text, for a fine-tuned task.

    Raises:
        ExportError: the file is missing, damaged, not TFLite, or not a language model of tfscale.
        TokenizerError: the tokenizer beside it is missing, or is not the one that the model was
            trained with.

    Example:
        model = tfscale.device.load("export")
        print(model.generate("def main(", max_tokens=40).text)
    """
    if threads < 1:
        raise ConfigError(f"threads={threads!r} is out of range; expected 1 or more")
    path = os.fspath(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    metadata = _read_metadata(os.path.join(folder, METADATA_FILE))
    if os.path.isdir(path):
        path = os.path.join(folder, metadata.get("file", "model.tflite"))
    if path.endswith(".litertlm"):
        check_digest(path, metadata)
        return BundleModel(
            path, threads, metadata.get("special_tokens"), _cleaner(metadata, folder)
        )
    if path.endswith(".ngram"):
        from tfscale.device.ngram import NGramDeviceModel

        check_digest(path, metadata)
        own = _load_tokenizer(
            os.path.join(folder, metadata.get("tokenizer") or "tokenizer"), metadata
        )
        return NGramDeviceModel(path, own, metadata, threads)
    _check_file(path, metadata)
    if metadata.get("format") == "scoring":
        named = metadata.get("tokenizer")
        beside = _load_tokenizer(os.path.join(folder, named), metadata) if named else None
        return ScoringModel(path, beside, metadata, threads, xnnpack)
    tokenizer = _load_tokenizer(
        os.path.join(folder, metadata.get("tokenizer") or "tokenizer"), metadata
    )
    if metadata.get("format") == "task":
        task = TASKS.get(metadata.get("config", {}).get("task", ""))
        device_class = DeviceWriter if task.gives == "text" else DeviceTask
        return device_class(path, tokenizer, metadata, threads, xnnpack)
    decoder = LiteRTDecoder(path, threads, xnnpack)
    if tokenizer.vocabulary_size > decoder.vocabulary_size:
        raise TokenizerError(
            f"{path} knows {decoder.vocabulary_size} tokens and the tokenizer beside it has "
            f"{tokenizer.vocabulary_size}; they do not belong together"
        )
    return DeviceModel(path, decoder, tokenizer, metadata, threads)


def _read_metadata(path: str) -> dict[str, Any]:
    if not os.path.exists(path):
        return {}
    try:
        metadata = read_json(path, "the export's description")
    except DataError as error:
        raise ExportError(str(error)) from error
    if not isinstance(metadata, dict) or metadata.get("format_version") != FORMAT_VERSION:
        found = (
            metadata.get("format_version")
            if isinstance(metadata, dict)
            else type(metadata).__name__
        )
        raise ExportError(
            f"{path} has format_version {found!r}; this version of tfscale reads {FORMAT_VERSION}"
        )
    check_fields(Description, metadata, path, ExportError, others=True)
    for name in ("file", "tokenizer"):
        if (named := metadata.get(name)) and os.path.basename(named) != named:
            raise ExportError(
                f"{path}: {name} should be a name in the same folder; received {named!r}"
            )
    return metadata


def _cleaner(metadata: dict[str, Any], folder: str) -> Cleaner:
    try:
        return Cleaner.from_dict(metadata.get("cleaning", {}))
    except ValueError as error:
        raise ExportError(f"{os.path.join(folder, METADATA_FILE)} is damaged: {error}") from error


def _check_file(path: str, metadata: dict[str, Any]) -> None:
    """Refuses what must not reach the runtime: it maps the file, checks its structure, and believes
    the rest."""
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ExportError(
            f"cannot read {path}: {error.strerror}; name an export folder or a .tflite file"
        ) from error
    if head[4:8] != b"TFL3":
        raise ExportError(
            f"{path} is not a TFLite file: bytes 4 to 8 are {head[4:8]!r}, not b'TFL3'"
        )
    check_digest(path, metadata)


def check_digest(path: str, metadata: dict[str, Any]) -> None:
    """Refuses a file that is not the one that its description was written for.

    A file that lies beside no description, or beside that of another one, cannot be checked: damage
    in its weights would go unnoticed. That is said by a warning of the logger `tfscale`. Where the
    described file is not there, this one is taken for it under another name.
    """
    if not os.path.exists(path):
        raise ExportError(f"{path} is missing; keep the export folder together")
    named = metadata.get("file")
    described = os.path.join(os.path.dirname(path), named) if named else ""
    if "sha256" not in metadata or (named != os.path.basename(path) and os.path.exists(described)):
        _LOGGER.warning(
            "%s cannot be checked for damage: no %s beside it has its SHA-256; keep the export"
            " folder together",
            path,
            METADATA_FILE,
        )
        return
    if "sha256" in metadata and (digest := sha256_file(path)) != metadata["sha256"]:
        raise ExportError(
            f"{path} is damaged or was replaced: its SHA-256 is {digest[:12]}..., "
            f"and {METADATA_FILE} expects {metadata['sha256'][:12]}..."
        )


def _load_tokenizer(folder: str, metadata: dict[str, Any]) -> Tokenizer:
    if not os.path.isdir(folder):
        raise TokenizerError(
            f"the model's tokenizer is missing: {folder}; keep the export folder together"
        )
    try:
        tokenizer = load_tokenizer(folder)
    except TokenizerError:
        raise
    except TfscaleError as error:
        raise TokenizerError(f"cannot load the tokenizer {folder}: {error}") from error
    expected = metadata.get("tokenizer_digest")
    if expected is not None and tokenizer.digest != expected:
        raise TokenizerError(
            f"{folder} is not the tokenizer of this model: its digest is"
            f" {tokenizer.digest[:12]}..., and {METADATA_FILE} expects {expected[:12]}..."
        )
    return tokenizer
