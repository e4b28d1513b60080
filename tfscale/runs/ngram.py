"""A run of the family "ngram": counts and smoothing instead of steps."""

import os
import time

import numpy as np
import yaml

from tfscale.config import NGramConfig, to_dict
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.data.tokens import PART_TOKENS, split_text, token_blocks
from tfscale.errors import ConfigError
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.model_folders import TRAINED_FILES
from tfscale.files.paths import atomic_write, exists, write_json
from tfscale.files.run_lock import only_writer
from tfscale.ngram import NGramModel, count_ngrams, estimate, read_arpa
from tfscale.ngram.files import MODEL_FILE, describe, write_model
from tfscale.text.score import Score
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.ui.progress import ProgressLine


@checks_arguments
def train_ngram(
    config: NGramConfig, *, data: str, output: str, progress: bool = True
) -> JsonObject:
    """Estimates an n-gram model on a data folder's training split, or reads an ARPA file.

    Args:
        config: the order, what is kept, or the ARPA file.
        data: DATA_DIR of `tfscale prepare`.
        output: RUN_DIR to write: model.ngram, its tokenizer, config.yaml and summary.json.
        progress: show progress on stderr.

    Returns:
        The summary that is also written: `tokens`, `loss` (nats per token of the training split),
        `tokens_per_second`, `ngrams` by order, `parameters`, `seconds`, `validation` (as `evaluate`
        gives it) and `steps`, which is 0.

    Raises:
        ConfigError: another vocabulary size than the data's.
        DataError: the data folder or the ARPA file is missing, damaged, or does not fit.
        TfscaleError: the disk is full.

    Example:
        train_ngram(NGramConfig(order=5), data="data", output="run")
    """
    manifest = Manifest.load(data, verify="sha256")
    tokenizer = load_tokenizer(data)
    size = manifest.vocabulary_size
    if config.vocabulary_size not in (0, size):
        raise ConfigError(
            f"model.vocabulary_size={config.vocabulary_size}, but the data was tokenized with"
            f" {size} entries; leave the option out to take the data's"
        )
    claim_directory(
        output, "config.yaml", "a run folder", without=("model.keras", *TRAINED_FILES), remote=True
    )
    with only_writer(output):
        return _train(config, manifest, tokenizer, data, output, progress)


def _train(
    config: NGramConfig,
    manifest: Manifest,
    tokenizer: Tokenizer,
    data: str,
    output: str,
    progress: bool,
) -> JsonObject:
    began = time.perf_counter()
    with ProgressLine("train", None, enabled=progress) as line:
        model = _estimate(config, manifest, tokenizer, data, output, line)
        seconds = time.perf_counter() - began
        line.note(f"{sum(model.sizes):,} n-grams in {seconds:.1f} s")
        tokens = 0 if config.arpa else manifest.split("train").tokens
        summary: JsonObject = {
            "steps": 0,
            "tokens": tokens,
            "loss": _score(model, data, manifest, tokenizer, "train").nll_per_token,
            "tokens_per_second": None if config.arpa else tokens / seconds,
            "seconds": seconds,
            "ngrams": model.sizes,
            # A probability each, and a back-off weight of all but the longest.
            "parameters": 2 * sum(model.sizes) - model.sizes[-1],
            "completed": True,
            "validation": None,
        }
        if "validation" in manifest.splits:
            summary["validation"] = _score(model, data, manifest, tokenizer, "validation").to_dict()
    described = {
        "model": {
            "family": config.family,
            **to_dict(config),
            "vocabulary_size": manifest.vocabulary_size,
            "order": model.order,
        },
        "data": data if "://" in data else os.path.abspath(data),
        "tokenizer_digest": manifest.tokenizer_digest,
    }
    config_path = os.path.join(output, "config.yaml")
    if not exists(config_path):
        # First, because it shows that the folder is a run, should the disk be full for the others.
        # That of an earlier run stays until its model is replaced.
        _write_yaml(config_path, described)
    tokenizer.save(os.path.join(output, "tokenizer"))
    write_model(model, os.path.join(output, MODEL_FILE))
    describe(model, tokenizer, os.path.join(output, MODEL_FILE)).write(output)
    write_json(os.path.join(output, "summary.json"), summary)
    _write_yaml(config_path, described)
    return summary


def _estimate(
    config: NGramConfig,
    manifest: Manifest,
    tokenizer: Tokenizer,
    data: str,
    output: str,
    line: ProgressLine,
) -> NGramModel:
    """Reads the model from its ARPA file, or counts the training split."""
    if config.arpa:
        line.note(f"read {config.arpa}")
        return read_arpa(config.arpa, tokenizer)
    ids = {"vocabulary_size": manifest.vocabulary_size, "end_id": manifest.end_id}
    blocks = token_blocks(data, manifest, "train")
    with count_ngrams(blocks, order=config.order, note=line.note, beside=output, **ids) as counts:
        return estimate(counts, min_counts=config.min_counts, beside=output, **ids)


def _write_yaml(path: str, described: JsonObject) -> None:
    with atomic_write(path, "w") as file:
        yaml.safe_dump(described, file, sort_keys=False, allow_unicode=True)


def _score(
    model: NGramModel, data: str, manifest: Manifest, tokenizer: Tokenizer, split: str
) -> Score:
    """Returns the score of a split, a part of it at a time."""
    nll = 0.0
    parts: list[np.ndarray] = []
    before = np.zeros(0, np.int64)

    def add() -> None:
        nonlocal nll, before
        # A part is scored after the tokens that its first n-gram needs.
        stream = np.concatenate([before, *parts])
        nll -= float(model.log_probabilities(stream)[len(before) :].astype(np.float64).sum())
        before = stream[len(stream) - model.order + 1 :] if model.order > 1 else before
        parts.clear()

    for block in token_blocks(data, manifest, split):
        parts.append(block)
        if sum(map(len, parts)) >= PART_TOKENS:
            add()
    if parts:
        add()
    return Score(nll, manifest.split(split).tokens).of(split_text(data, manifest, split, tokenizer))
