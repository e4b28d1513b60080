"""Finds e-mail addresses."""

import re
from collections.abc import Iterator

from tfscale.registry import register
from tfscale.text.removal import Removal, Span
from tfscale.text.words import BESIDE_OTHERS

# Dots before an address are those of a sentence, and lines after it those of Markdown. The lengths
# are those of RFC 5321; without limits a long text without an @ would take a time that
# grows with its square.
_ADDRESS = re.compile(
    r"(?<![\w!#$%&'*+/=?^`{|}~-])(?<![\w!#$%&'*+/=?^`{|}~-]\.)"
    r"[\w!#$%&'*+/=?^`{|}~-](?:[\w.!#$%&'*+/=?^`{|}~-]{0,62}[\w!#$%&'*+/=?^`{|}~-])?"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?!-?[^\W_])"
)
_BESIDE = re.compile(rf"[{BESIDE_OTHERS}]")


@register
class Emails(Removal):
    """E-mail addresses: the dot-atom form of RFC 5322 with a domain of two or more labels.

    Addresses in quotes, of a host alone (`root@localhost`) or spelled out (`me at home dot org`)
    are not found.
    """

    name = "emails"
    summary = "e-mail addresses"
    placeholder = "<email>"

    def find(self, text: str) -> Iterator[Span]:
        if "@" not in text:
            return
        # In Chinese or Thai the words around an address may touch it, and are no part of it.
        found = set()
        for match in _ADDRESS.finditer(_BESIDE.sub(" ", text)):
            found.add(text.index("@", match.start()))
            yield match.span()
        # An address in such a script itself.
        for match in _ADDRESS.finditer(text):
            if text.index("@", match.start()) not in found:
                yield match.span()
