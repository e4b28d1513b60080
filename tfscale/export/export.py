"""A trained run to a folder for the device: the file, its tokenizer, a description, and the proof that it is right."""

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfscale.config import ExportConfig, SamplingConfig, to_dict
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import evaluation_dataset
from tfscale.errors import DataError, TokenizerError
from tfscale.evaluation.keras_decoder import KerasDecoder
from tfscale.evaluation.sampling import next_token
from tfscale.export.parity import check_parity, float32_copy, require
from tfscale.export.readme import readme
from tfscale.export.tflite import export_tflite, usable_prefill_lengths
from tfscale.files import atomic_directory, atomic_write, claim_directory, sha256_file, write_json
from tfscale.models import Network
from tfscale.report import read_history, render_report

if TYPE_CHECKING:
    from tfscale.training.run_folder import Run

FORMAT_VERSION = 1


def export_run(
    run: "Run",
    config: ExportConfig,
    held_out: Sequence[int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Writes the export folder of a run, after the file has passed its comparison with the network.

    Args:
        run: a trained run, as `tfscale.training.run.load_run` gives it.
        config: output folder, recipe and how much is compared.
        held_out: token ids to compare on; otherwise the first `config.parity_tokens` of the run's validation (or test)
            split, or, where its data folder is gone, tokens that the network itself generates.
        progress: is called with the name of each stage.

    Returns:
        The parity report (see `tfscale.export.parity.check_parity`) with `held_out`, `versions` and `output`.

    Raises:
        ExportError: the network cannot be converted, or the file fails a check; nothing was written.
        DataError: the output folder holds something that is not an export, or `held_out` has ids that do not exist.

    Example:
        export_run(load_run("run"), ExportConfig(output="export", quantize="int8"))
    """
    note = progress or (lambda stage: None)
    claim_directory(config.output, "model.json", "an export folder")
    network, tokenizer = run.network, run.tokenizer
    if tokenizer.vocabulary_size != network.config.vocabulary_size:
        raise TokenizerError(
            f"the tokenizer of {run.directory} has {tokenizer.vocabulary_size} tokens and its model "
            f"{network.config.vocabulary_size}; they do not belong together"
        )
    if held_out is not None:
        tokens, source = [int(token) for token in held_out], "the tokens that were given"
        if not tokens or not 0 <= min(tokens) <= max(tokens) < tokenizer.vocabulary_size:
            raise DataError(
                f"held_out must be one or more ids from 0 to {tokenizer.vocabulary_size - 1}; received {len(tokens)}"
                + (f" from {min(tokens)} to {max(tokens)}" if tokens else "")
            )
    else:
        tokens, source = held_out_tokens(run, config.parity_tokens)
    with atomic_directory(config.output) as folder:
        note("convert")
        content = export_tflite(network, config.quantize, config.prefill_lengths)
        path = os.path.join(folder, "model.tflite")
        with atomic_write(path) as file:
            file.write(content)
        tokenizer.save(os.path.join(folder, "tokenizer"))
        metadata = describe(network, tokenizer, config, sha256_file(path))
        write_json(os.path.join(folder, "model.json"), metadata)
        note("compare with Keras")
        report = check_parity(network, tokenizer, folder, tokens, quantize=config.quantize, threads=config.threads)
        require(report)
        note("write the report")
        keras_file = os.path.join(run.directory, "model.keras")
        if os.path.exists(keras_file):
            report["sizes"]["keras_bytes"] = os.path.getsize(keras_file)
        report["held_out"] = {"source": source, "tokens": len(tokens)}
        report["versions"] = _versions()
        report["output"] = config.output
        write_json(os.path.join(folder, "parity.json"), report)
        _write_texts(folder, run, report, metadata)
    return report


def describe(network: Network, tokenizer: Any, config: ExportConfig, sha256: str) -> dict[str, Any]:
    """The content of model.json: what a program must know to run the file."""
    transformer = network.config.family == "transformer"
    return {
        "format_version": FORMAT_VERSION,
        "family": network.config.family,
        "model": to_dict(network.config),
        "context_length": network.config.sequence_length if transformer else None,
        "end_id": tokenizer.end_id,
        "vocabulary_size": network.config.vocabulary_size,
        "tokenizer": "tokenizer",
        "tokenizer_digest": tokenizer.digest,
        "quantize": config.quantize,
        "file": "model.tflite",
        "sha256": sha256,
        "cache": {name: list(shape) for name, shape in network.cache_spec().items()},
        "prefill_lengths": usable_prefill_lengths(network, config.prefill_lengths),
        "tfscale_version": _version("tfscale"),
    }


def held_out_tokens(run: "Run", count: int) -> tuple[list[int], str]:
    """Up to `count` tokens that the run was not trained on, and where they come from."""
    reason = "the run names no data folder"
    if run.data_dir is not None:
        # The name alone: where the folder lies on this machine is nobody's business on the device.
        name = os.path.basename(os.path.normpath(run.data_dir))
        try:
            manifest = Manifest.load(run.data_dir, verify="size")
        except DataError:
            reason = f"its data folder {name} is gone or damaged"
        else:
            if manifest.tokenizer_digest == run.tokenizer.digest:
                for split in ("validation", "test"):
                    if split in manifest.splits and manifest.splits[split].tokens:
                        return _first_tokens(run.data_dir, split, count), f"{split} split of {name}"
                reason = f"{name} has neither a validation nor a test split"
            else:
                reason = f"{name} now has another tokenizer"
    return _sampled_tokens(run, count), f"generated by the network at temperature 1, because {reason}"


def _first_tokens(data_dir: str, split: str, count: int) -> list[int]:
    tokens: list[int] = []
    # Each token of a split is a target exactly once, so the targets are the split.
    for _, targets, weights in evaluation_dataset(data_dir, split, sequence_length=count, batch_size=1).take(1):
        tokens += np.asarray(targets)[np.asarray(weights) > 0].tolist()
    return tokens


def _sampled_tokens(run: "Run", count: int) -> list[int]:
    decoder = KerasDecoder(float32_copy(run.network), prefill_lengths=[])
    sampling, rng = SamplingConfig(temperature=1.0), np.random.default_rng(0)
    end_id = run.tokenizer.end_id
    longest = run.network.config.sequence_length
    tokens: list[int] = []
    while len(tokens) < count:
        decoder.reset()
        previous = end_id
        for _ in range(min(longest, count - len(tokens))):
            previous = next_token(decoder.feed([previous]), sampling, (), rng)
            tokens.append(previous)
            if previous == end_id:
                break
    return tokens


def _write_texts(folder: str, run: "Run", report: dict[str, Any], metadata: dict[str, Any]) -> None:
    parameters = sum(int(np.prod(weight.shape)) for weight in run.network.trainable_weights)
    prompt = report["greedy"]["prompt"]
    short = prompt.splitlines()[0][:40] if prompt.strip() else ""
    text = readme(
        metadata, report, parameters=parameters, tokenizer_kind=run.tokenizer.kind, prompt=short,
        prompt_ids=[run.tokenizer.end_id, *run.tokenizer.encode(short)],
    )  # fmt: skip
    with atomic_write(os.path.join(folder, "README.md"), "w") as file:
        file.write(text)
    sizes, speed, perplexity = report["sizes"], report["speed"], report["perplexity"]
    rows = [
        ("Parameters", f"{parameters:,}"),
        ("Weights in the file", metadata["quantize"]),
        ("File", f"{sizes['file_bytes']:,} bytes ({sizes['file_bytes'] / sizes['float32_weight_bytes']:.3f} of the "
                 "weights in float32)"),
        ("File, gzip", f"{sizes['gzip_bytes']:,} bytes"),
        ("Perplexity in Keras", f"{perplexity['keras']:.4f}"),
        ("Perplexity of the file", f"{perplexity['file']:.4f}"),
        ("Held-out tokens", f"{report['held_out']['tokens']:,}, {report['held_out']['source']}"),
        ("Decode on this machine", f"{speed['decode_tokens_per_second']:,.0f} tokens/s, {speed['threads']} thread(s)"),
        ("Prompt on this machine", f"{speed['prefill_tokens_per_second']:,.0f} tokens/s"),
    ]  # fmt: skip
    totals: dict[str, int] = {}
    for names in report["operations"].values():
        for name, number in names.items():
            totals[name] = totals.get(name, 0) + number
    render_report(
        os.path.join(folder, "report.html"),
        f"{metadata['family'].capitalize()} for LiteRT, {metadata['quantize']} weights",
        [
            ("Export", ("", ""), rows),
            ("Operations", ("operation", "count"), sorted(totals.items(), key=lambda item: -item[1])),
            ("Made with", ("package", "version"), list(report["versions"].items())),
        ],
        history=read_history(os.path.join(run.directory, "history.jsonl")),
        samples=[(prompt, report["greedy"]["file"])],
        checks=report["checks"],
    )


def _versions() -> dict[str, str]:
    packages = ("tfscale", "tensorflow", "keras", "ai-edge-litert", "litert-quantizer")
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    if package == "tfscale":
        from tfscale import __version__

        return __version__
    return importlib.metadata.version(package)
