"""Parquet: a table in row groups, of which only the column with the text is read."""

import io
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.arrow_columns import (
    arrow_errors,
    batch_rows,
    column_path,
    column_texts,
    load_pyarrow,
)
from tfscale.text.opening import ALWAYS_ALLOWED, most_bytes, too_large
from tfscale.text.reader import Reader, Reading, Row, TextFile

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROWS, _FEW = 256, 16
"""Rows in memory at a time, and where each may be as long as a row group."""
_BUFFER = 1 << 20
_SMALL = 1 << 24
"""Bytes of a file up to which dictionaries are kept in any case, which takes a few times longer."""
_SHORT, _DENSE = 64, 50
"""Bytes of a row, and times that a row group is packed, by which it may repeat its texts."""
_BY_PREFIX, _BY_LENGTH = "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"
"""Encodings that the library cannot read as a dictionary. By the first one, a text says how much it
shares with the one before."""


@register
class ParquetReader(Reader):
    """Read by pyarrow, a few rows at a time. A document is a row: the text of a column."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    magic = (b"PAR1",)
    has_rows = True

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        with file.open_random() as stream:
            with arrow_errors(file.name, "parquet"):
                table = _opened(stream)
                size = stream.seek(0, io.SEEK_END) or stream.tell()
                path = column_path(table.schema_arrow, file.name, reading.text_field)
                leaf = ".".join(path)
                _check_sizes(table, file.name, size, leaf)
                rows = _rows_at_a_time(table, leaf)
                if not rows and (size < _SMALL or _repeats(table, leaf)):
                    # Dictionaries are kept, in which a few bytes may stand for a long text.
                    table = _opened(stream, [leaf])
            first, read = 1, 0
            for batch in _batches(table, file.name, [leaf], rows or _ROWS):
                # A field of a struct may have the same name with dots as a column.
                column = batch.column(batch.schema.names.index(path[0]))
                texts = column_texts(column, path, file.name, first, reading)
                for text in reading.kept(texts):
                    read += len(text)
                    if read > most_bytes(size):
                        raise too_large(file.name, size)
                    yield text
                first += batch.num_rows

    def check(self, file: TextFile, reading: Reading) -> None:
        with file.open_random() as stream, arrow_errors(file.name, "parquet"):
            column_path(_opened(stream).schema_arrow, file.name, reading.text_field)

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        with file.open_random() as stream:
            with arrow_errors(file.name, "parquet"):
                table = _opened(stream)
                size = stream.seek(0, io.SEEK_END) or stream.tell()
                _check_sizes(table, file.name, size, "")
            first, read = 1, 0
            for batch in _batches(table, file.name, None):
                read += batch.nbytes
                if read > most_bytes(size):
                    raise too_large(file.name, size)
                for place, fields in batch_rows(batch, file.name, first):
                    yield Row(place, fields)
                first += batch.num_rows


def _opened(stream: Any, dictionaries: list[str] | None = None) -> "pq.ParquetFile":
    load_pyarrow()
    import pyarrow.parquet as pq

    stream.seek(0)
    return pq.ParquetFile(
        stream,
        buffer_size=_BUFFER,
        pre_buffer=False,
        read_dictionary=dictionaries,
        page_checksum_verification=True,
    )


def _batches(
    table: "pq.ParquetFile", name: str, columns: list[str] | None, rows: int = _ROWS
) -> Iterator[Any]:
    # The library cannot give a field within a field as a dictionary across two row groups.
    batches = itertools.chain.from_iterable(
        table.iter_batches(rows, row_groups=[at], columns=columns, use_threads=False)
        for at in _groups(table)
    )
    while True:
        with arrow_errors(name, "parquet"):
            batch = next(batches, None)
            if batch is not None:
                batch.validate()
        if batch is None:
            return
        yield batch


def _groups(table: "pq.ParquetFile") -> list[int]:
    """Returns the numbers of the row groups that are in the file itself.

    Those of a file `_metadata`, which Dask and Spark write beside the others, are in these.
    """
    metadata = table.metadata
    return [
        at
        for at in range(metadata.num_row_groups)
        if not metadata.num_columns or not metadata.row_group(at).column(0).file_path
    ]


def _chunks(table: "pq.ParquetFile", leaf: str) -> Iterator[tuple[int, Any]]:
    """Yields the number of each row group and what is said of a column there; "" is any column."""
    for at in _groups(table):
        group = table.metadata.row_group(at)
        for column in map(group.column, range(group.num_columns)):
            if leaf in ("", column.path_in_schema):
                yield at, column


def _check_sizes(table: "pq.ParquetFile", name: str, size: int, leaf: str) -> None:
    """Refuses row groups that claim to be larger than any text of the file can be."""
    for at, column in _chunks(table, leaf):
        if not 0 <= column.total_uncompressed_size <= most_bytes(size):
            raise too_large(name, size)
        if column.total_compressed_size > size:
            raise DataError(
                f"{name} is a damaged parquet file (a column of row group {at} is longer than the"
                " file)"
            )


def _rows_at_a_time(table: "pq.ParquetFile", leaf: str) -> int:
    """Returns how many rows of a column that is no dictionary to the library are read together.

    A text may be as long as all that is stored of its column, and the next ones share it.

    Returns:
        The rows; 0 where the library can keep dictionaries.
    """
    encodings = {name for _, column in _chunks(table, leaf) for name in column.encodings}
    if not encodings.intersection((_BY_PREFIX, _BY_LENGTH)):
        return 0
    repeats = _repeats(table, leaf)
    if not repeats and _BY_PREFIX not in encodings:
        return _ROWS
    longest = max(column.total_uncompressed_size for _, column in _chunks(table, leaf))
    return max(1 if repeats else _FEW, min(_ROWS, ALWAYS_ALLOWED // max(1, longest)))


def _repeats(table: "pq.ParquetFile", leaf: str) -> bool:
    """Returns whether a row group may hold much more text than bytes."""
    return any(
        column.total_uncompressed_size < _SHORT * column.num_values
        or column.total_uncompressed_size > _DENSE * column.total_compressed_size
        for _, column in _chunks(table, leaf)
    )
