"""The bits that spell text that tokens lose.

So bits per byte compare any two tokenizers.

They are those of a code that can be read: with the tokens and these bits a reader has the whole
text.

- An unknown word is its UTF-8 bytes and the byte 0xFF, which no text has, as its end: 8 bits for
  each.
- An unknown character is its UTF-8 bytes alone, because their first one says how many they are.
- A text that comes back changed is aligned with what comes back, word by word and gap by gap: that
  one is as it comes back costs log2(256/255) bits, another one 8, and it is spelled like an unknown
  word.
- Between words stands a gap. That it is the one that decoding writes costs log2(256/255) bits; that
  it is another one costs 8, and then it is spelled like an unknown word.
"""

import difflib
import math
import re
from collections.abc import Iterable, Sequence

BYTE_BITS = 8
USUAL_GAP_BITS = math.log2(256 / 255)
OTHER_GAP_BITS = 8.0

_WORDS = re.compile(r"\S+")
_BLANKS = re.compile(r"\s+")
_RUNS = re.compile(r"\s+|\S+")


def spelled_bits(utf8_bytes: int, pieces: int = 0) -> int:
    """Returns the bits of pieces of text that are spelled in bytes.

    Args:
        utf8_bytes: of all of them.
        pieces: how many there are, where each needs an end of its own.
    """
    return BYTE_BITS * (utf8_bytes + pieces)


def gap_bits(text: str) -> float:
    """Returns the bits of white space where the tokens are words and line ends.

    A line of n words has n + 1 gaps. Decoding writes one space between words, and nothing at the
    ends of a line.

    Example:
        gap_bits("a b\\n c")    # 4 usual gaps, and one other of 1 byte: 0.0226 + 8 + 16
    """
    lines = text.split("\n")
    words = [line.split() for line in lines]
    gaps = sum(map(len, words)) + len(lines)
    if text == "\n".join(map(" ".join, words)):
        return gaps * USUAL_GAP_BITS
    return _gap_bits(gaps, [gap for line in lines for gap in _other_gaps(line)])


def run_bits(text: str) -> float:
    """Returns the bits of white space where each run of it in a line is a token, one space.

    Example:
        run_bits("a b  c")    # 1 usual gap, and one other of 2 bytes: 0.0056 + 8 + 24
    """
    runs = [run for line in text.split("\n") for run in _BLANKS.findall(line)]
    return _gap_bits(len(runs), [run for run in runs if run != " "])


def _gap_bits(gaps: int, others: Sequence[str]) -> float:
    spelled = spelled_bits(utf8_length(others), len(others))
    return (gaps - len(others)) * USUAL_GAP_BITS + len(others) * OTHER_GAP_BITS + spelled


def _other_gaps(line: str) -> list[str]:
    """Returns the gaps of a line that decoding would not write."""
    gaps = _WORDS.split(line)
    usual = ["", *[" "] * (len(gaps) - 2), ""]
    return [gap for gap, expected in zip(gaps, usual, strict=False) if gap != expected]


def difference_bits(text: str, decoded: str) -> float:
    """Returns the bits by which a reader who has the decoded text has the text itself.

    Args:
        text: as it was encoded.
        decoded: as its tokens bring it back.

    Example:
        difference_bits("a  b", "a b")    # "a", "b" and the end as they are, and one other of 2
                                          # bytes: 3 * 0.0056 + 8 + 24
    """
    if text == decoded:
        return USUAL_GAP_BITS
    # The end is a run of its own, before which runs can be put in.
    wanted, given = [*_RUNS.findall(text), ""], [*_RUNS.findall(decoded), ""]
    bits = 0.0
    put_in = 0
    for kind, start, end, first, last in difflib.SequenceMatcher(None, given, wanted).get_opcodes():
        runs = end - start
        if kind == "equal":
            if put_in:
                # They are spelled together with the run that they stand before.
                bits += OTHER_GAP_BITS + spelled_bits(
                    put_in + utf8_length(given[start : start + 1]), 1
                )
                runs, put_in = runs - 1, 0
            bits += runs * USUAL_GAP_BITS
        elif kind == "insert":
            put_in = utf8_length(wanted[first:last])
        else:
            # The first is spelled as all that stands there, and the others as nothing.
            bits += runs * OTHER_GAP_BITS + spelled_bits(utf8_length(wanted[first:last]), runs)
    return bits


def utf8_length(texts: Iterable[str]) -> int:
    """Returns the UTF-8 bytes of texts together."""
    return len("".join(texts).encode("utf-8"))
