"""Wikipedia extracts: articles between `<doc ...>` and `</doc>`, as wikiextractor writes them."""

import html
import re
from collections.abc import Iterator

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Reading, Row, TextFile
from tfscale.text.records import RecordLinesReader

_BEGIN = re.compile(
    r'<doc id="(?P<id>[^"]*)"[^>]*?(?: url="(?P<url>[^"]*)")?'
    r'(?: title="(?P<title>.*)")?[^>]*>'
)
_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?<doc id="[^"\n]*" [^\n]*title="')


@register
class WikipediaReader(RecordLinesReader):
    """Records are articles: id, url, title and text. A text begins with the title, as in the file.

    The files have no suffix (`AA/wiki_00`) and are known by their first line. Those of
    `wikiextractor --json` are JSON lines; see the reader of these.
    """

    name = "wikipedia"
    row_fields = ("id", "url", "title", "text")

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        return _HEAD.match(head) is not None

    @classmethod
    def takes(cls, plain: str) -> bool:
        return False

    def records(self, file: TextFile, reading: Reading) -> Iterator[Row]:
        fields: dict[str, str] | None = None
        lines: list[str] = []
        start = 0
        for number, line in enumerate(self.lines(file, reading), 1):
            begin = _BEGIN.match(line)
            if fields is None:
                if begin:
                    fields, lines, start = _attributes(begin), [], number
                elif line.strip():
                    raise DataError(
                        f"{file.name}, line {number}: expected <doc id=...>; received"
                        f" {line.strip()[:60]!r}"
                    )
            elif line.strip() == "</doc>":
                yield Row(f"line {start}", {**fields, "text": "".join(lines).strip("\r\n")})
                fields = None
            elif begin:
                break
            else:
                lines.append(line)
        if fields is not None:
            raise DataError(f"{file.name}, line {start}: the article that begins has no </doc>")


def _attributes(begin: re.Match[str]) -> dict[str, str]:
    return {name: html.unescape(value or "") for name, value in begin.groupdict().items()}
