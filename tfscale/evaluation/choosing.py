"""Judges a model of the next token by multiple choice: `tfscale evaluate --choices FORM`."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfscale.errors import ConfigError, DataError, TfscaleError
from tfscale.evaluation.choices import ChoiceForm, Choices
from tfscale.evaluation.continuations import Continuation, ContinuationModel, Scored, continuation
from tfscale.files.json_text import JsonObject
from tfscale.registry import CHOICE_FORMS
from tfscale.text.corpora import find_text
from tfscale.text.reader import reader_of
from tfscale.ui.progress import ProgressLine


@dataclass(frozen=True)
class Placed:
    """A question, and the file and place that it comes from."""

    where: str
    question: Choices


def evaluate_choices(
    model: ContinuationModel,
    form: str,
    text: Sequence[str],
    shots: int = 0,
    shots_text: Sequence[str] = (),
    progress: bool = True,
) -> JsonObject:
    """Returns how often a model finds the right choice likeliest.

    All files are read and cut into tokens before the first question is scored.

    Args:
        model: the model.
        form: the name of the form of the files.
        text: files of questions, in any format that has fields.
        shots: examples with answers before each question.
        shots_text: files of the examples; the first ones of the question's group are taken, without
            the question itself.
        progress: show progress on stderr.

    Returns:
        `choices` (the form), `examples` (questions), each of the form's metrics and its `_stderr`,
        `chance` (the accuracy of guessing, where there are choices), `shots`, `cut` (choices whose
        context was too long and lost its beginning), `unknown_tokens` (of questions and choices, as
        often as they were read; None where every text has its tokens), `text`; with several groups
        also `groups`: name -> the metrics of each.

    Raises:
        ConfigError: there is no such form, or `shots` and `shots_text` do not go together.
        DataError: a file or a record that cannot be read, too few examples, or a choice that is
            longer than the model's context.
    """
    if shots < 0:
        raise ConfigError(f"shots={shots} is out of range; expected 0 or more")
    if bool(shots) != bool(shots_text):
        raise ConfigError(
            f"shots={shots} and shots_text={list(shots_text)} go together: the number of examples"
            " before each question, and the files that they are from"
        )
    chosen: ChoiceForm = CHOICE_FORMS.get(form)()
    questions = list(read_questions(chosen, text))
    if not questions:
        raise DataError(f"{' and '.join(text)} {'has' if len(text) == 1 else 'have'} no questions")
    examples = list(read_questions(chosen, shots_text))
    rows, cut = [], 0
    for placed in questions:
        whole = _continuations(model, chosen, placed, _before(chosen, placed, examples, shots))
        try:
            fitting = [row.cut(model.context_length) for row in whole]
        except DataError as error:
            raise DataError(f"{placed.where}: {error}") from error
        cut += sum(
            len(row.context) < len(before.context)
            for row, before in zip(fitting, whole, strict=True)
        )
        rows += fitting
    scored = iter(_scored(model, rows, progress))
    measured = [
        chosen.measure(placed.question, [next(scored) for _ in placed.question.choices])
        for placed in questions
    ]
    groups = [placed.question.group for placed in questions]
    counts = [len(placed.question.choices) for placed in questions]
    result: JsonObject = {"choices": form, "examples": len(questions)}
    result |= _figures(chosen, measured, groups)
    if max(counts) > 1:
        result["chance"] = sum(1 / count for count in counts) / len(counts)
    result |= {"shots": shots, "cut": cut, "unknown_tokens": _unknown(model, rows)}
    result["text"] = list(text)
    if len(set(groups)) > 1:
        result["groups"] = {}
        for name in sorted(set(groups)):
            own = [values for values, group in zip(measured, groups, strict=True) if group == name]
            figures = _figures(chosen, own, [name] * len(own))
            result["groups"][name] = {"examples": len(own)} | figures
    return result


def read_questions(form: ChoiceForm, paths: Sequence[str]) -> Iterator[Placed]:
    """Reads the questions of files, in order.

    Raises:
        DataError: a file without fields, or a record that is not of the form; the message names
            file and place.
    """
    for file in find_text(paths):
        for row in reader_of(file).rows(file):
            where = f"{file.name}, {row.place}"
            try:
                yield Placed(where, form.read(row.fields))
            except DataError as error:
                raise DataError(f"{where}: {error}") from error


def _before(form: ChoiceForm, placed: Placed, examples: Sequence[Placed], shots: int) -> str:
    """Returns what stands before a question: the description, and examples with their answers."""
    question = placed.question
    own = [
        one.question
        for one in examples
        if one.question.group == question.group and one.question != question
    ][:shots]
    if len(own) < shots:
        group = f" of {question.group}" if question.group else ""
        raise DataError(
            f"{placed.where}: {shots} examples{group} should stand before the question; the files"
            f" of examples have {len(own)}"
        )
    return question.description + "".join(map(form.example, own))


def _continuations(
    model: ContinuationModel, form: ChoiceForm, placed: Placed, before: str
) -> list[Continuation]:
    context = before + placed.question.context
    try:
        return [
            continuation(model.tokenizer, context, form.delimiter + choice)
            for choice in placed.question.choices
        ]
    except TfscaleError as error:
        raise DataError(f"{placed.where}: {error}") from error


def _scored(model: ContinuationModel, rows: Sequence[Continuation], progress: bool) -> list[Scored]:
    began = time.perf_counter()
    with ProgressLine("evaluate", len(rows), enabled=progress) as line:

        def show(done: int, total: int) -> None:
            line.update(done, f"{done / (time.perf_counter() - began):,.0f} choices/s")

        return model.score(rows, show)


def _figures(
    form: ChoiceForm, measured: Sequence[dict[str, float]], groups: Sequence[str]
) -> JsonObject:
    figures: JsonObject = {}
    for metric in form.metrics:
        values = [one[metric] for one in measured]
        figures[metric], figures[f"{metric}_stderr"] = form.summarize(metric, values, groups)
    return figures


def _unknown(model: ContinuationModel, rows: Sequence[Continuation]) -> int | None:
    unknown = model.tokenizer.unknown_id
    if unknown is None:
        return None
    return sum((*row.context, *row.tokens).count(unknown) for row in rows)
