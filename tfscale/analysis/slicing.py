"""`tfscale evaluate --slice-by FIELD`: a language model's perplexity, or a task's metric, for each
group of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfscale.analysis.slices import slices, total_perplexity
from tfscale.errors import DataError, check_installed
from tfscale.files.json_text import JsonObject
from tfscale.tasks.examples import Example, FieldNames, read_examples
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.scored import document_stream
from tfscale.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from tfscale.runs.folder import Run

_ROWS = 16
"""Windows of a batch."""


@dataclass(frozen=True)
class TextScores:
    """The likelihoods of texts.

    Attributes:
        scores: summed nats and tokens of each text, its end token included.
        cloze: whether the model reads both sides of a token, so that they make no perplexity.
    """

    scores: list[tuple[float, int]]
    cloze: bool


Scorer = Callable[[Sequence[str]], TextScores]
"""A language model, as far as it scores texts one by one."""


def score_task_groups(model: TaskPredictor, paths: Sequence[str], field: str) -> JsonObject:
    """Scores labelled examples by the group that a field of theirs names.

    Args:
        model: the model of a task.
        paths: files of examples, .jsonl, .csv or .tsv.
        field: the field with the group.

    Returns:
        The result of `tfscale.analysis.slices.slices`; of a classifier with one label per text also
        `equalized_odds`: label -> equalized odds difference by fairlearn, the largest gap in how
        often the label is given to texts that have it, or to texts that do not, between the groups
        that have such texts; None where no two groups have.

    Raises:
        DataError: an example without the field, one group alone, or a label that the training
            examples do not have.
        ConfigError: a package that the metrics need is not installed.

    Example:
        score_task_groups(load_task("task"), ["texts.jsonl"], "dialect")["gap"]
    """
    task, examples = model.task, model.read(paths)
    groups = _groups(examples, field)
    model.check(examples)
    if task.group_package:
        check_installed("tasks", task.group_package)
    predictions = model.predict(examples)
    scored = task.group_scores(examples, predictions)
    result = slices(scored.items, groups, scored.score, task.metric, draws=scored.draws)
    return result | task.compare_groups(examples, predictions, groups)


def score_text_groups(
    score: Scorer, tokenizer: Tokenizer, paths: Sequence[str], field: str, text_field: str = "text"
) -> JsonObject:
    """Scores texts by a language model, by the group that a field of theirs names.

    Args:
        score: gives the likelihood of each text.
        tokenizer: the model's, which counts the unknown tokens.
        paths: files of texts, .jsonl, .csv or .tsv.
        field: the field with the group.
        text_field: the field with the text.

    Returns:
        The result of `tfscale.analysis.slices.slices`, with `unknown_tokens` and `unknown_share` of
        each group.

    Raises:
        DataError: a text without the field, or one group alone.
    """
    examples = read_examples(paths, "classify", FieldNames(text=text_field), labelled=False)
    groups = _groups(examples, field)
    texts = [example.text for example in examples]
    scored = score(texts)
    result = slices(
        scored.scores,
        groups,
        total_perplexity,
        "pseudo_perplexity" if scored.cloze else "perplexity",
    )
    for name, described in result["groups"].items():
        members = [at for at, group in enumerate(groups) if group == name]
        _, known = document_stream(tokenizer, [texts[at] for at in members])
        described["unknown_tokens"] = known.unknown_tokens
        described["unknown_share"] = (known.unknown_tokens or 0) / sum(
            scored.scores[at][1] for at in members
        )
    return result


def document_scores(run: "Run", texts: Sequence[str]) -> list[tuple[float, int]]:
    """Returns summed nats and tokens of each text by a run, in the windows of `evaluate`.

    The end token of a text is included.
    """
    import tensorflow as tf

    from tfscale.data.masking import hidden_in_turn
    from tfscale.data.pipeline import text_windows
    from tfscale.data.streams import evaluation_streams
    from tfscale.training.loss import token_losses
    from tfscale.training.stateful import StatefulEvaluation, is_stateful

    network, tokenizer, length = run.network, run.tokenizer, run.model_config.sequence_length
    if is_stateful(network):
        score = StatefulEvaluation(network, tf.distribute.get_strategy(), xla=False)
        streams = [document_stream(tokenizer, [text])[0] for text in texts]
        batches = [
            evaluation_streams(
                ids, sequence_length=length, end_id=tokenizer.end_id, start_id=tokenizer.start_id
            )
            for ids in streams
        ]
        return [(score(one)[0], len(ids)) for one, ids in zip(batches, streams, strict=True)]

    masking = network.config.masking
    shape = (1, None) if masking else (_ROWS, length)

    @tf.function(
        input_signature=[tf.TensorSpec(shape, dtype) for dtype in (tf.int32, tf.int32, tf.float32)]
    )
    def nats(ids: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        views = [(ids, 1.0)]
        if masking:
            views = hidden_in_turn(targets, weights, masking.mask_id, masking.parts)
        sums = []
        for read, guessed in views:
            _, nll = token_losses(tf.cast(network(read, training=False), tf.float32), targets)
            sums.append(tf.reduce_sum(nll * weights * guessed, axis=1))
        return tf.add_n(sums)

    columns_of_texts, owners, tokens = [], [], []
    for owner, text in enumerate(texts):
        ids, _ = document_stream(tokenizer, [text])
        window = text_windows(ids, length, tokenizer.end_id, tokenizer.start_id)
        columns_of_texts.append(window)
        owners += [owner] * len(window[0])
        tokens.append(len(ids))
    arrays = [np.concatenate(columns) for columns in zip(*columns_of_texts, strict=True)]
    if masking:
        # It would attend to the filling of a window, so each is read by itself, without filling.
        lengths = arrays[2].sum(axis=1).astype(int)
        sums = [
            nats(*(array[at : at + 1, :end] for array in arrays)).numpy()
            for at, end in enumerate(lengths)
        ]
        return list(
            zip(np.bincount(owners, np.concatenate(sums), len(texts)).tolist(), tokens, strict=True)
        )
    missing = -len(owners) % _ROWS
    arrays = [np.concatenate([array, np.zeros((missing, length), array.dtype)]) for array in arrays]
    sums = [
        nats(*(array[at : at + _ROWS] for array in arrays)).numpy()
        for at in range(0, len(arrays[0]), _ROWS)
    ]
    totals = np.bincount(owners, np.concatenate(sums)[: len(owners)].astype(np.float64), len(texts))
    return list(zip(totals.tolist(), tokens, strict=True))


def _groups(examples: Sequence[Example], field: str) -> list[str]:
    groups = []
    for example in examples:
        if not isinstance(example.fields, dict) or example.fields.get(field) in (None, ""):
            has = ", ".join(example.fields) if isinstance(example.fields, dict) else "no fields"
            raise DataError(f"{example.where}: there is no {field!r} to slice by; it has {has}")
        groups.append(str(example.fields[field]))
    return groups
