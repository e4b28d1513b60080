"""JSON lines: a JSON object in each line."""

import json
from collections.abc import Iterator

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Reading, Row, TextFile
from tfscale.text.records import RecordLinesReader


@register
class JsonLinesReader(RecordLinesReader):
    """Records are the objects of the lines; blank lines are left out.

    A file without one of the suffixes is also read so if every line is an object, as those are that
    `wikiextractor --json` writes, unless it is named .txt.
    """

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".jsonlines")

    def records(self, file: TextFile, reading: Reading) -> Iterator[Row]:
        for number, line in enumerate(self.lines(file, reading), 1):
            if not line.strip():
                continue
            where = f"{file.name}, line {number}"
            try:
                row = _parsed(line)
            except (ValueError, RecursionError) as error:
                # The library's own message repeats the place, which is that of the line.
                reason = getattr(error, "msg", "") or str(error).splitlines()[0]
                raise DataError(f"{where}: not JSON ({reason}): {line.strip()[:60]!r}") from error
            if not isinstance(row, dict):
                raise DataError(
                    f'{where}: expected an object such as {{"text": ...}}; {line.strip()[:60]!r}'
                )
            yield Row(f"line {number}", row)


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python does not read integers of more than 4,300 digits, which take it too long.
        return json.loads(line, parse_int=float)
