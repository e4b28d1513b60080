"""Says where a name in a table may be broken into lines: after `_`, `.` and `/`, not after `-`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

CELL = re.compile(r"<td>.*?</td>", re.DOTALL)
CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Marks the places in the code of all cells."""
    return CELL.sub(lambda cell: CODE.sub(lambda code: breakable(code[0]), cell[0]), html)


def breakable(code: str) -> str:
    """Marks the places at which code may be broken.

    Args:
        code: The text of a `<code>` element, as HTML.

    Returns:
        The same, with break opportunities, and options in elements that are not broken.

    Example:
        >>> breakable("saved_model")
        'saved_<wbr>model'
        >>> breakable("take --shards 1")
        'take <span>--shards</span> 1'
    """
    options = re.sub(r"--\w[\w-]*", r"<span>\g<0></span>", code)
    return re.sub(r"(?<=\w)([_./])(?=\w)", r"\1<wbr>", options)
