"""Scores how well a run or an exported file predicts a text, in the same windows for both."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfscale.data.manifest import Manifest
from tfscale.data.masking import as_read
from tfscale.data.pipeline import data_errors, evaluation_dataset, text_windows
from tfscale.data.streams import evaluation_streams, split_tokens
from tfscale.data.tokens import split_stream, split_text
from tfscale.errors import ConfigError, DataError, TokenizerError
from tfscale.evaluation.perplexity import evaluate_network
from tfscale.files.json_text import JsonObject
from tfscale.models.documents import documents_of
from tfscale.runs.folder import Run
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import Reading
from tfscale.text.score import Score, ScoredText
from tfscale.text.scored import document_stream
from tfscale.text.tokenizers import Tokenizer
from tfscale.training.stateful import is_stateful
from tfscale.ui.progress import ProgressLine

TOKENS_PER_BATCH = 2048
"""Bounds the logits of a batch: 2048 x V float32."""


class ExportedModel(Protocol):
    """The members of a model of `tfscale.device.load` that are needed here."""

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer beside the file."""

    def score(
        self, text: Sequence[int], utf8_bytes: int, progress: Callable[[int, int], None] | None
    ) -> Score:
        """Scores the ids of a stream."""


def evaluate_run(
    run: Run,
    data_dir: str | None = None,
    split: str = "validation",
    text_files: Sequence[str] | None = None,
    text_field: str = "text",
) -> JsonObject:
    """Scores the Keras network of a run.

    Each window starts from nothing but the token before it, and each document of a window too where
    the run was trained with `train.document_mask`. The state of a stateful run is carried
    over the whole split or text instead, in streams as `tfscale.text.score.stream_starts` cuts
    them, as in the validation of its training.

    Args:
        run: from `load_run(RUN_DIR)`.
        data_dir: data folder; without it (and without text) the one that the run was trained on.
        split: which split of the data folder.
        text_files: files, folders or globs to score instead, local or gs://, in any format that
            `tfscale prepare` reads; a file of plain text is a document.
        text_field: the field of a record that holds its text.

    Returns:
        `nll_per_token` (nats), `perplexity`, `bits_per_byte`, `tokens`, `bytes` (of the cleaned
        text), `unknown_tokens` and their `unknown_share`, `charged_bits_per_byte`: the part of the
        bits per byte that spells what the tokens lose of the text; `cleaning`: the steps by which
        the text was cleaned; and what was scored: `data` and `split`, or `text`. None stands for
        what is not known.

    Raises:
        ConfigError: both text and data are given, or the run's own data is gone and neither is.
        DataError: the data or the text is missing, empty or damaged, or the split does not exist.
        TokenizerError: the data was tokenized by another tokenizer than the model's.

    Example:
        evaluate_run(load_run("run"), split="test")["bits_per_byte"]
    """
    _check_source(data_dir, text_files)
    if text_files:
        stream, text = text_stream(run.tokenizer, text_files, text_field)
        scores = [_score(run, data) for data in _stream_windows(run, stream)]
        nll = sum(score.nll for score in scores)
        tokens = sum(score.tokens for score in scores)
        score = Score(nll, tokens, cloze=scores[0].cloze).of(text)
        return score.to_dict() | {"cleaning": run.tokenizer.cleaner.steps, "text": list(text_files)}
    data_dir = data_dir or run.data_dir
    if data_dir is None:
        raise ConfigError(
            f"the data that {run.directory} was trained on is gone; give text or data to"
            " evaluate on"
        )
    manifest = manifest_of_model(data_dir, split, run.tokenizer)
    dataset = _split_windows(run, data_dir, manifest, split)
    with data_errors(data_dir):
        score = _score(run, dataset)
        score = score.of(split_text(data_dir, manifest, split, run.tokenizer))
    return score.to_dict() | {"cleaning": manifest.cleaner.steps, "data": data_dir, "split": split}


def _score(run: Run, dataset: tf.data.Dataset) -> Score:
    """Scores batches, each document by itself where the run was trained so."""
    documents = documents_of(run.train_config, run.tokenizer.start_id)
    return evaluate_network(run.network, dataset, documents=documents)


def _stream_windows(run: Run, stream: np.ndarray) -> list[tf.data.Dataset]:
    """Returns batches of the windows of a text, in datasets of one window length each."""
    length, tokenizer = run.model_config.sequence_length, run.tokenizer
    end_id, start_id = tokenizer.end_id, tokenizer.start_id
    if is_stateful(run.network):
        ids = {"end_id": end_id, "start_id": start_id}
        return [evaluation_streams(stream, sequence_length=length, **ids)]
    # A model that predicts hidden tokens would attend to padding: its last window is as long as the
    # rest of the text.
    cut = len(stream) // length * length if run.model_config.masking else len(stream)
    datasets = []
    for tokens, size in ((stream[:cut], length), (stream[cut:], len(stream) - cut)):
        if len(tokens):
            windows = text_windows(tokens, size, end_id, start_id)
            batches = tf.data.Dataset.from_tensor_slices(windows).batch(_rows(run))
            datasets.append(as_read(batches, run.model_config))
    return datasets


