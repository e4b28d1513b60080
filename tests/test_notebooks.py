"""The notebooks run from beginning to end, on a text and a model that are small enough for a test."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from colab_install import commands
from colab_notebook import PARAMETERS as TPU_PARAMETERS
from packaging.requirements import Requirement

from notebooks import cells

nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra notebooks")
nbformat = pytest.importorskip("nbformat", reason="nbformat is in the extra notebooks")

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = """
corpus, text, documents = None, [{text!r}], "paragraph"
folder = {folder!r}
vocabulary_size = 400
sequence_length, hidden_dim, num_layers = 32, 16, 1
global_batch_size, epochs, steps_per_epoch = 4, 2, 5
"""


def printed(cell):
    return "".join(
        output.text
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


@pytest.mark.filterwarnings("default")  # Jupyter's own warnings are not ours.
def test_quickstart_notebook(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    [parameters] = [
        cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
    ]
    parameters.source = PARAMETERS.format(
        text=str(ROOT / "CHANGELOG.md"), folder=str(tmp_path / "out")
    )
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "from tfscale." not in code  # Public names alone.
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    text = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert "The try statement specifies exception handlers" in text
    assert "(4, 32)" in text
    assert "bits per byte over" in text
    assert text.count("stopped by") == 2 and "tokens/s on one thread" in text
    assert {path.name for path in (tmp_path / "out" / "int8").iterdir()} >= {
        "model.tflite",
        "parity.json",
        "tokenizer",
    }


@pytest.mark.slow  # The other notebook is run whole by `make test`.
@pytest.mark.filterwarnings("default")  # Jupyter's own warnings are not ours.
def test_tpu_notebook_on_a_cpu(tmp_path):
    """All cells but those that need Colab, with another strategy and a small model."""
    notebook = nbformat.read(ROOT / "notebooks" / "tpu_colab.ipynb", as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    assert (
        sum("colab" in tag for tag in tags) == 4 and sum("parameters" in tag for tag in tags) == 1
    )
    notebook.cells = [
        cell for cell in notebook.cells if "colab" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            assert 'strategy, precision = "tpu", "mixed_bfloat16"' in cell.source
            cell.source = TPU_PARAMETERS.format(
                text=str(ROOT / "CHANGELOG.md"), folder=str(tmp_path / "out")
            )
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    text = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert "6 steps" in text and "bits per byte" in text and "int8.zip" in text
    assert (tmp_path / "out" / "int8.zip").stat().st_size > 10_000


def test_the_tpu_notebook_installs_what_is_known_to_work():
    source = (ROOT / "notebooks" / "tpu_colab.ipynb").read_text()
    assert "never run on a TPU" in source
    install = commands("CODE")
    assert [words[0] for words in install] == ["uninstall", *["install"] * 4]
    assert install[1][2:] == ["tensorflow-tpu==2.20.0", "libtpu>=0.0.14,<0.0.32", "keras==3.15.1"]
    assert install[2][2:4] == ["--no-deps", "tensorflow-text==2.20.1"] and install[4][2:] == [
        "--no-deps",
        "CODE",
    ]
    # Bounds are those of the package; what it does not ask for itself is named without, or pinned.
    ours = (ROOT / "setup.cfg").read_text().split()
    bounded = [word for word in install[3] if ">=" in word]
    others = {"dm-tree>=0.1.8"}  # For tensorflow-model-optimization, as mock.
    assert len(bounded) >= 10 and set(bounded) - set(ours) == others


def test_the_tutorial_shows_the_cells_of_the_tpu_notebook():
    """The blocks of docs/tutorials/colab.md are cells, in order; only their line breaks differ."""
    notebook = json.loads((ROOT / "notebooks" / "tpu_colab.ipynb").read_text(encoding="utf-8"))
    cells = [
        ast.dump(ast.parse("".join(cell["source"])))
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and not "".join(cell["source"]).startswith("%pip")
    ]
    page = (ROOT / "docs" / "tutorials" / "colab.md").read_text(encoding="utf-8")
    shown = [
        ast.dump(ast.parse(block))
        for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]
    assert len(shown) == 6
    places = [cells.index(block) for block in shown]
    assert places == sorted(places)


NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
ADDRESS = "https://github.com/owner/a-repo"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_badge_and_install_cell_are_those_of_the_address(name):
    path = ROOT / "notebooks" / name
    written = path.read_text(encoding="utf-8")
    assert written == cells.rendered(path, cells.address(ROOT / "setup.cfg")), "run make notebooks"


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.parametrize("ending", ["", ".git", "/"])
def test_an_address_becomes_badge_and_requirement(name, ending, tmp_path):
    (tmp_path / "setup.cfg").write_text(f"[metadata]\nname = tfscale\nurl = {ADDRESS}{ending}\n")
    path = tmp_path / name
    path.write_text((ROOT / "notebooks" / name).read_text())
    path.write_text(cells.rendered(path, cells.address(tmp_path / "setup.cfg")))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    badge, first = (
        notebook.cells[0],
        next(cell for cell in notebook.cells if cell.cell_type == "code"),
    )
    assert badge.source.endswith(
        f"(https://colab.research.google.com/github/owner/a-repo/blob/main/notebooks/{name})"
    )
    assert 'code = "git+https://github.com/owner/a-repo@main"' in first.source
    assert "upload" not in first.source
    # Without the address the notebook is again what it was.
    assert cells.rendered(path, "") == cells.rendered(ROOT / "notebooks" / name, "")


def test_addresses_that_colab_or_pip_cannot_open(tmp_path):
    configuration = tmp_path / "setup.cfg"
    for url in ("git@github.com:owner/repo.git", 'https://x.org/a"b', "github.com/owner/repo"):
        configuration.write_text(f"[metadata]\nurl = {url}\n")
        with pytest.raises(ValueError, match="such as https://github.com/OWNER/REPO"):
            cells.address(configuration)
    # Colab opens repositories of GitHub; pip installs from others, too.
    configuration.write_text("[metadata]\nurl = https://git.example.org/owner/repo\n")
    url = cells.address(configuration)
    assert cells.badge(url, "quickstart.ipynb") == ""
    assert "git+https://git.example.org/owner/repo@main" in cells.install_cell(url, "train")


WITHOUT_TFSCALE = """
import importlib.util
from IPython.core.magic import register_line_magic

