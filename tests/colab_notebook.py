"""Runs the cells of the Colab notebook, small and on the CPU, in this process: for the environment of its install cell.

    TPU_SKIP_MDS_QUERY=1 .venv-tensorflow-tpu/bin/python tests/colab_notebook.py

It has no Jupyter; `make test-tf220` calls this. tests/test_notebooks.py runs the same cells by Jupyter on TensorFlow.
"""

import importlib.metadata
import json
import os
import tempfile

from colab_install import NOTEBOOK

PARAMETERS = """
folder = {folder!r}
corpus, text, documents = None, [{text!r}], "paragraph"
vocabulary_size = 400
strategy, precision = "single", "mixed_bfloat16"
model_config = tfscale.TransformerConfig(sequence_length=16, hidden_dim=16, num_layers=1, num_heads=2)
train_options = dict(steps=6, global_batch_size=4, validate_every=3, checkpoint_every=3, warmup_steps=2)
"""
"""Stands instead of the notebook's own cell of parameters."""


def sources(folder: str) -> list[str]:
    """The cells that run outside of Colab."""
    found = []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and "colab" not in tags:
            own = PARAMETERS.format(
                text=str(NOTEBOOK.parent.parent / "CHANGELOG.md"), folder=folder
            )
            found.append(own if "parameters" in tags else "".join(cell["source"]))
    return found


def main() -> None:
    """Runs them, and checks that this TensorFlow is the TPU wheel and what they wrote."""
    print("tensorflow-tpu", importlib.metadata.version("tensorflow-tpu"))
    with tempfile.TemporaryDirectory() as folder:
        variables: dict = {}
        for source in sources(folder):
            exec(compile(source, "cell", "exec"), variables)
        import tensorflow as tf

        from tfscale.training.xla import has_xla

        assert tf.config.list_physical_devices("TPU") or not has_xla(), (
            "this is not the environment without XLA"
        )
        assert variables["summary"]["completed"] and variables["report"]["passed"]
        assert variables["score"]["tokens"] > 0
        assert os.path.getsize(os.path.join(folder, "int8", "model.tflite")) > 10_000
    print("all cells of the notebook run on the TPU wheel")


if __name__ == "__main__":
    main()
