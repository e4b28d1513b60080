"""WARC: what a crawler fetched, as Common Crawl keeps it; WET has the texts of it."""

import contextlib
import itertools
import zlib
from collections.abc import Iterator
from typing import IO, Any

from tfscale.errors import DataError, check_installed, reason
from tfscale.registry import register
from tfscale.text.cleaning import strip_html
from tfscale.text.opening import ALWAYS_ALLOWED
from tfscale.text.reader import Reading, Row, TextFile
from tfscale.text.records import RecordReader
from tfscale.text.web import page_text

_HTML = ("text/html", "application/xhtml+xml")
_PLAIN = ("text/plain",)
_PACKINGS = ("", "identity", "gzip", "x-gzip", "deflate")


@register
class WARCReader(RecordReader):
    """Read by warcio. A document is a record of type `conversion`, which is text (WET), or a page
    of type `response` or `resource` in HTML, without its tags, or in plain text.

    Other records (requests, metadata, images, redirects and errors) hold no text and are passed
    over.
    """

    name = "warc"
    suffixes = (".warc", ".wet")
    magic = (b"WARC/0.", b"WARC/1.")
    row_fields = ("url", "type", "text")

    def check(self, file: TextFile, reading: Reading) -> None:
        check_installed("corpora", "warcio")

    def records(self, file: TextFile, reading: Reading) -> Iterator[Row]:
        number = 0
        with file.open(notes=not reading.quiet) as stream:
            for number, record in enumerate(_iterated(stream, file.name), 1):
                where = f"{file.name}, record {number}"
                kind = _kind(record)
                with _errors(where):
                    content = _content(record, where) if kind else b""
                    _check_whole(record, where)
                if not kind:
                    continue
                try:
                    text = page_text(content, _charset(record), where, kind in _HTML, reading)
                except DataError:
                    if reading.invalid_utf8 != "skip":
                        raise
                    reading.counts.skipped_records += 1
                    continue
                text = strip_html(text) if kind in _HTML else text
                url = record.rec_headers.get_header("WARC-Target-URI") or ""
                yield Row(f"record {number}", {"url": url, "type": record.rec_type, "text": text})
        if not number:
            raise DataError(f"{file.name} has no WARC records")


@contextlib.contextmanager
def _errors(where: str) -> Iterator[None]:
    from warcio.exceptions import ArchiveLoadFailed

    try:
        yield
    except (ArchiveLoadFailed, ValueError, OSError, zlib.error) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DataError(f"{where}: damaged ({reason(error)})") from error


def _iterated(stream: IO[bytes], name: str) -> Iterator[Any]:
    """Yields the records of a file, and refuses what is between them."""
    check_installed("corpora", "warcio")
    from warcio.archiveiterator import ArchiveIterator

    class Records(ArchiveIterator):
        # What the library would write to stderr, and go on.
        INC_RECORD = ""

    records = Records(stream)
    for number in itertools.count(1):
        with _errors(f"{name}, record {number}"):
            try:
                record = next(records, None)
            except (AttributeError, TypeError) as error:
                # So the library fails where the head has no address or no length.
                raise ValueError("its head lacks a field") from error
        if records.err_count:
            raise DataError(f"{name}, record {number}: damaged (other bytes come before it)")
        if record is None:
            return
        yield record


def _kind(record: Any) -> str:
    """Returns the media type of a record that holds text; "" for others."""
    headers = record.rec_headers
    if record.rec_type == "conversion":
        kind = _media_type(headers.get_header("Content-Type") or "text/plain")
    elif record.rec_type == "resource":
        kind = _media_type(headers.get_header("Content-Type"))
    elif record.rec_type == "response" and record.http_headers:
        if record.http_headers.get_statuscode() != "200":
            return ""
        kind = _media_type(record.http_headers.get_header("Content-Type"))
    else:
        return ""
    return kind if kind in (*_HTML, *_PLAIN) else ""


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _charset(record: Any) -> str:
    """Returns the encoding that the headers of a record name; "" if they name none."""
    headers = record.http_headers or record.rec_headers
    _, _, rest = (headers.get_header("Content-Type") or "").lower().partition("charset=")
    return rest.partition(";")[0].strip().strip("\"'")


def _content(record: Any, where: str) -> bytes:
    """Returns what was fetched, without the packing of its transfer."""
    packing = ""
    if record.http_headers:
        packing = (record.http_headers.get_header("Content-Encoding") or "").strip().lower()
    if packing not in _PACKINGS:
        raise DataError(f"{where}: the content encoding {packing!r} is not read")
    stream, parts, size = record.content_stream(), [], 0
    while part := stream.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > ALWAYS_ALLOWED:
            raise DataError(f"{where}: the page has more than {ALWAYS_ALLOWED:,} bytes")
    return b"".join(parts)


def _check_whole(record: Any, where: str) -> None:
    """Refuses a record that ends before its length, as the last of a file that was cut off."""
    if not (record.rec_headers.get_header("Content-Length") or "").isdigit():
        raise DataError(f"{where}: it has no length, or the file ends within its head")
    raw = record.raw_stream
    while raw.read(1 << 16):
        pass
    if left := getattr(raw, "limit", 0):
        raise DataError(f"{where}: the file ends within it, {left:,} bytes early")
