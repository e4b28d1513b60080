"""`tfscale.evaluate` and `embed`: figures and vectors of texts by a model.

A model is a path, or what `tfscale.open` returned.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfscale.artifacts import Artifact, opened
from tfscale.config.options import checks_arguments
from tfscale.errors import ConfigError, DataError
from tfscale.files.folders import claim_array, claim_page
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import atomic_write
from tfscale.tasks.examples import file_texts
from tfscale.text.corpora import find_text


@checks_arguments
def evaluate(
    target: str | Artifact,
    *,
    text: Sequence[str] = (),
    data: str | None = None,
    split: str = "validation",
    threads: int = 1,
    slice_by: str = "",
    text_field: str = "text",
    output: str = "",
    choices: str = "",
    shots: int = 0,
    shots_text: Sequence[str] = (),
) -> JsonObject:
    """Returns perplexity and bits per byte of a model, its accuracy in multiple choice, or the
    metrics of a task.

    Args:
        target: a run folder, FILE.tflite, an export folder, or what `tfscale.open` returned.
        text: files to score, each one document, or each record of JSON lines, tables and so on; a
            string is one of them.
        data: data folder to score a split of; a run's own if left out.
        split: the split's name.
        threads: CPU threads; no effect on a run.
        slice_by: a field of the examples that `text` names (JSONL, CSV or TSV): a score for each of
            its values.
        text_field: the field of a record that holds the text.
        output: with it, an HTML file to write, with a table and a picture of the intervals.
        choices: the form of the questions of multiple choice that `text` names: hellaswag, arc,
            mmlu, piqa, lambada, choices, or a registered one.
        shots: examples with their answers before each question.
        shots_text: files of the examples.

    Returns:
        nll_per_token (nats), perplexity, bits_per_byte, tokens, bytes; of a task its metrics on the
        labelled examples that `text` names; with `choices` the figures of
        `tfscale.evaluation.choosing.evaluate_choices`; with `slice_by` the groups and the largest
        gap, see `tfscale.analysis.slices.slices`.

    Raises:
        ConfigError: options that contradict each other, or a target that does not score.
        DataError: the text or the data is missing or damaged.

    Example:
        tfscale.evaluate("run", split="test")["bits_per_byte"]
    """
    if text and split != "validation":
        raise ConfigError(f"split={split!r} is of a data folder, and text names files; give one")
    if text_field != "text" and not text:
        raise ConfigError(f"text_field={text_field!r} is of records in files; name them: text")
    if choices:
        _check_choices(text, data, slice_by, text_field, output)
        return opened(target, threads).score_choices(text, choices, shots, shots_text)
    if shots or shots_text:
        raise ConfigError("shots and shots_text are examples before questions: name choices too")
    if text and data:
        raise ConfigError("give either text or data, not both")
    if slice_by and not text:
        raise ConfigError(
            f"slice_by={slice_by!r} needs files of examples with that field: text, JSONL, CSV"
            " or TSV"
        )
    if output and not slice_by:
        raise ConfigError(
            f"output={output!r} is a page of groups; name the field that they are the values of:"
            " slice_by"
        )
    if output:
        claim_page(output)
    model = opened(target, threads)
    if not slice_by:
        return model.score(text, data, split, text_field)
    result = model.score_groups(text, slice_by, text_field)
    if output:
        from tfscale.ui.intervals import write_slices

        write_slices(output, result)
    return result


def _check_choices(
    text: Sequence[str], data: str | None, slice_by: str, text_field: str, output: str
) -> None:
    """Refuses what does not go with questions of multiple choice."""
    if not text or data:
        raise ConfigError("choices are in files of questions: text, such as JSONL; not in data")
    for name, value, usual in (
        ("slice_by", slice_by, ""),
        ("output", output, ""),
        ("text_field", text_field, "text"),
    ):
        if value != usual:
            raise ConfigError(f"{name}={value!r} does not go with choices, whose fields are fixed")


@checks_arguments
def embed(
    target: str | Artifact,
    texts: Sequence[str] = (),
    *,
    text: Sequence[str] = (),
    text_field: str = "text",
    pooling: Literal["mean", "last"] = "mean",
    output: str = "",
) -> np.ndarray:
    """Returns a vector for each text, from the hidden states of a run or an exported file.

    Args:
        target: a run folder of a network, a .tflite file or its folder that was exported with
            `embedding`, or what `tfscale.open` returned.
        texts: the texts themselves; a string is one of them.
        text: instead of them files of texts: records with a field of text, or .txt with a text on
            each line.
        text_field: the field of a record that holds its text.
        pooling: mean, over the tokens of a text, or last, the state of its last token. The windows
            of a text longer than the context are averaged, or its last tokens are read.
        output: a .npy file to write.

    Returns:
        float32 (N, D), a row for each text; see `tfscale.inference.embedding.embed_texts`.

    Raises:
        ConfigError: both or neither of texts and text, or a target that has no hidden states, such
            as a bundle.
        DataError: a file or a text that is missing or empty.

    Example:
        tfscale.embed("run", ["the cat sat", "on the mat"]).shape    # (2, 256)
    """
    if bool(texts) == bool(text):
        raise ConfigError("give either texts, or files of them by text")
    if output:
        claim_array(output)
    model = opened(target)
    if text:
        texts = [one for file in find_text(text) for one in file_texts(file, text_field)]
        if not texts:
            raise DataError(f"{' and '.join(text)} {'has' if len(text) == 1 else 'have'} no texts")
    vectors = model.embed(texts, pooling)
    if output:
        with atomic_write(output) as file:
            np.save(file, vectors)
    return vectors
