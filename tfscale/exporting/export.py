"""A trained run to a folder for the device: the file, its tokenizer, a description, and the proof
that it is right."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, DataError, TokenizerError
from tfscale.exporting.folder import describe, versions
from tfscale.exporting.held_out import held_out_tokens
from tfscale.exporting.litertlm import build_bundle, check_bundle, check_bundle_text
from tfscale.exporting.parity import check_parity, float32_copy, require
from tfscale.exporting.saved_model import FOLDER as SAVED_MODEL
from tfscale.exporting.saved_model import check_saved_model, write_saved_model
from tfscale.exporting.scoring import export_keras
from tfscale.exporting.texts import write_texts
from tfscale.exporting.tflite import export_tflite
from tfscale.exporting.web import check_web, write_page
from tfscale.files.folders import atomic_directory
from tfscale.files.model_folders import claim_export
from tfscale.files.paths import atomic_write, write_json
from tfscale.models.network import capabilities

if TYPE_CHECKING:
    from tfscale.runs.folder import Run


def export_run(
    run: "Run",
    config: ExportConfig,
    held_out: Sequence[int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes the export folder of a run, after the file has passed its comparison with the network.

    Args:
        run: a trained run, as `tfscale.runs.train.load_run` gives it.
        config: output folder, recipe and how much is compared.
        held_out: token ids to compare on; otherwise the first `config.parity_tokens` of the run's
            validation (or test) split, or, where its data folder is gone, tokens that the network
            itself generates.
        progress: is called with the name of each stage.

    Returns:
        The parity report (see `tfscale.exporting.parity.check_parity`) with `held_out`, `versions`
        and `output`.

    Raises:
        ExportError: the network cannot be converted, or the file fails a check; nothing was
            written.
        DataError: the output folder holds something that is not an export, or `held_out` has ids
            that do not exist.

    Example:
        export_run(load_run("run"), ExportConfig(output="export", quantize="int8"))
    """
    note = progress or (lambda stage: None)
    if config.format in ("ngram", "arpa"):
        raise ConfigError(
            f"format={config.format!r} is for n-gram models; this is a network: give --format"
            " tflite"
        )
    claim_export(config.output)
    if capabilities(run.network).is_cloze:
        return _export_cloze(run, config, held_out)
    network, tokenizer = run.network, run.tokenizer
    if tokenizer.vocabulary_size != network.config.vocabulary_size:
        raise TokenizerError(
            f"the tokenizer of {run.directory} has {tokenizer.vocabulary_size} tokens and its model"
            f" {network.config.vocabulary_size}; they do not belong together"
        )
    if held_out is not None:
        tokens, source = [int(token) for token in held_out], "the tokens that were given"
        if not tokens or not 0 <= min(tokens) <= max(tokens) < tokenizer.vocabulary_size:
            raise DataError(
                f"held_out must be one or more ids from 0 to {tokenizer.vocabulary_size - 1};"
                f" received {len(tokens)}"
                + (f" from {min(tokens)} to {max(tokens)}" if tokens else "")
            )
    else:
        tokens, source = held_out_tokens(run, config.parity_tokens)
    unknown = sum(token == tokenizer.unknown_id for token in tokens)
    if config.format == "litertlm":
        check_bundle(network, tokenizer)
    if config.format == "web":
        check_web(tokenizer)
    with atomic_directory(config.output) as folder:
        tokenizer.save(os.path.join(folder, "tokenizer"))
        write = _write_saved_model if config.format == "saved_model" else _write_file
        report, metadata = write(run, config, folder, tokens, note)
        note("write the report")
        keras_file = os.path.join(run.directory, "model.keras")
        if os.path.exists(keras_file):
            report["sizes"]["keras_bytes"] = os.path.getsize(keras_file)
        report |= {
            "format": config.format,
            "versions": versions(),
            "output": config.output,
            "held_out": {"source": source, "tokens": len(tokens), "unknown_tokens": unknown},
        }
        write_json(os.path.join(folder, "parity.json"), report)
        write_texts(
            folder,
            network,
            tokenizer,
            report,
            metadata,
            os.path.join(run.directory, "history.jsonl"),
        )
    return report


def _export_cloze(
    run: "Run", config: ExportConfig, held_out: Sequence[int] | None
) -> dict[str, Any]:
    """A model that reads both sides does not decode token by token: it becomes a file that scores
    windows."""
    if capabilities(run.network).predicts == "masked":
        raise ConfigError(
            "a run of the family bert guesses hidden tokens and is a start for tasks: fine-tune it"
            " (tfscale finetune) and export what comes out"
        )
    if config.format != "tflite":
        raise ConfigError(
            f"format={config.format!r} is for models that write text; give --format tflite for a"
            " bilstm"
        )
    tokens = held_out if held_out is not None else held_out_tokens(run, config.parity_tokens)[0]
    return export_keras(
        float32_copy(run.network),
        output=config.output,
        sequence_length=run.model_config.sequence_length,
        held_out=tokens,
        tokenizer=run.tokenizer,
        quantize=config.quantize,  # type: ignore[arg-type]  # int4 is refused there
    )


def _write_file(
    run: "Run", config: ExportConfig, folder: str, tokens: list[int], note: Callable[[str], None]
) -> Any:
    """Writes and checks the .tflite file, and with format=litertlm the bundle around it, which
    takes its place."""
    network, tokenizer = run.network, run.tokenizer
    note("convert")
    content = export_tflite(network, config.quantize, config.prefill_lengths)
    path = os.path.join(folder, "model.tflite")
    with atomic_write(path) as file:
        file.write(content)
    metadata = describe(network, tokenizer, config, path)
    write_json(os.path.join(folder, "model.json"), metadata)
    note("compare with Keras")
    report = check_parity(
        network, tokenizer, folder, tokens, quantize=config.quantize, threads=config.threads
    )
    require(report)
    if config.format == "web":
        note("page")
        write_page(folder, tokenizer)
    if config.format == "litertlm":
        note("bundle, and compare with the file")
        bundle = os.path.join(folder, "model.litertlm")
        build_bundle(path, tokenizer, network.config.sequence_length, bundle)
        check_bundle_text(report, folder, bundle)
        require(report)
        os.remove(path)
        report["sizes"]["bundle_bytes"] = os.path.getsize(bundle)
        metadata = describe(network, tokenizer, config, bundle)
        write_json(os.path.join(folder, "model.json"), metadata)
    return report, metadata


def _write_saved_model(
    run: "Run", config: ExportConfig, folder: str, tokens: list[int], note: Callable[[str], None]
) -> Any:
    note("convert")
    directory = os.path.join(folder, SAVED_MODEL)
    write_saved_model(run.network, config.prefill_lengths, directory)
    metadata = describe(
        run.network, run.tokenizer, config, os.path.join(directory, "saved_model.pb")
    )
    metadata["file"] = SAVED_MODEL
    write_json(os.path.join(folder, "model.json"), metadata)
    note("compare with Keras")
    report = check_saved_model(
        run.network, directory, tokens, run.tokenizer.end_id, run.tokenizer.start_id
    )
    require(report)
    return report, metadata
