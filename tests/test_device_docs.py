"""The examples of docs/device.md name what is in a file: signatures, inputs, outputs and their sizes."""

import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.gpt2 import gpt2
from tfscale.config.refused import REFUSED
from tfscale.exporting.converter import silence
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network

TEXT = (Path(__file__).parents[1] / "docs" / "device.md").read_text()
CODE = {
    language: re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[1]
    for language in ("kotlin", "swift")
}
CONFIG = gpt2(vocabulary_size=50, sequence_length=24, hidden_dim=32, num_layers=3, num_heads=2)


@pytest.fixture(scope="module")
def decode():
    with silence():
        interpreter = Interpreter(model_content=export_tflite(build_network(CONFIG)))
    runner = interpreter.get_signature_runner("decode")
    return runner.get_input_details(), runner.get_output_details()


@pytest.mark.parametrize("language", CODE)
def test_names_of_the_examples_are_those_of_the_file(decode, language):
    inputs, outputs = decode
    code = CODE[language]
    assert '"decode"' in code
    strings = set(re.findall(r'"([a-z_]+(?:\$it|\\\(\$0\))?)"', code))
    templates = {name for name in strings if name.startswith("kv_cache")}
    written = {
        re.sub(r"\$it|\\\(\$0\)", str(layer), name)
        for name in templates
        for layer in range(CONFIG.num_layers)
    }
    assert written == {name for name in inputs if name.startswith("kv_cache")}
    plain = {"tokens", "input_pos", "mask"}
    assert plain == set(inputs) - written and plain <= strings
    assert set(outputs) == written | {"logits"} and "logits" in strings


@pytest.mark.parametrize("language", CODE)
def test_sizes_of_the_examples_are_those_of_the_file(decode, language):
    inputs, outputs = decode
    context, heads, width = CONFIG.sequence_length, CONFIG.num_heads, CONFIG.head_width
    sizes = {name: int(np.prod(detail["shape"])) for name, detail in {**inputs, **outputs}.items()}
    assert (
        "context * heads * width" in CODE[language]
        and sizes["kv_cache_k_0"] == context * heads * width
    )
    assert sizes["mask"] == context and sizes["tokens"] == sizes["input_pos"] == 1
    assert sizes["logits"] == CONFIG.vocabulary_size
    assert {
        detail["dtype"] for name, detail in inputs.items() if name not in ("tokens", "input_pos")
    } == {np.float32}
    assert {inputs[name]["dtype"] for name in ("tokens", "input_pos")} == {np.int32}
    assert "-1e4" in CODE[language]


def test_every_refused_recipe_is_in_the_table():
    for name in REFUSED:
        assert f"`{name}`" in TEXT, name
