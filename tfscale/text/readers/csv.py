"""CSV: a table with a head, whose columns are parted by commas."""

import csv
import itertools
import re
from collections.abc import Iterator
from typing import ClassVar

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Reading, Row, TextFile
from tfscale.text.records import RecordLinesReader

_LONGEST_FIELD = 2**30
"""Characters of a field of a table; csv's own limit is 131,072, which an article passes."""


@register
class CSVReader(RecordLinesReader):
    """Rows by the names of their columns, with the line each ends at. Fields may be quoted, and
    columns without a name, such as an index of pandas, are passed over.

    A table whose head has no comma outside of quotes, and a semicolon or a tab, is parted by that.
    Blank lines before the head are passed over, and a line `sep=;` there, of Excel, says by what it
    is parted.
    """

    name = "csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    delimiters: ClassVar[str] = ",;\t"

    def records(self, file: TextFile, reading: Reading) -> Iterator[Row]:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
        head: list[str] = []
        for number, row in self._numbered(file, reading):
            where = f"{file.name}, line {number}"
            self.check_row(row, where)
            if not head:
                head = [name.strip() for name in row]
                named = [name for name in head if name]
                if len(set(named)) < len(named):
                    raise DataError(f"{where}: a column has the name of another: {', '.join(head)}")
            elif row:
                if len(row) != len(head):
                    raise DataError(
                        f"{where}: {len(row)} columns, and the head has {len(head)}"
                        f" ({', '.join(head)})"
                    )
                yield Row(f"line {number}", dict(zip(head, row, strict=True)))

    def check_row(self, row: list[str], where: str) -> None:
        """Refuses a row that took others into one of its fields."""

    def _numbered(self, file: TextFile, reading: Reading) -> Iterator[tuple[int, list[str]]]:
        lines = enumerate(self.lines(file, reading), 1)
        first, head = next(((n, line) for n, line in lines if line.strip()), (1, ""))
        if named := re.fullmatch(r"sep=([^\w\s]|\t)\s*", head):
            first, head = next(lines, (first, ""))
        # A mark within quotes belongs to a name.
        bare = re.sub(r'"(?:[^"]|"")*"', "", head)
        delimiter = next((mark for mark in self.delimiters if mark in bare), self.delimiters[0])
        if named:
            delimiter = named[1]
        rest = (line for _, line in lines)
        table = csv.reader(itertools.chain([head], rest), delimiter=delimiter, strict=True)
        before = first - 1
        try:
            for row in table:
                yield before + table.line_num, row
        except csv.Error as error:
            raise DataError(
                f"{file.name}, line {before + table.line_num}: {error}; a field that begins with a"
                ' quote (") ends with one, and a quote within it is doubled'
            ) from error
