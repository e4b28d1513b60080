"""A bundle behind `litert-lm serve`, the stock server of LiteRT-LM, on loopback alone."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.exporting.test_formats import run_with
from tfscale.config import ExportConfig
from tfscale.device.bundle import BundleModel
from tfscale.exporting.export import export_run
from tfscale.text.tokenizers.special import SpecialTokens

pytestmark = pytest.mark.serve
MESSAGE = "the quick brown fox "
TOKENS = 24


def command():
    """The program of the package litert-lm, which LITERT_LM names where it is elsewhere."""
    beside = pathlib.Path(sys.executable).with_name("litert-lm")
    found = os.environ.get("LITERT_LM") or shutil.which("litert-lm") or str(beside)
    if not os.path.exists(found):
        pytest.skip("no litert-lm; make test-serve installs it")
    return found


@contextlib.contextmanager
def serving(program, bundle, folder):
    """Serves a bundle as `ours` on a free port of loopback; yields the address."""
    environment = os.environ | {"LITERT_LM_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
    imported = subprocess.run(
        [program, "import", str(bundle), "ours"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert imported.returncode == 0, imported.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(server, port, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def wait_for(server, port, log):
    """Waits until the server takes connections; it needs long on a machine that is busy."""
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.5)
    raise AssertionError(f"no answer on port {port}: {log.read_text()}")


def ask(address, path, body=None):
    request = urllib.request.Request(
        address + path,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code}: {error.read().decode()}") from error


def chat(address, content=MESSAGE, **options):
    messages = [{"role": "user", "content": content}]
    return ask(address, "/v1/chat/completions", {"model": "ours", "messages": messages} | options)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Two bundles of one network, whose tokenizers differ in their stop tokens; and the texts that
    LiteRT-LM itself writes."""
    program = command()
    folder = tmp_path_factory.mktemp("bundles")
    run = run_with(folder / "run", "sentencepiece")
    # Single bytes are never the likeliest, so that the text is not full of broken characters.
    table, size = run.network.token_embedding.embeddings, run.tokenizer.vocabulary_size
    words = [not run.tokenizer.piece(id).startswith("<") for id in range(size)]
    table.assign(table.numpy() * np.where(words, 1.0, 0.1)[:, None])
    made = {}

    def export(name, run):
        output = folder / name
        export_run(
            run,
            ExportConfig(output=str(output), format="litertlm", quantize="int8", parity_tokens=64),
        )
        path = output / "model.litertlm"
        return path, BundleModel(str(path)).generate(MESSAGE, TOKENS).text

    made["plain"] = export("plain", run)
    ids = run.tokenizer.encode(MESSAGE + made["plain"][1])
    written = ids[len(run.tokenizer.encode(MESSAGE)) :]
    stop = next(id for id in written[2:] if id not in (*written[:2], *ids[: -len(written)]))
    stopped = run.tokenizer.with_special(SpecialTokens(stop_ids=(stop,)))
    made["stopping"] = export("stopping", make_run(folder / "run2", run.network, stopped))
    return program, made


def test_a_bundle_answers_as_litert_lm_writes(bundles, tmp_path):
    program, made = bundles
    bundle, expected = made["plain"]
    with serving(program, bundle, tmp_path) as address:
        assert [model["id"] for model in ask(address, "/v1/models")["data"]] == ["ours"]
        answer = chat(address, max_completion_tokens=TOKENS)
        streamed = ask_stream(address)
    choice = answer["choices"][0]
    assert choice["message"]["role"] == "assistant" and answer["object"] == "chat.completion"
    assert choice["message"]["content"].strip() == expected.strip() and len(expected) > 8
    assert streamed.strip() == expected.strip()


def ask_stream(address):
    """The pieces of an answer that is streamed, joined."""
    body = {
        "model": "ours",
        "messages": [{"role": "user", "content": MESSAGE}],
        "stream": True,
        "max_completion_tokens": TOKENS,
    }
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Accept": "text/event-stream"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        lines = [line.decode().strip() for line in answer]
    parts = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert lines[-2:].count("data: [DONE]") == 1
    return "".join(
        part["choices"][0]["delta"].get("content", "") for part in parts if part["choices"]
    )


def test_a_second_stop_token_ends_the_answer(bundles, tmp_path):
    program, made = bundles
    bundle, expected = made["stopping"]
    with serving(program, bundle, tmp_path) as address:
        answer = chat(address, max_completion_tokens=TOKENS)
    assert answer["choices"][0]["message"]["content"].strip() == expected.strip()
    assert made["plain"][1].startswith(expected) and len(expected) < len(made["plain"][1])
