"""Columns of Arrow tables as texts and rows; parquet files and `datasets` folders share it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tfscale.errors import DataError, check_installed, reason
from tfscale.text.reader import Reading
from tfscale.text.records import no_field, plain_text, splits_of

if TYPE_CHECKING:
    import pyarrow as pa


def load_pyarrow() -> Any:
    """Imports pyarrow.

    Raises:
        ConfigError: it is not installed.
    """
    check_installed("corpora", "pyarrow")
    import pyarrow

    return pyarrow


@contextlib.contextmanager
def arrow_errors(name: str, what: str) -> Iterator[None]:
    """Turns what pyarrow raises for a damaged file into one line that names it."""
    pa = load_pyarrow()
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, IndexError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        if isinstance(error, pa.ArrowNotImplementedError):
            raise DataError(
                f"{name} holds what pyarrow {pa.__version__} does not read ({reason(error)}); write"
                " it anew in another encoding"
            ) from error
        raise DataError(f"{name} is a damaged {what} file ({reason(error)})") from error


def column_path(schema: "pa.Schema", name: str, text_field: str) -> list[str]:
    """Returns the names that lead to the text in a table.

    Args:
        schema: of the table.
        name: the file's, for messages.
        text_field: the column, or a field of a struct with dots; a column whose own name has the
            dots goes first.

    Raises:
        DataError: there is no such column, or it holds no text.
    """
    pa = load_pyarrow()
    if schema.names.count(text_field) > 1:
        raise DataError(f"{name}: {text_field!r} is the name of several columns")
    path, kind = _found({field.name: field.type for field in schema}, text_field)
    if not path:
        raise no_field(name, text_field, _leaves(schema))
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(is_text(value_type) for is_text in _text_types()):
        raise DataError(
            f"{name}: {text_field!r} is {kind} and no text; --text-field names another field"
        )
    return path


def _found(fields: Mapping[str, "pa.DataType"], name: str) -> tuple[list[str], "pa.DataType"]:
    """Returns the names that lead to a field, and its type; none if there is no such field."""
    pa = load_pyarrow()
    if name in fields:
        return [name], fields[name]
    for before, after in splits_of(name):
        kind = fields.get(before)
        if kind is not None and pa.types.is_struct(kind):
            inner = {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)}
            path, found = _found(inner, after)
            if path:
                return [before, *path], found
    return [], pa.null()


def _text_types() -> list[Any]:
    types = load_pyarrow().types
    return [
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_binary,
        types.is_large_binary,
        types.is_binary_view,
        types.is_null,
    ]


def _leaves(schema: "pa.Schema") -> list[str]:
    pa = load_pyarrow()
    names: list[str] = []
    waiting = [(field.name, field.type) for field in schema]
    while waiting:
        name, kind = waiting.pop(0)
        if pa.types.is_struct(kind):
            inner = [kind.field(at) for at in range(kind.num_fields)]
            waiting = [(f"{name}.{field.name}", field.type) for field in inner] + waiting
        else:
            names.append(name)
    return names


def column_texts(
    column: "pa.Array", path: list[str], name: str, first: int, reading: Reading
) -> Iterator[str]:
    """Yields the text of each row of a column; "" for null.

    Args:
        column: of the first name of the path.
        path: see `column_path`.
        name: the file's, for messages.
        first: the number of its first row, from 1.
        reading: what to do with bytes that are no text.
    """
    with arrow_errors(name, "table"):
        values = _bytes_of(column, path[1:])
    for number, value in enumerate(values, first):
        yield plain_text(value, f"{name}, row {number}", reading)


def _bytes_of(column: "pa.Array", path: list[str]) -> Iterator[bytes | None]:
    """Returns the text of each row as bytes, whose offsets have been checked."""
    pa = load_pyarrow()
    import pyarrow.compute as compute

    binary = pa.large_binary()
    for part in path:
        column = compute.struct_field(column, part)
    if not pa.types.is_dictionary(column.type):
        column = column.cast(binary)
        column.validate(full=True)
        return iter(column.to_pylist())
    texts = column.dictionary.cast(binary)
    texts.validate(full=True)
    # Refuses indices that lead out of the dictionary.
    checked = pa.DictionaryArray.from_arrays(column.indices, texts)
    # A text that many rows have is in memory once.
    indices = checked.indices.to_pylist()
    return (None if index is None else texts[index].as_py() for index in indices)


def batch_rows(batch: "pa.RecordBatch", name: str, first: int) -> Iterator[tuple[str, dict]]:
    """Yields the place and the fields of each row of a batch.

    Raises:
        DataError: the batch is damaged, or a text in it is not UTF-8.
    """
    with arrow_errors(name, "table"):
        batch.validate(full=True)
    rows = batch.to_pylist()
    for number, row in enumerate(rows, first):
        yield f"row {number}", row
