"""Printing for a person: control characters are shown to a terminal, not sent to it.

Texts, labels and file names may come from strangers, and a terminal obeys what is in them: it
changes its title or the clipboard, or hides lines. What goes into a file or a pipe stays as it is,
byte for byte.
"""

import builtins
import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text

_CONTROLS = {
    code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}
"""C0, DEL and C1 -> how JSON writes them, so that JSON stays JSON."""


def visible(text: str) -> str:
    r"""Returns `text` with its control characters, all but newline and tab, as \\uXXXX.

    Example:
        visible("\x1b[31mred")    # "\\u001b[31mred"
    """
    return text.translate(_CONTROLS)


def shown_on(text: str, stream: TextIO) -> str:
    """Returns the text to write to `stream`: `visible(text)` on a terminal, `text` elsewhere."""
    return visible(text) if stream.isatty() else text


def plain(text: str) -> "Text":
    """Returns `text` as a `rich.text.Text` for stdout.

    Rich would read a bare string as its markup, and `[b]` would be lost.

    Example:
        rich.print(plain("[red]x"))    # prints [red]x
    """
    from rich.text import Text

    return Text(shown_on(text, sys.stdout))


def print(
    *values: object,
    sep: str = " ",
    end: str = "\n",
    file: TextIO | None = None,
    flush: bool = False,
) -> None:
    """Prints as Python's `print` does; control characters are shown where the stream is a terminal.

    Modules that print for a person import it instead of Python's own.
    """
    stream = sys.stdout if file is None else file
    builtins.print(shown_on(sep.join(map(str, values)), stream), end=end, file=stream, flush=flush)


_kept: ContextVar[list[str] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def kept_lines() -> Iterator[list[str]]:
    """Keeps the lines of `note` and `to_stderr` in the block, for a process that shows them."""
    lines: list[str] = []
    token = _kept.set(lines)
    try:
        yield lines
    finally:
        _kept.reset(token)


def to_stderr(text: str) -> None:
    """Writes a line of progress to stderr."""
    if (lines := _kept.get()) is not None:
        lines.append(text)
        return
    print(text, file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Writes a line to stderr that the reader of a result has to know."""
    to_stderr(f"note: {text}")
