"""The notebooks run from beginning to end, on a text and a model that are small enough for a test."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra notebooks")
nbformat = pytest.importorskip("nbformat", reason="nbformat is in the extra notebooks")

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = """
corpus, text, documents = None, [{text!r}], "paragraph"
folder = {folder!r}
vocabulary_size = 400
sequence_length, hidden_dim, num_layers = 16, 16, 1
global_batch_size, epochs, steps_per_epoch = 4, 2, 5
"""


def printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.filterwarnings("default")  # Jupyter's own warnings are not ours.
def test_quickstart_notebook(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    [parameters] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = PARAMETERS.format(text=str(ROOT / "README.md"), folder=str(tmp_path / "out"))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    assert "The try statement specifies exception handlers" in text
    assert "(4, 16)" in text
    assert "bits per byte over" in text
    assert text.count("stopped by") == 2 and "tokens/s on one thread" in text
    assert {path.name for path in (tmp_path / "out" / "int8").iterdir()} >= {"model.tflite", "parity.json", "tokenizer"}
