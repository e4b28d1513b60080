"""Labelled examples from JSONL, CSV, TSV and CoNLL files, checked line by line. No TensorFlow."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfscale.errors import DataError
from tfscale.files.paths import read_lines
from tfscale.registry import TASKS
from tfscale.tasks.values import Values

OUTSIDE = "O"
_LONGEST_FIELD = 2**30
"""Characters of a field of a table; csv's own limit is 131,072, which an article passes."""


@dataclass(frozen=True)
class Example:
    """One labelled text.

    `labels` are its labels (classify), the tags of its `words` (tag), or nothing (answer, whose
    `answer` begins at character `start` of `text`; -1 where the text has none). `target` is what is
    to be written for `text` (translate, summarize). `fields` is all that the file says about it.
    """

    where: str
    text: str
    labels: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    question: str = ""
    answer: str = ""
    start: int = -1
    target: str = ""
    fields: Any = None


@dataclass(frozen=True)
class FieldNames:
    """The names of the fields in files of examples.

    Attributes:
        text: the field with the text.
        label: the field with the label, or what is to be written.
        labels_separator: the text between the labels of a text that may have several or none;
            empty where each text has one label.
    """

    text: str = "text"
    label: str = "label"
    labels_separator: str = ""


def read_examples(
    paths: Sequence[str], task: str, fields: FieldNames | None = None, labelled: bool = True
) -> list[Example]:
    """Reads the examples of files, in order.

    Args:
        paths: .jsonl, .csv, .tsv or, for tags, .conll.
        task: the name of the task, whose `Task.example` makes an example of a row.
        fields: the names of its fields; the usual ones if left out.
        labelled: whether labels are needed; False reads what is to be predicted.

    Raises:
        DataError: a file of another kind, a field that is missing, an empty text, tags that are not
            one per word or not BIO, an answer that its text does not hold; the message names the
            file and the line.

    Example:
        read_examples(["train.jsonl"], "classify")
    """
    names = fields or FieldNames()
    examples = [example for path in paths for example in _read(path, task, names, labelled)]
    if not examples:
        raise DataError(f"{' and '.join(paths)} {'has' if len(paths) == 1 else 'have'} no examples")
    return examples


def _read(path: str, name: str, fields: FieldNames, labelled: bool) -> Iterator[Example]:
    task, suffix = TASKS.get(name), path.rpartition(".")[2].lower()
    if suffix in ("conll", "bio", "iob"):
        if not task.reads_conll:
            raise DataError(
                f"{path}: CoNLL files hold tags of words; for {name} give .jsonl, .csv or .tsv"
            )
        yield from _conll(path, labelled)
        return
    rows = {"jsonl": _jsonl, "csv": _table, "tsv": _table}.get(suffix)
    if rows is None:
        raise DataError(f"{path}: examples are read from .jsonl, .csv, .tsv and .conll files")
    for line, row in rows(path):
        yield task.example(row, f"{path}, line {line}", fields, labelled)


def _jsonl(path: str) -> Iterator[tuple[int, Values]]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not JSON ({error.msg}): {line.strip()[:60]!r}"
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f'{path}, line {number}: expected an object such as {{"text": ...}};'
                    f" {line.strip()[:60]!r}"
                )
            yield number, row


def _table(path: str) -> Iterator[tuple[int, Values]]:
    """Rows by the names of their columns, with the line each ends at.

    Fields may be quoted. A quote that is not closed would take the rows after it into its field:
    csv finds most of them, and in a table parted by tabs a field of several lines with a tab in it
    is taken for one.
    """
    tabs = path.lower().endswith("tsv")
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    reader = csv.reader(_lines(path), delimiter="\t" if tabs else ",", strict=True)
    head: list[str] = []
    for row in _rows(reader, path):
        if tabs and any("\t" in field and "\n" in field for field in row):
            raise DataError(
                f'{path}, line {reader.line_num}: a quote (") that begins a field is not closed'
                " before it"
            )
        if not head:
            head = [name.strip() for name in row]
            if len(set(head)) < len(head):
                raise DataError(
                    f"{path}, line 1: a column has the name of another: {', '.join(head)}"
                )
        elif row:
            if len(row) != len(head):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} columns, and the head has"
                    f" {len(head)} ({', '.join(head)})"
                )
            yield reader.line_num, dict(zip(head, row, strict=True))


def _rows(reader: Any, path: str) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(
            f'{path}, line {reader.line_num}: {error}; a field that begins with a quote (") ends'
            " with one, and a quote within it is doubled"
        ) from error


def _conll(path: str, labelled: bool) -> Iterator[Example]:
    """A word and its tag a line, the tag last; an empty line between sentences; -DOCSTART- lines
    are left out."""
    words: list[str] = []
    tags: list[str] = []
    start = number = 0
    for number, line in enumerate([*_lines(path), ""], 1):
        columns = line.split()
        if columns and columns[0] == "-DOCSTART-":
            continue
        if not columns:
            if words:
                where = f"{path}, line {start}"
                if labelled:
                    check_bio(tags, where)
                yield Example(where, " ".join(words), tuple(tags) if labelled else (), tuple(words))
            words, tags = [], []
            continue
        if labelled and len(columns) < 2:
            raise DataError(
                f"{path}, line {number}: expected a word and its tag; received {line.strip()!r}"
            )
        start = start if words else number
        words.append(columns[0])
        tags.append(columns[-1])


def check_bio(tags: Sequence[str], where: str) -> None:
    """Refuses tags that are not BIO: B-TYPE begins an entity, I-TYPE goes on with it, O is outside.

    Raises:
        DataError: names the first that is none, or that goes on with nothing.
    """
    before = OUTSIDE
    for place, tag in enumerate(tags, 1):
        mark, _, kind = tag.partition("-")
        if tag != OUTSIDE and (mark not in ("B", "I") or not kind):
            raise DataError(
                f"{where}: tag {place} is {tag!r}; expected O, or B- or I- and a type, such as"
                " B-PER"
            )
        if mark == "I" and before not in (f"B-{kind}", f"I-{kind}"):
            raise DataError(
                f"{where}: tag {place}, {tag}, follows {before}; an entity begins with B-{kind}"
            )
        before = tag


def text_of(row: Mapping[str, object], name: str, where: str) -> str:
    """Returns a field that holds a text.

    Raises:
        DataError: it is missing or empty; the message begins with `where`.
    """
    text = field_of(row, name, where)
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: {name} is empty; every example needs a text")
    return text


def field_of(row: Mapping[str, object], name: str, where: str) -> object:
    """Returns a field of a row.

    Raises:
        DataError: it is missing or null; the message begins with `where`.
    """
    if name not in row or row[name] is None:
        raise DataError(
            f"{where}: there is no {name!r}; it has {', '.join(row)} (--text-field and"
            " --label-field name them)"
        )
    return row[name]


def _lines(path: str) -> list[str]:
    try:
        return [f"{line}\n" for line in read_lines(path)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the examples {path}: {error}") from error
