"""A network that writes text token by token, as something to export."""

import dataclasses
import importlib.metadata
import io
import os
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, ClassVar, cast

import keras
import tensorflow as tf

import tfscale
from tfscale.config import ExportConfig, Quantization, to_dict
from tfscale.config.choices import Rounding
from tfscale.errors import ConfigError, DataError, TokenizerError
from tfscale.exporting.calibration import Rounded, calibration_text, learned_for
from tfscale.exporting.embedding import described_embedding, embed_signature
from tfscale.exporting.held_out import held_out_of
from tfscale.exporting.parity import compare_file, float32_copy
from tfscale.exporting.readmes import text_readme
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import given, numbers_in_place
from tfscale.exporting.scoring import WindowSource
from tfscale.exporting.source import Export, HeldOut, Source, SourceKind, TFLiteSource
from tfscale.exporting.tflite import (
    DecodingNetwork,
    usable_prefill_lengths,
    write_tflite,
)
from tfscale.files.description import Description
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.models.weight_formats import weight_formats
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.runs.folder import Run
    from tfscale.runs.reading import Reading


def network_source(run: "Run", held_out: Sequence[int] | None = None) -> TFLiteSource:
    """Returns a run of a network as something to export.

    Args:
        run: a trained run, as `tfscale.runs.folder.load_run` gives it.
        held_out: token ids to compare on; otherwise the beginning of the run's validation (or test)
            split, or, where its data folder is gone, tokens that the network itself generates.

    Raises:
        ConfigError: the network guesses hidden tokens, which no file does.
    """
    can = capabilities(run.network)
    if can.predicts == "masked":
        raise ConfigError(
            f"a run of the family {run.model_config.family} guesses hidden tokens and is a start"
            " for tasks: fine-tune it (tfscale finetune) and export what comes out"
        )
    if can.is_cloze:
        # It does not decode token by token: its file reads whole windows.
        family = run.model_config.family
        return WindowSource(
            float32_copy(run.network),
            run.tokenizer,
            run.model_config.sequence_length,
            held_out=(lambda count: held_out_of(run, count).tokens)
            if held_out is None
            else held_out,
            noun=f"a {family}",
            advice=f"give --format tflite for a {family}",
        )
    return TextSource(run, held_out)


class TextSource(TFLiteSource):
    """A run of a network that decodes.

    Args:
        run: the run.
        held_out: as for `network_source`.
    """

    kind: ClassVar[SourceKind] = "text"
    noun = "a network"
    advice = "this is a network: give --format tflite"
    tflite_format = "tflite"
    has_report = True
    embeds = True
    roundings: ClassVar[tuple[Rounding, ...]] = ("nearest", "learned")
    tokenizer: Tokenizer
    network: DecodingNetwork
    converted = False
    """Whether the converter, rather than tfscale, says how weights are stored."""
    document_mask = False
    """Whether each document is scored by itself."""
    _calibration: "Reading | None" = None
    _rounded: Rounded | None = None
    """The numbers that were learned for the file, if they are not the nearest."""

    def __init__(self, run: "Run", held_out: Sequence[int] | None = None):
        self.network, self.tokenizer = run.network, run.tokenizer
        self.directory = run.directory
        self.document_mask = run.train_config.document_mask
        self._run, self._given = run, held_out
        self._held_out: HeldOut | None = None

    def check(self, config: ExportConfig) -> None:
        tokens, own = self.tokenizer.vocabulary_size, self.network.config.vocabulary_size
        if tokens != own:
            raise TokenizerError(
                f"the tokenizer of {self.directory} has {tokens} tokens and its model {own}; they"
                " do not belong together"
            )
        if config.rounding != "nearest":
            self._calibration = calibration_text(self._run, config)
        super().check(config)

    def prepare(self, config: ExportConfig, note: Callable[[str], None]) -> None:
        if self._calibration is not None:
            note("learn how to round")
            network = cast(LanguageNetwork, float32_copy(self.network))
            self._rounded = learned_for(self._calibration, network, config)

    def held_out(self, count: int) -> HeldOut:
        if self._held_out is None:
            given = self._given
            self._held_out = (
                held_out_of(self._run, count) if given is None else self._checked(given)
            )
        return self._held_out

    def _checked(self, held_out: Sequence[int]) -> HeldOut:
        ids, size = [int(token) for token in held_out], self.tokenizer.vocabulary_size
        if not ids or not 0 <= min(ids) <= max(ids) < size:
            span = f" from {min(ids)} to {max(ids)}" if ids else ""
            raise DataError(
                f"held_out must be one or more ids from 0 to {size - 1}; received {len(ids)}{span}"
            )
        return HeldOut(ids, "the tokens that were given")

    def describe(self, config: ExportConfig) -> Description:
        described = describe_network(
            self.network, self.tokenizer, config.quantize, config.prefill_lengths
        )
        embedding = described_embedding(self.network) if config.embedding else None
        return dataclasses.replace(
            described, document_mask=self.document_mask or None, embedding=embedding
        )

    def convert(self, config: ExportConfig) -> bytes:
        content = io.BytesIO()
        self.write(content, config)
        return content.getvalue()

    def write(self, file: IO[bytes], config: ExportConfig) -> None:
        extra = embed_signature if config.embedding else None
        numbers = {} if self._rounded is None else self._rounded.numbers
        with numbers_in_place(self.network, given(numbers)):
            write_tflite(file, self.network, config.quantize, config.prefill_lengths, extra)

    def compare_tflite(self, export: Export[Source], checks: Checks) -> Report:
        config, rounded = export.config, self._rounded
        if rounded is not None:
            rounded.check(checks)
        return compare_file(
            checks,
            self.network,
            self.tokenizer,
            export.folder,
            self.held_out(config.parity_tokens).tokens,
            quantize=config.quantize,
            threads=config.threads,
            converted=self.converted,
            document_mask=self.document_mask,
            embedding=config.embedding,
            chosen={} if rounded is None else rounded.numbers,
        )

    def complete(self, report: Report, config: ExportConfig) -> None:
        held_out = self.held_out(config.parity_tokens)
        unknown = sum(token == self.tokenizer.unknown_id for token in held_out.tokens)
        report["versions"] = versions()
        report["held_out"] = {
            "source": held_out.origin,
            "tokens": len(held_out.tokens),
            "unknown_tokens": unknown,
        }
        if self._rounded is not None:
            report["rounding"] = self._rounded.reported(config)
        keras_file = os.path.join(self.directory, "model.keras")
        if os.path.exists(keras_file):
            report["sizes"]["keras_bytes"] = os.path.getsize(keras_file)

    def tflite_readme(
        self, description: Description, report: Report, sections: tuple[str, ...] = ()
    ) -> str:
        template = "cached" if description.context_length is not None else "recurrent"
        return text_readme(f"{template}.md.j2", self, description, report, sections)


