"""Records with fields, such as lines of JSON: which of them is the text, and who reads them."""

import abc
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from tfscale.errors import DataError
from tfscale.text.decoding import text_of_bytes
from tfscale.text.reader import Reader, Reading, Row, TextFile
from tfscale.text.readers.text import TextReader

_WORDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}


MISSING = object()
"""Stands for a field that a record does not have."""


class RecordReader(Reader):
    """A format of records with fields. A record is a document: the text of one of its fields.

    A subclass defines `records`.
    """

    has_rows = True

    @abc.abstractmethod
    def records(self, file: TextFile, reading: Reading) -> Iterator[Row]:
        """Reads the records of a file, in order; see `Reader.documents`."""

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        yield from self.records(file, Reading())

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        yield from reading.kept(
            field_text(row.fields, f"{file.name}, {row.place}", reading)
            for row in self.records(file, reading)
        )

    def check(self, file: TextFile, reading: Reading) -> None:
        super().check(file, reading)
        trial = reading.trial()
        for row in self.records(file, trial):
            field_text(row.fields, f"{file.name}, {row.place}", trial)
            return


class RecordLinesReader(RecordReader, TextReader):
    """A format of records that is text itself."""

    suffixes: ClassVar[tuple[str, ...]] = ()

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        if not self._is_skipped(file, reading):
            yield from RecordReader.documents(self, file, reading)


def field_text(fields: Mapping[str, object], where: str, reading: Reading) -> str:
    """Returns the text of a record; "" if it is null.

    Args:
        fields: of the record.
        where: file and place, for messages.
        reading: the name of the field, with dots between the names of fields within fields; a field
            whose own name has the dots goes first.

    Raises:
        DataError: there is no such field, or it holds no text.

    Example:
        field_text({"a": {"b": "Hello"}}, "a.jsonl, line 1", Reading(text_field="a.b"))    # "Hello"
    """
    value = field_value(fields, reading.text_field)
    if value is MISSING:
        raise no_field(where, reading.text_field, field_names(fields))
    return plain_text(value, where, reading)


def field_value(fields: Mapping[str, object], name: str) -> object:
    """Returns a field of a record, or of a field within it by dots; MISSING if there is none.

    Names may have dots themselves, and go first.

    Example:
        field_value({"content": {"body": "Hello"}}, "content.body")    # "Hello"
    """
    if name in fields:
        return fields[name]
    for before, after in splits_of(name):
        inner = fields.get(before, MISSING)
        if inner is None:
            return None
        if isinstance(inner, Mapping) and (found := field_value(inner, after)) is not MISSING:
            return found
    return MISSING


def splits_of(name: str) -> Iterator[tuple[str, str]]:
    """Yields the name of a field and that of one within it, for each dot that may be between them.

    Example:
        list(splits_of("a.b.c"))    # [("a", "b.c"), ("a.b", "c")]
    """
    parts = name.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end]), ".".join(parts[end:])


def plain_text(value: object, where: str, reading: Reading) -> str:
    """Returns the value of a text field as text; "" if it is null.

    Raises:
        DataError: it is no text, or not of the encoding.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        return text_of_bytes(value, where, reading)
    if not isinstance(value, str):
        what = _WORDS.get(type(value), f"a {type(value).__name__}")
        raise DataError(
            f"{where}: {reading.text_field!r} is {what} and no text: {str(value)[:40]!r};"
            " --text-field names another field"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        if reading.invalid_utf8 != "replace":
            half = value[error.start]
            raise DataError(
                f"{where}: character {error.start} of the text, {ascii(half)}, is half of a pair"
                " and no character; choose --invalid-utf8 replace"
            ) from error
        reading.counts.replaced_characters += sum("\ud800" <= c <= "\udfff" for c in value)
        value = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    return value


def no_field(where: str, name: str, known: Iterable[str]) -> DataError:
    """Returns the error of a record or a file without the text field."""
    names = list(known)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return DataError(
        f"{where}: there is no field {name!r}; it has {', '.join(names[:12]) or 'none'}{more}"
        " (--text-field names the one with the text)"
    )


def field_names(fields: Mapping[str, object], before: str = "") -> list[str]:
    """Returns the names of fields, those within fields with dots.

    Example:
        field_names({"id": 1, "content": {"body": ""}})    # ["id", "content.body"]
    """
    names: list[str] = []
    for name, value in fields.items():
        if isinstance(value, Mapping) and value and before.count(".") < 4:
            names += field_names(value, f"{before}{name}.")
        else:
            names.append(f"{before}{name}")
    return names
