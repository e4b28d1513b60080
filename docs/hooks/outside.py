"""Brings files outside of docs/ into the site, so that links work there as in the repository.

MkDocs knows only the files of docs/. A page that links to `../CONTRIBUTING.md` or to
`../examples/clusters/slurm.sbatch` would lead nowhere.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "overview.md",  # MkDocs would take a README.md for the first page.
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "savedmodels/README.md": "savedmodels.md",
}
"""Path in the repository -> path in the site."""
OTHERS = ("examples/**/*", "notebooks/*.ipynb")
"""Files that keep their paths."""
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> None:
    """Keeps jieba, by which the search cuts Chinese words, from reporting how it starts."""
    logging.getLogger("jieba").setLevel(logging.WARNING)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and the other files under their own paths."""
    from mkdocs.structure.files import File

    paths = dict(PAGES)
    for pattern in OTHERS:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and path.suffix != ".pyc":
                name = path.relative_to(ROOT).as_posix()
                paths[name] = name
    for name, place in paths.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site."""
    uri = page.file.src_uri
    source = next((name for name, place in PAGES.items() if place == uri), f"docs/{uri}")
    return rewritten(markdown, source, titles(config.nav))


def titles(nav: list[Any]) -> dict[str, str]:
    """Returns the titles of the pages in a navigation.

    Example:
        >>> titles([{"Guides": [{"Families": "models.md"}]}])
        {'models.md': 'Families'}
    """
    found = {}
    for entry in nav:
        for title, target in entry.items():
            found |= {target: title} if isinstance(target, str) else titles(target)
    return found


def rewritten(markdown: str, source: str, titles: dict[str, str]) -> str:
    """Rewrites the links of a page from the repository's layout to the site's.

    Args:
        markdown: The page's text.
        source: The page's path in the repository, such as "docs/models.md".
        titles: Paths of the site's pages and their titles.

    Returns:
        The text, whose links are relative to the page's place in the site. A link whose text is the
        name of a file has the title of the page instead.

    Example:
        >>> rewritten("[c](../CONTRIBUTING.md)", "docs/models.md", {})
        '[c](contributing.md)'
        >>> rewritten("[models.md](docs/models.md#x)", "README.md", {"models.md": "Families"})
        '[Families](models.md#x)'
    """
    folder = PurePosixPath(source).parent

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], normpath(f"{folder}/{found[2]}"), found[3] or ""
        place = place_of(target)
        if text.endswith(PurePosixPath(target).name):
            text = titles.get(place, text)
        return f"[{text}]({relpath(place, PurePosixPath(place_of(source)).parent)}{anchor})"

    # Code is left as it is: `](` has another meaning in a program.
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if i % 2 else LINK.sub(link, part) for i, part in enumerate(parts))


def place_of(path: str) -> str:
    """Returns the path in the site of a path in the repository."""
    return PAGES.get(path, path.removeprefix("docs/"))
