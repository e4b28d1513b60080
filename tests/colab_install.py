"""Makes the environment that the install cell of the Colab notebook makes: `python tests/colab_install.py REPOSITORY`.

It runs that cell's own lines with the Python that it is started with, so that the test of the notebook tests them, too.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "tpu_colab.ipynb"


def commands(code: str) -> list[list[str]]:
    """The words after `pip` of each line of the install cell; `code` is what it installs tfscale from."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    [source] = [
        "".join(cell["source"]) for cell in cells if "%pip install" in "".join(cell["source"])
    ]
    lines = [
        line.removeprefix("%pip ").replace('"tfscale @ {code}"', shlex.quote(code))
        for line in source.splitlines()
    ]
    return [shlex.split(line) for line in lines]


if __name__ == "__main__":
    for words in commands(sys.argv[1]):
        options = ["--disable-pip-version-check"] if words[0] == "install" else []
        if words[-1] == sys.argv[1]:
            options.append("--editable")
            words = [*words[:-1], *options, words[-1]]
        else:
            words = [*words, *options]
        subprocess.run([sys.executable, "-m", "pip", *words], check=True)
