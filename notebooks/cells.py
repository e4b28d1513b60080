"""Writes badge and install cell of every notebook from the repository's address: `make notebooks`.

The address is `url` under `[metadata]` in setup.cfg. A notebook takes part by a code cell with the
id `install`. The cell's metadata names the extra that the notebook needs (`"tfscale_extra":
"train"`), or none: then the cell only sets `code`, and a later cell of the notebook installs.
"""

import configparser
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BRANCH = "main"
"""The branch that the badge opens and pip installs."""
COLAB = "https://colab.research.google.com/github"
GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")

HEAD = "# `make notebooks` writes this cell from the address in setup.cfg."
BRING = """\
# There is no address, so bring the code: a zip of the repository or a wheel of it (made by
# `python -m pip wheel --no-deps .`), beside this notebook. In Colab a dialog asks for the file.
files = sorted(pathlib.Path().glob("tfscale*.whl")) or sorted(pathlib.Path().glob("tfscale*.zip"))
if not files and "google.colab" in sys.modules:
    from google.colab import files as colab_files

    files = [pathlib.Path(name) for name in colab_files.upload()]
if not files:
    raise FileNotFoundError("no tfscale*.whl or tfscale*.zip here: see the comment above")
code = files[-1].absolute().as_uri()
"""


def address(configuration: Path) -> str:
    """Reads the repository's address.

    Args:
        configuration: A `setup.cfg`.

    Returns:
        The address without `.git` or `/` at its end; "" if none is set.

    Raises:
        ValueError: The address is not one that pip can fetch over https.

    Example:
        >>> address(ROOT / "setup.cfg")
        ''
    """
    parser = configparser.ConfigParser()
    parser.read(configuration, encoding="utf-8")
    url = parser.get("metadata", "url", fallback="").strip()
    if url and not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+/?", url):
        raise ValueError(
            f"{configuration}: [metadata] url is {url!r}; "
            "the notebooks need the repository's address, such as https://github.com/OWNER/REPO"
        )
    return url.removesuffix("/").removesuffix(".git")


def badge(url: str, name: str) -> str:
    """Makes the line that opens a notebook in Colab, which opens repositories of GitHub alone.

    Args:
        url: The repository's address, or "".
        name: The notebook's file name.

    Returns:
        Markdown, or "" where Colab could not open the notebook.

    Example:
        >>> badge("https://gitlab.com/owner/repo", "quickstart.ipynb")
        ''
    """
    found = GITHUB.fullmatch(url)
    if found is None:
        return ""
    link = f"{COLAB}/{found[1]}/blob/{BRANCH}/notebooks/{name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"


def install_cell(url: str, extra: str) -> str:
    """Makes the cell that brings tfscale.

    Args:
        url: The repository's address, or "".
        extra: What the notebook needs of tfscale's extras; "" makes a cell that installs nothing
            and only sets `code`, from which another cell installs.

    Returns:
        The cell's source.

    Example:
        >>> print(install_cell("https://github.com/owner/repo", ""))
        # `make notebooks` writes this cell from the address in setup.cfg.
        code = "git+https://github.com/owner/repo@main"
    """
    bring = f'code = "git+{url}@{BRANCH}"\n' if url else BRING
    imports = [] if url else ["import pathlib", "import sys"]
    if not extra:
        return "\n".join([HEAD, *imports, *([] if url else [""]), *bring.splitlines()])
    install = [*bring.splitlines(), f'%pip install --quiet "tfscale[{extra}] @ {{code}}"']
    body = [f"    {line}" if line else "" for line in install]
    condition = 'if importlib.util.find_spec("tfscale") is None:'
    return "\n".join([HEAD, "import importlib.util", *imports, "", condition, *body])


def rendered(path: Path, url: str) -> str:
    """Puts badge and install cell into a notebook.

    Args:
        path: The notebook. It is only read.
        url: The repository's address, or "".

    Returns:
        The text of the file with both.

    Raises:
        ValueError: The notebook has no cell with the id `code`.

    Example:
        >>> rendered(ROOT / "notebooks/quickstart.ipynb", "").count('"id": "code"')
        1
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell.get("id") != "badge"]
    found = [cell for cell in cells if cell.get("id") == "code"]
    if len(found) != 1:
        raise ValueError(f"{path.name} has {len(found)} cells with the id 'code', not 1")
    extra = found[0]["metadata"].get("tfscale_extra", "")
    found[0]["source"] = install_cell(url, extra).splitlines(keepends=True)
    if line := badge(url, path.name):
        cells.insert(0, {"cell_type": "markdown", "id": "badge", "metadata": {}, "source": [line]})
    return json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes all notebooks of this folder."""
    url = address(ROOT / "setup.cfg")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        path.write_text(rendered(path, url), encoding="utf-8")
    print(f"the notebooks install from {url}" if url else "no address is set in setup.cfg")


if __name__ == "__main__":
    main()
