"""Names of text encodings as options have them."""

import codecs

from tfscale.errors import ConfigError

_OF_HOST_NAMES = ("idna", "punycode")
"""Encodings of single words, which have no decoder of streams that works."""


def check_encoding(name: str) -> None:
    """Refuses what is no encoding of texts.

    Raises:
        ConfigError: Python does not know the name, or it is that of something else, such as base64.

    Example:
        check_encoding("latin-1")
    """
    try:
        codecs.lookup(name)
        # Refuses encodings that are not from bytes to text, and those without a decoder of streams.
        codecs.getincrementaldecoder(name)().decode(b"", True)
        text = None if codecs.lookup(name).name in _OF_HOST_NAMES else b"a".decode(name, "ignore")
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError):
        text = None
    if not isinstance(text, str):
        raise ConfigError(
            f"encoding={name!r} is none that Python knows; expected one such as utf-8, latin-1,"
            " cp1252, gb18030, shift_jis or utf-16-le"
        )
