"""Labelled examples from files whose records have fields, checked one by one. No TensorFlow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject
from tfscale.registry import TASKS
from tfscale.text.corpora import find_text
from tfscale.text.reader import Reading, TextFile, reader_by_suffix, reader_of, row_suffixes
from tfscale.text.records import MISSING, field_names, field_value

OUTSIDE = "O"


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
    fields: JsonObject | None = None


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
        paths: .jsonl, .csv, .tsv, .parquet, for tags .conll, or files of another reader that has
            rows; also packed, in archives and in folders.
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
    examples = [
        example
        for path in paths
        for file in find_text([path])
        for example in file_examples(file, task, names, labelled)
    ]
    if not examples:
        raise DataError(f"{' and '.join(paths)} {'has' if len(paths) == 1 else 'have'} no examples")
    return examples


def file_examples(
    file: TextFile, task: str, fields: FieldNames, labelled: bool = True
) -> Iterator[Example]:
    """Reads the examples of one file, in order; see `read_examples`."""
    kind, reader = TASKS.get(task), reader_of(file)
    if "words" in reader.row_fields and not kind.reads_words:
        raise DataError(
            f"{file.name}: CoNLL files hold tags of words; for {task} give .jsonl, .csv or .tsv"
        )
    for row in reader.rows(file, labelled):
        yield kind.example(dict(row.fields), f"{file.name}, {row.place}", fields, labelled)


def file_texts(file: TextFile, text_field: str = "text") -> list[str]:
    """Returns the texts of a file: those of its records, or the lines of a .txt file.

    Lines without a text are left out.

    Raises:
        DataError: a file of another kind, or a record without a text; the message names the place.
    """
    reader = reader_of(file)
    if reader.has_rows:
        names = FieldNames(text=text_field)
        return [example.text for example in file_examples(file, "classify", names, labelled=False)]
    if reader_by_suffix(file.name) is None:
        raise DataError(f"{file.name}: texts are read from .txt, {row_suffixes()} files")
    return [line.strip() for line in reader.documents(file, Reading("line"))]


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
    """Returns a field of a row, or of a field within it by dots.

    Raises:
        DataError: it is missing or null; the message begins with `where`.
    """
    value = field_value(row, name)
    if value is None:
        raise DataError(f"{where}: {name!r} is null; every example needs a value")
    if value is MISSING:
        raise DataError(
            f"{where}: there is no {name!r}; it has {', '.join(field_names(row))} (--text-field and"
            " --label-field name them)"
        )
    return value
