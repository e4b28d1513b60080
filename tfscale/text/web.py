"""Text of pages: their bytes in the encoding that they name."""

import codecs
import re

from tfscale.text.decoding import MARK, marked_encoding, text_of_bytes
from tfscale.text.reader import Reading

_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_META_WITHIN = 1024
"""Bytes of a page within which HTML wants its encoding to be named."""
_READ_AS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
"""Names that the WHATWG's Encoding Standard takes for a larger encoding."""


def page_text(content: bytes, charset: str, where: str, is_html: bool, reading: Reading) -> str:
    """Decodes a page, by its byte order mark, its header, or its `<meta charset>`; else as UTF-8.

    Args:
        content: of the page.
        charset: what its header names; "" if nothing.
        where: file and place, for messages.
        is_html: whether to look for `<meta charset>`.
        reading: what to do with bytes that are not of the encoding.

    Raises:
        DataError: there are such bytes, and they are not to be replaced.
    """
    meta = _META.search(content[:_META_WITHIN]) if is_html and not charset else None
    named = charset or (meta[1].decode("ascii", "ignore") if meta else "")
    encoding = marked_encoding(content) or _known(named) or "utf-8"
    text = text_of_bytes(content, where, reading, encoding)
    return text.removeprefix(MARK)


def _known(name: str) -> str:
    """Returns Python's name of an encoding of text; "" if it has none."""
    try:
        found = codecs.lookup(name)
        b"".decode(name)
    except (LookupError, ValueError):
        return ""
    return _READ_AS.get(found.name, found.name)
