"""The notebooks run from beginning to end, on a text and a model that are small enough for a test."""

from pathlib import Path

import pytest
from colab_install import commands
from colab_notebook import PARAMETERS as TPU_PARAMETERS

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