def describe_network(
    network: DecodingNetwork,
    tokenizer: Tokenizer,
    quantize: Quantization,
    prefill_lengths: Sequence[int],
) -> Description:
    """Returns what model.json says of a network that writes text.

    Args:
        network: what was exported.
        tokenizer: its tokenizer.
        quantize: the recipe, by which the bytes that a token reads are counted.
        prefill_lengths: tokens per call of the prompt signatures; those above the context are left
            out.
    """
    positions = capabilities(network).decodes == "cache"
    return Description(
        family=network.config.family,
        model=to_dict(network.config),
        context_length=network.config.sequence_length if positions else None,
        end_id=tokenizer.end_id,
        start_id=tokenizer.start_id,
        prompt_start=list(tokenizer.prompt_start),
        stop_ids=list(tokenizer.stop_ids),
        leading_space=tokenizer.special.leading_space,
        special_tokens=tokenizer.special_tokens,
        vocabulary_size=network.config.vocabulary_size,
        cleaning=tokenizer.cleaner.to_dict() if tokenizer.cleaner.steps else {},
        cache={name: list(shape) for name, shape in network.cache_spec().items()},
        bytes_per_token=_bytes_per_token(network, quantize),
        prefill_lengths=usable_prefill_lengths(network, prefill_lengths),
    )


def _bytes_per_token(network: DecodingNetwork, quantize: Quantization) -> int | None:
    """Returns the bytes of weights that decoding a token reads: all but those of tables of which it
    looks up one row.

    None for somebody's own model, which does not say what its logits are made of.
    """
    if not capabilities(network).has_hidden_states:
        return None
    network = cast(LanguageNetwork, network)
    formats = weight_formats(network, quantize)
    read = {id(weight) for weight in network.output_variables}
    return sum(
        formats[weight.path].bytes_of(tuple(weight.shape))
        for weight in network.weights
        if weight.name != "embeddings" or id(weight) in read
    )


def versions() -> dict[str, str]:
    """Returns the versions of what an export was made with."""
    # The package that `import tensorflow` comes from has other names too, such as tensorflow-tpu.
    modules = {"tfscale": tfscale, "tensorflow": tf, "keras": keras}
    named = {name: module.__version__ for name, module in modules.items()}
    return named | {
        name: importlib.metadata.version(name) for name in ("ai-edge-litert", "litert-quantizer")
    }
