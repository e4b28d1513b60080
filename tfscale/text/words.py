"""Words of a text for comparing texts with each other: case and punctuation do not count."""

import re
import unicodedata
from collections.abc import Sequence

# Chinese and Japanese write no spaces between words: each of their characters is a word. Everything
# else between white space and punctuation is one, with its combining marks, which \w leaves out.
CHINESE_AND_JAPANESE = (
    r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Characters of a class in a regular expression, as the next."""
BESIDE_OTHERS = CHINESE_AND_JAPANESE + r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\uac00-\ud7af"
"""Characters of scripts that write foreign words without a space before or after them."""
_PUNCTUATION = (
    r"!-/:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u200b\u2010-\u205e"
    r"\u2190-\u2bff\u3001-\u3004\u3008-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
_UNSEEN = re.compile(r"[\u00ad\u200c-\u200f\u2060-\u2064\ufeff]")
"""Marks of where a line may break and how letters join; U+200B stands between words, in Khmer."""
_WORD = re.compile(rf"[{CHINESE_AND_JAPANESE}]|[^\s{CHINESE_AND_JAPANESE}{_PUNCTUATION}]+")


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation.

    A word is what stands between white space and punctuation; each Chinese or Japanese character is
    a word of its own. Accents may be characters of their own or not (NFC). Characters that are not
    seen, such as soft hyphens, do not count.

    Example:
        words_of("It's (not) a TEST: 中文")    # ["it", "s", "not", "a", "test", "中", "文"]
    """
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFC", text))
    return _WORD.findall(text.lower())


def ngrams(units: Sequence[str], n: int, joint: str = " ") -> list[str]:
    """Returns all runs of n words or characters, in order; none where there are fewer.

    Example:
        ngrams(["to", "be", "or"], 2)    # ["to be", "be or"]
    """
    return list(map(joint.join, zip(*(units[start:] for start in range(n)), strict=False)))
