"""Every stop token ends a completion, in every runtime: the model says the second one, and would go
on without it."""

import contextlib
import dataclasses
import io
import itertools
import json
import re
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import CONFIGS, make_network, make_run
from tfscale.config import ExportConfig
from tfscale.device.bundle import read_bundle
from tfscale.exporting.export import export_run
from tfscale.inference.generation import generate
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.text.tokenizers.special import SpecialTokens

COUNT = 10


@pytest.fixture(scope="module")
def stopping(tokenizer, tmp_path_factory):
    """A run whose network says its second stop token, and the tokens before that."""
    network = build_network(CONFIGS["transformer"])
    network.set_weights(make_network("transformer").get_weights())
    # It says nothing but letters, so that every runtime shows the same text.
    table = network.token_embedding.embeddings
    letters = np.isin(np.arange(257), np.arange(97, 123))
    table.assign(table.numpy() * np.where(letters, 1.0, 0.1)[:, None])
    decoder = KerasDecoder(network)
    prompt, written, place = next(
        found
        for letters in itertools.product("abcdefgh", repeat=3)
        if (found := said(decoder, tokenizer, "".join(letters)))
    )
    stopped = tokenizer.with_special(SpecialTokens(stop_ids=(written[place],)))
    assert stopped.stop_ids == (256, written[place])
    run = make_run(tmp_path_factory.mktemp("run"), network, stopped)
    return run, prompt, written[:place], written


def said(decoder, tokenizer, prompt):
    """What the model says after a prompt, if one of its tokens is new after two letters."""
    written = generate(decoder, tokenizer, prompt, COUNT).tokens
    for place in range(2, len(written) - 1):
        before = written[:place]
        if all(97 <= token < 123 for token in before) and written[place] not in (
            *before,
            *prompt.encode(),
        ):
            return prompt, written, place
    return None


@pytest.fixture(scope="module")
def exported(stopping, held_out, tmp_path_factory):
    run, folder = stopping[0], tmp_path_factory.mktemp("exports")

    def make(format):
        config = ExportConfig(output=str(folder / format), format=format, prefill_lengths=[4])
        if not (folder / format).exists():
            export_run(run, config, held_out=held_out)
        return folder / format

    return make


def test_in_keras(stopping):
    run, prompt, expected, written = stopping
    found = generate(KerasDecoder(run.network), run.tokenizer, prompt, COUNT)
    assert found.tokens == expected != written and found.stopped_by == "end"


def test_in_the_file(stopping, exported, monkeypatch):
    run, prompt, expected, _ = stopping
    model = tfscale.device.load(str(exported("tflite")))
    found = model.generate(prompt, COUNT)
    assert found.tokens == expected and found.stopped_by == "end"
    assert "".join(model.stream(prompt, COUNT)) == run.tokenizer.decode(expected)
    # The program of README.md, by ai-edge-litert alone.
    folder = exported("tflite")
    assert json.loads((folder / "model.json").read_text())["stop_ids"] == list(
        run.tokenizer.stop_ids
    )
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[-1]
    ids = run.tokenizer.prompt_ids(run.tokenizer.encode(prompt))
    code = re.sub(r"^ids = .*$", f"ids = {ids}", code, flags=re.MULTILINE)
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert json.loads(printed.getvalue()) == ids + expected


@pytest.mark.slow
def test_in_a_bundle(stopping, exported):
    run, prompt, expected, _ = stopping
    folder = exported("litertlm")
    found = tfscale.generate(str(folder), prompt=prompt, max_tokens=COUNT)
    assert found.text == run.tokenizer.decode(expected) and found.stopped_by == "end"
    stops = read_bundle(str(folder / "model.litertlm")).stop_tokens
    assert [list(stop.token_ids.ids) for stop in stops] == [
        [token] for token in run.tokenizer.stop_ids
    ]


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_on_the_page(stopping, tmp_path):
    """The page's own loop, with a decoder that wants to say what the model says without stops."""
    run, prompt, expected, written = stopping
    page = resources.files("tfscale.exporting").joinpath("page")
    for name in ("page.js", "tokenizer.js"):
        (tmp_path / name).write_bytes(page.joinpath(name).read_bytes())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "litert").mkdir()
    (tmp_path / "litert" / "litert.js").write_text(
        "export const Tensor = null, loadAndCompile = null, loadLiteRt = null;"
    )
    (tmp_path / "run.js").write_text(
        "import {complete} from './page.js';\nimport {Tokenizer} from './tokenizer.js';\n"
        f"const written = {json.dumps(written)};\n"
        "let place = 0;\n"
        "const decoder = {reset() {}, async feed() {\n"
        "  const logits = new Float32Array(257);\n  logits[written[place++]] = 1;\n"
        "  return logits;\n}};\n"
        f"const tokenizer = new Tokenizer({json.dumps(run.tokenizer.page_vocabulary())});\n"
        f"const done = await complete(decoder, tokenizer, {json.dumps(prompt)}, {{maxTokens: {COUNT}}});\n"
        "console.log(JSON.stringify(done.tokens));\n"
    )
    done = subprocess.run(
        ["node", str(tmp_path / "run.js")], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == expected


def test_none_is_lost_when_a_folder_is_saved(stopping, tmp_path):
    run = stopping[0]
    run.tokenizer.save(str(tmp_path / "tokenizer"))
    from tfscale.text.tokenizers import load_tokenizer

    assert load_tokenizer(str(tmp_path / "tokenizer")).stop_ids == run.tokenizer.stop_ids
    assert dataclasses.replace(run.tokenizer.special, stop_ids=()) == SpecialTokens()
