"""`tfscale evaluate --slice-by FIELD`: a language model's perplexity, or a task's metric, for each
group of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfscale.analysis.slices import slices, total_perplexity
from tfscale.errors import ConfigError, DataError, check_installed
from tfscale.models.network import capabilities
from tfscale.tasks.examples import Example, FieldNames, read_examples
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.scored import document_stream

_ROWS = 16
"""Windows of a batch."""


def evaluate_slices(
    kind: str, opened: Any, paths: Sequence[str], field: str, text_field: str = "text"
) -> dict[str, Any]:
    """Scores examples by the group that a field of theirs names.

    Args:
        kind: what `tfscale.api.open_target` says that `opened` is: "run", "file" or "task".
        opened: the model.
        paths: files of examples, .jsonl, .csv or .tsv; those of a task have labels.
        field: the field with the group.
        text_field: the field with the text, for a language model.

    Returns:
        What `tfscale.analysis.slices.slices` returns; of a classifier with one label per text also
        `equalized_odds`: label -> equalized odds difference by fairlearn, the largest gap in how
            often the label is given to texts that
        have it, or to texts that do not, between the groups that have such texts; None where no two
        groups have.

    Raises:
        DataError: an example without the field, one group alone, or a label that the training
            examples do not have.
        ConfigError: a package that the metrics need is not installed.

    Example:
        evaluate_slices("run", load_run("run"), ["texts.jsonl"], "dialect")["gap"]
    """
    if kind == "task":
        return _task_slices(opened, paths, field)
    examples = read_examples(paths, "classify", FieldNames(text=text_field), labelled=False)
    groups = _groups(examples, field)
    texts = [example.text for example in examples]
    scores, cloze = text_scores(kind, opened, texts)
    result = slices(
        scores, groups, total_perplexity, "pseudo_perplexity" if cloze else "perplexity"
    )
    for name, described in result["groups"].items():
        members = [at for at, group in enumerate(groups) if group == name]
        _, known = document_stream(opened.tokenizer, [texts[at] for at in members])
        described["unknown_tokens"] = known.unknown_tokens
        described["unknown_share"] = (known.unknown_tokens or 0) / sum(
            scores[at][1] for at in members
        )
    return result


def text_scores(
    kind: str, opened: Any, texts: Sequence[str]
) -> tuple[list[tuple[float, int]], bool]:
    """Summed nats and tokens of each text by a language model, and whether it is a cloze.

    Raises:
        ConfigError: a bundle, or another target that scores no text.
    """
    if kind == "run":
        return document_scores(opened, texts), capabilities(opened.network).is_cloze
    if kind != "file" or not hasattr(opened, "score"):
        raise ConfigError(
            "texts are scored one by one by runs and by exported files that score; this one"
            " does not"
        )
    found = [opened.score(text) for text in texts]
    return [(one.nll, one.tokens) for one in found], found[0].cloze


def document_scores(run: Any, texts: Sequence[str]) -> list[tuple[float, int]]:
    """Summed nats and tokens of each text by a run, in the windows of `evaluate`, its end token
    included."""
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
    def nats(ids, targets, weights):
        views: Any = [(ids, 1.0)]
        if masking:
            views = hidden_in_turn(targets, weights, masking.mask_id, masking.parts)
        sums = []
        for read, guessed in views:
            _, nll = token_losses(tf.cast(network(read, training=False), tf.float32), targets)
            sums.append(tf.reduce_sum(nll * weights * guessed, axis=1))
        return tf.add_n(sums)

    parts, owners, tokens = [], [], []
    for owner, text in enumerate(texts):
        ids, _ = document_stream(tokenizer, [text])
        window = text_windows(ids, length, tokenizer.end_id, tokenizer.start_id)
        parts.append(window)
        owners += [owner] * len(window[0])
        tokens.append(len(ids))
    arrays = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
    if masking:
        # It would attend to what fills a window up, so each is read by itself and as long as it is.
        lengths = arrays[2].sum(axis=1).astype(int)
        sums = [
            nats(*(part[at : at + 1, :end] for part in arrays)).numpy()
            for at, end in enumerate(lengths)
        ]
        return list(
            zip(np.bincount(owners, np.concatenate(sums), len(texts)).tolist(), tokens, strict=True)
        )
    missing = -len(owners) % _ROWS
    arrays = [np.concatenate([part, np.zeros((missing, length), part.dtype)]) for part in arrays]
    sums = [
        nats(*(part[at : at + _ROWS] for part in arrays)).numpy()
        for at in range(0, len(arrays[0]), _ROWS)
    ]
    totals = np.bincount(owners, np.concatenate(sums)[: len(owners)].astype(np.float64), len(texts))
    return list(zip(totals.tolist(), tokens, strict=True))


def _task_slices(model: TaskPredictor, paths: Sequence[str], field: str) -> dict[str, Any]:
    task, examples = model.task, model.read(paths)
    groups = _groups(examples, field)
    model.check(examples)
    if task.group_package:
        check_installed("tasks", task.group_package)
    predictions = model.predict(examples)
    scored = task.group_scores(examples, predictions)
    result = slices(scored.items, groups, scored.score, task.metric, draws=scored.draws)
    return result | task.compare_groups(examples, predictions, groups)


def _groups(examples: Sequence[Example], field: str) -> list[str]:
    groups = []
    for example in examples:
        if not isinstance(example.fields, dict) or example.fields.get(field) in (None, ""):
            has = ", ".join(example.fields) if isinstance(example.fields, dict) else "no fields"
            raise DataError(f"{example.where}: there is no {field!r} to slice by; it has {has}")
        groups.append(str(example.fields[field]))
    return groups
