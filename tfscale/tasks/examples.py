"""Labelled examples from JSONL, CSV, TSV and CoNLL files, checked line by line. No TensorFlow."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tfscale.config.tasks import WRITTEN, TaskConfig
from tfscale.errors import DataError
from tfscale.files.paths import read_lines

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


def read_examples(paths: Sequence[str], config: TaskConfig, labelled: bool = True) -> list[Example]:
    """The examples of files, in order.

    Args:
        paths: .jsonl, .csv, .tsv or, for tags, .conll.
        config: the task, and the names of its fields.
        labelled: whether labels are needed; False reads what is to be predicted.

    Raises:
        DataError: a file of another kind, a field that is missing, an empty text, tags that are not
            one per word or not BIO, an answer that its text does not hold; the message names the
            file and the line.

    Example:
        read_examples(["train.jsonl"], TaskConfig(task="classify", output="task", train=["train.jsonl"]))
    """
    found = [example for path in paths for example in _read(path, config, labelled)]
    if not found:
        raise DataError(f"{' and '.join(paths)} {'has' if len(paths) == 1 else 'have'} no examples")
    return found


def _read(path: str, config: TaskConfig, labelled: bool) -> Iterator[Example]:
    kind = path.rpartition(".")[2].lower()
    if kind in ("conll", "bio", "iob"):
        if config.task != "tag":
            raise DataError(
                f"{path}: CoNLL files hold tags of words; for {config.task} give .jsonl, .csv or"
                " .tsv"
            )
        yield from _conll(path, labelled)
        return
    rows = {"jsonl": _jsonl, "csv": _table, "tsv": _table}.get(kind)
    if rows is None:
        raise DataError(f"{path}: examples are read from .jsonl, .csv, .tsv and .conll files")
    make = (
        _written
        if config.task in WRITTEN
        else {"classify": _classify, "tag": _tag, "answer": _answer}[config.task]
    )
    for line, row in rows(path):
        yield make(row, f"{path}, line {line}", config, labelled)


def _jsonl(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _table(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _classify(row: dict[str, Any], where: str, config: TaskConfig, labelled: bool) -> Example:
    text = _text(row, config.text_field, where)
    if not labelled:
        return Example(where, text, fields=row)
    value = _field(row, config.label_field, where)
    if config.labels_separator:
        names = value if isinstance(value, list) else str(value).split(config.labels_separator)
        labels = tuple(dict.fromkeys(str(name).strip() for name in names if str(name).strip()))
    else:
        if isinstance(value, list):
            raise DataError(
                f"{where}: several labels {value}; for texts with several give --labels-separator"
            )
        labels = (str(value).strip(),)
        if not labels[0]:
            raise DataError(f"{where}: the label is empty")
    return Example(where, text, labels, fields=row)


def _tag(row: dict[str, Any], where: str, config: TaskConfig, labelled: bool) -> Example:
    words = row.get("words", row.get("tokens"))
    tags: Any = row.get("tags", row.get(config.label_field))
    if not isinstance(words, list) or not words or (labelled and not isinstance(tags, list)):
        raise DataError(
            f'{where}: tags come as {{"words": ["Ann", "left"], "tags": ["B-PER", "O"]}}, or as'
            " .conll"
        )
    words = [str(word) for word in words]
    if any(not word.strip() or word.split() != [word] for word in words):
        raise DataError(f"{where}: a word is empty or holds white space: {words}")
    if labelled:
        if len(words) != len(tags):
            raise DataError(
                f"{where}: {len(words)} words and {len(tags)} tags; each word needs one"
            )
        tags = [str(tag) for tag in tags]
        check_bio(tags, where)
    return Example(
        where, " ".join(words), tuple(tags) if labelled else (), tuple(words), fields=row
    )


def _answer(row: dict[str, Any], where: str, config: TaskConfig, labelled: bool) -> Example:
    name = config.text_field if config.text_field in row else "context"
    text, question = _text(row, name, where), _text(row, "question", where)
    if not labelled:
        return Example(where, text, question=question, fields=row)
    answer = str(_field(row, config.label_field if config.label_field in row else "answer", where))
    start = row.get("answer_start")
    if not answer:
        return Example(where, text, question=question, fields=row)
    try:
        start = text.find(answer) if start in (None, "") else int(start)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: answer_start is {start!r}; expected the number of characters before it"
        ) from error
    if start < 0 or text[start : start + len(answer)] != answer:
        raise DataError(
            f"{where}: the text does not hold the answer {answer!r}"
            + (f" at {start}" if start >= 0 else "")
        )
    return Example(where, text, question=question, answer=answer, start=start, fields=row)


def _written(row: dict[str, Any], where: str, config: TaskConfig, labelled: bool) -> Example:
    # The usual names stand in for the defaults, not for a name that was asked for.
    source = "source" if config.text_field == "text" and "text" not in row else config.text_field
    text = _text(row, source, where)
    if not labelled:
        return Example(where, text, fields=row)
    target = _text(
        row,
        "target" if config.label_field == "label" and "label" not in row else config.label_field,
        where,
    )
    return Example(where, text, target=target, fields=row)


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


def _text(row: dict[str, Any], name: str, where: str) -> str:
    text = _field(row, name, where)
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: {name} is empty; every example needs a text")
    return text


def _field(row: dict[str, Any], name: str, where: str) -> Any:
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
