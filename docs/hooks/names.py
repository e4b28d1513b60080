"""Links the names in the tables of docs/api.md to their places in the reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


ROW = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes each name of the page of all names a cross-reference."""
    return linked(markdown) if page.file.src_uri == "api.md" else markdown


def linked(markdown: str) -> str:
    """Links the names at the beginning of tables' rows.

    Args:
        markdown: A page with tables whose rows begin with a public name.

    Returns:
        The page with a cross-reference instead of each name.

    Example:
        >>> linked("| `device.load` | opens a file |")
        '| [`device.load`][tfscale.device.load] | opens a file |'
    """
    return ROW.sub(r"| [`\1`][tfscale.\1] |", markdown)
