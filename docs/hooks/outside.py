"""Brings files outside of docs/ into the site, so that links work there as in the repository.

MkDocs knows only the files of docs/. A page that links to `../CONTRIBUTING.md` or to
`../examples/clusters/slurm.sbatch` would lead nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


ROOT = Path(__file__).resolve().parents[2]
PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "savedmodels/README.md")
FOLDERS = ("examples", "notebooks")
NOT_SHOWN = {".py", ".pyc"}
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and the folders under their own paths."""
    from mkdocs.structure.files import File

    paths = [ROOT / name for name in PAGES]
    for folder in FOLDERS:
        paths += [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    for path in paths:
        if path.suffix not in NOT_SHOWN:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site."""
    return rewritten(markdown, page.file.src_uri, titles(config.nav))


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


def rewritten(markdown: str, uri: str, titles: dict[str, str]) -> str:
    """Rewrites the links of a page from the repository's layout to the site's.

    Args:
        markdown: The page's text.
        uri: The page's path in the site, such as `models.md` or `CONTRIBUTING.md`.
        titles: Paths of the site's pages and their titles.

    Returns:
        The text, whose links are relative to the page's place in the site. A link whose text is the
        name of a file has the title of the page instead.

    Example:
        >>> rewritten("[c](../CONTRIBUTING.md)", "models.md", {})
        '[c](CONTRIBUTING.md)'
        >>> rewritten("[models.md](docs/models.md#x)", "CHANGELOG.md", {"models.md": "Families"})
        '[Families](models.md#x)'
    """
    in_docs = not (uri in PAGES or uri.startswith(tuple(f"{folder}/" for folder in FOLDERS)))
    here = PurePosixPath(uri).parent
    folder = PurePosixPath("docs" if in_docs else ".") / here

    def link(found: re.Match[str]) -> str:
        text, target, anchor = found[1], normpath(f"{folder}/{found[2]}"), found[3] or ""
        place = target.removeprefix("docs/")
        if text.strip("`").endswith(PurePosixPath(place).name):
            text = titles.get(place, text)
        return f"[{text}]({relpath(place, here)}{anchor})"

    # Code is left as it is: `](` has another meaning in a program.
    parts = re.split(
        r"(^```.*?^```$|(?<!\[)`[^`\n]+`(?!\]))", markdown, flags=re.DOTALL | re.MULTILINE
    )
    return "".join(part if i % 2 else LINK.sub(link, part) for i, part in enumerate(parts))