importlib.util.find_spec = lambda name: None
register_line_magic("pip")(print)
"""
"""Before an install cell: nothing is installed, and `%pip` prints its words."""
COLAB = """
import sys, types

colab = types.ModuleType("google.colab")
def upload():
    open("tfscale-main (1).zip", "w").close()
    return {"tfscale-main (1).zip": b""}
colab.files = types.SimpleNamespace(upload=upload)
sys.modules["google.colab"] = colab
"""
"""Google's module with the dialog that a person would answer."""


@pytest.mark.filterwarnings("default")  # Jupyter's own warnings are not ours.
def test_the_install_cell_asks_pip_for_the_code(tmp_path):
    """By address, by an uploaded zip, and by a wheel beside the notebook; or says what is missing."""
    wheel = "tfscale-9.9.0-py3-none-any.whl"
    sources = [
        WITHOUT_TFSCALE,
        cells.install_cell(ADDRESS, "train"),
        cells.install_cell("", "train"),
        COLAB,
        cells.install_cell("", "train"),
        f"open({wheel!r}, 'w').close()",
        cells.install_cell("", "train"),
        cells.install_cell("", "") + "\nprint(code)",
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    nbclient.NotebookClient(
        notebook,
        timeout=60,
        allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    by_address, nothing, by_zip, by_wheel, bare = (
        cell for cell in notebook.cells if cell.source.startswith(cells.HEAD)
    )

    def asked(cell):
        *options, word = shlex.split(printed(cell))
        assert options == ["install", "--quiet"]
        return Requirement(word)

    assert [asked(cell).extras for cell in (by_address, by_zip, by_wheel)] == [{"train"}] * 3
    assert asked(by_address).url == f"git+{ADDRESS}@main"
    assert asked(by_zip).url == (tmp_path / "tfscale-main (1).zip").as_uri()
    assert asked(by_wheel).url == (tmp_path / wheel).as_uri() == printed(bare).strip()
    [error] = [output for output in nothing.outputs if output.output_type == "error"]
    assert error.ename == "FileNotFoundError" and "no tfscale*.whl" in error.evalue
    assert all(
        output.output_type != "error"
        for cell in (by_address, by_zip, by_wheel)
        for output in cell.outputs
    )