def _split_windows(run: Run, data_dir: str, manifest: Manifest, split: str) -> tf.data.Dataset:
    """Returns batches of the windows of a split."""
    length, tokenizer = run.model_config.sequence_length, run.tokenizer
    if is_stateful(run.network):
        return evaluation_streams(
            split_tokens(data_dir, manifest, split),
            sequence_length=length,
            end_id=tokenizer.end_id,
            start_id=tokenizer.start_id,
        )
    dataset = evaluation_dataset(data_dir, split, sequence_length=length, batch_size=_rows(run))
    return as_read(dataset, run.model_config)


def _rows(run: Run) -> int:
    return max(1, TOKENS_PER_BATCH // run.model_config.sequence_length)


def evaluate_file(
    model: ExportedModel,
    data_dir: str | None = None,
    split: str = "validation",
    text_files: Sequence[str] | None = None,
    progress: bool = True,
    text_field: str = "text",
) -> JsonObject:
    """Scores an exported file by the runtime of the device, one decode step per token.

    Args:
        model: from `tfscale.device.load(EXPORT_DIR)`.
        data_dir: data folder; a file does not know its own, so that this or `text_files` is needed.
        split: which split of the data folder.
        text_files: files, folders or globs to score; a file of plain text is a document.
        text_field: the field of a record that holds its text.
        progress: show progress on stderr.

    Returns:
        The same as `evaluate_run`, in the same windows, so that the figures of a run and of its
        file can be compared.

    Raises:
        ConfigError, DataError, TokenizerError: as `evaluate_run`.
    """
    _check_source(data_dir, text_files)
    if model.tokenizer is None:
        raise ConfigError(
            "the file has no tokenizer beside it and scores ids alone:"
            " tfscale.device.load(...).score(ids)"
        )
    if text_files:
        stream, text = text_stream(model.tokenizer, text_files, text_field)
        cleaning = model.tokenizer.cleaner.steps
        source: JsonObject = {"cleaning": cleaning, "text": list(text_files)}
    elif data_dir is not None:
        manifest = manifest_of_model(data_dir, split, model.tokenizer)
        text = split_text(data_dir, manifest, split, model.tokenizer)
        stream = split_stream(data_dir, split)
        source = {"cleaning": manifest.cleaner.steps, "data": data_dir, "split": split}
    else:
        raise ConfigError(
            "an exported file does not know its data; give text or data to evaluate on"
        )
    began = time.perf_counter()
    with ProgressLine("evaluate", len(stream), enabled=progress) as line:

        def show(done: int, total: int) -> None:
            line.update(done, f"{done / (time.perf_counter() - began):,.0f} tokens/s")

        score = model.score(stream.tolist(), text.utf8_bytes, show)
    return score.of(text).to_dict() | source


def text_stream(
    tokenizer: Tokenizer, files: Sequence[str], text_field: str = "text"
) -> tuple[np.ndarray, ScoredText]:
    """Returns the tokens of text files, cleaned as the tokenizer cleans, an end token after each.

    Files that are empty, or are so when they are cleaned, are left out, as in data preparation.

    Returns:
        ids (N,) int32, and what is known about the cleaned text.

    Raises:
        DataError: a file is missing or is not UTF-8, or all are empty.
    """
    texts = list(read_documents(find_text(files), Reading(text_field=text_field)))
    if not any(map(tokenizer.cleaner, texts)):
        cleaned = f", cleaned by {', '.join(tokenizer.cleaner.steps)}" if texts else ""
        raise DataError(
            f"nothing to score: {', '.join(files)} {'is' if len(files) == 1 else 'are'}"
            f" empty{cleaned}"
        )
    return document_stream(tokenizer, [text for text in texts if tokenizer.cleaner(text)])


def _check_source(data_dir: str | None, text_files: Sequence[str] | None) -> None:
    if text_files and data_dir:
        raise ConfigError(
            f"give either text or data to evaluate on; received text={text_files} and"
            f" data={data_dir!r}"
        )


def manifest_of_model(data_dir: str, split: str, tokenizer: Tokenizer) -> Manifest:
    """Returns the manifest of a data folder, verified by digest.

    Args:
        data_dir: the data folder.
        split: one that it must have.
        tokenizer: that of the model.

    Raises:
        DataError: the folder is missing or damaged, or lacks the split.
        TokenizerError: it was tokenized by another tokenizer.
    """
    manifest = Manifest.load(data_dir)
    manifest.split(split)
    if manifest.tokenizer_digest != tokenizer.digest:
        raise TokenizerError(
            f"{data_dir} was tokenized by another tokenizer than the model's: its token counts and"
            " ids do not compare; give the data that the model was trained on, or text"
        )
    return manifest
