"""JSONL: a JSON object in each line."""

import json
from collections.abc import Iterator

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Row, TextFile
from tfscale.text.readers.text import TextReader


@register
class JsonLinesReader(TextReader):
    """Rows are the objects of the lines; blank lines are left out."""

    name = "jsonl"
    suffixes = (".jsonl",)
    has_rows = True

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        for number, line in enumerate(self.lines(file), 1):
            if not line.strip():
                continue
            where = f"{file.name}, line {number}"
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{where}: not JSON ({error.msg}): {line.strip()[:60]!r}"
                ) from error
            if not isinstance(row, dict):
                raise DataError(
                    f'{where}: expected an object such as {{"text": ...}}; {line.strip()[:60]!r}'
                )
            yield Row(f"line {number}", row)
