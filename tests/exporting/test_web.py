"""The page of a model, in a real browser: the same tokens and the same text as the runner in Python."""

import functools
import http.server
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import threading
from importlib import resources

import pytest
import sentencepiece

import tfscale.device
import tfscale.exporting.web as web
from tests.exporting.exported import make_run
from tests.exporting.test_formats import run_with
from tfscale.config import ExportConfig, LSTMConfig, SamplingConfig
from tfscale.errors import ExportError
from tfscale.exporting.export import export_run
from tfscale.models import build_network
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.sentencepiece import SentencePieceTokenizer
from tfscale.text.tokenizers.sentencepiece_models import keeping_text
from tfscale.text.tokenizers.special import SpecialTokens

PAGE = pathlib.Path(web.__file__).parent / "page"
TEXT = (
    "def main(args):\n    return 'the quick brown fox', 42  # jumps\n" * 40
    + "naïve café 狐 \t∑ 🙂\n" * 4
)


def test_a_tokenizer_that_the_page_has_not(tmp_path):
    with pytest.raises(
        ExportError,
        match="the page has no tokenizer of kind word; it has byte, char, sentencepiece",
    ):
        export_run(
            run_with(tmp_path / "run", "word"),
            ExportConfig(output=str(tmp_path / "x"), format="web"),
        )


def test_a_runtime_that_is_not_what_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def read(self):
            return b"something else"

    monkeypatch.setattr(web.urllib.request, "urlopen", lambda url, timeout: Answer())
    run = run_with(tmp_path / "run", "byte", num_layers=1)
    with pytest.raises(ExportError, match="is not what it was: its digest is sha512-"):
        export_run(run, ExportConfig(output=str(tmp_path / "x"), format="web", parity_tokens=64))
    assert not (tmp_path / "x").exists()

    def unreachable(url, timeout):
        raise web.urllib.error.URLError("no route")

    monkeypatch.setattr(web.urllib.request, "urlopen", unreachable)
    with pytest.raises(
        ExportError, match=r"cannot be fetched from .*no route.*npm pack @litertjs/core@"
    ):
        web.write_page(str(tmp_path), run.tokenizer)


def test_what_the_page_knows_of_a_tokenizer():
    tokenizer = train_tokenizer("sentencepiece", [TEXT], 298, sentencepiece_model="bpe")
    found = tokenizer.page_vocabulary()
    assert (
        found["kind"] == "bpe"
        and len(found["pieces"]) == len(found["scores"]) == tokenizer.vocabulary_size
    )
    assert [tokenizer.token_bytes(id, None) for id in found["byte_ids"]] == [
        bytes((byte,)) for byte in range(256)
    ]
    assert train_tokenizer("byte", [], 257).page_vocabulary() == {
        "kind": "byte",
        "end_id": 256,
        "unknown_id": None,
        "start_id": 256,
        "prompt_start": [256],
        "stop_ids": [256],
    }


@pytest.mark.web
def test_the_page_cuts_a_prompt_as_python_does(tmp_path):
    """With a start token, a space before the first word, control pieces and pieces that a user defined; by node."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=320,
        byte_fallback=True,
        user_defined_symbols=["<table>", "<end_of_turn>", "\u2581\u2581"],
        minloglevel=2,
    )
    tokenizer = SentencePieceTokenizer(keeping_text(model.getvalue()))
    stop = tokenizer.special_tokens["<end_of_turn>"]
    tokenizer = tokenizer.with_special(
        SpecialTokens(start_id=1, stop_ids=(stop,), leading_space=True)
    )
    prompts = ["def main", "a  <table>b <end_of_turn><s>", "  x\u2581y", "", "naïve 狐"]
    (tmp_path / "tokenizer.mjs").write_bytes(
        resources.files("tfscale.exporting").joinpath("page/tokenizer.js").read_bytes()
    )
    (tmp_path / "run.mjs").write_text(
        "import {Tokenizer} from './tokenizer.mjs';\n"
        f"const tokenizer = new Tokenizer({json.dumps(tokenizer.page_vocabulary())});\n"
        f"const ids = {json.dumps(prompts)}.map((prompt) => tokenizer.promptIds(prompt));\n"
        "console.log(JSON.stringify([ids, [...tokenizer.stopIds]]));\n"
    )
    done = subprocess.run(
        ["node", str(tmp_path / "run.mjs")], capture_output=True, text=True, check=True
    )
    expected = [tokenizer.prompt_ids(tokenizer.encode(prompt)) for prompt in prompts]
    assert json.loads(done.stdout) == [expected, [2, stop]]
    assert expected[3] == [1] and stop not in expected[1]


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_the_page_cleans_prompts_as_python_does():
    tokenizer = train_tokenizer("byte", [], 257)
    tokenizer.cleaner = Cleaner(
        unicode_normalization="NFKC", lowercase=True, collapse_whitespace=True
    )
    prompts = [
        "  To  BE \t",
        "\ufb01ne\r\n\r\n\r\n\r\n",
        " \n ",
        "a\u3000b \n  c",
        "",
        "\u00c9t\u00c9",
    ]
    script = (
        f"import {{Tokenizer}} from {json.dumps(str(PAGE / 'tokenizer.js'))};"
        f"const tokenizer = new Tokenizer({json.dumps(tokenizer.page_vocabulary())});"
        f"console.log(JSON.stringify({json.dumps(prompts)}.map((text) => tokenizer.beginning(text))));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == [tokenizer.cleaner.beginning(text) for text in prompts]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    service = webdriver.ChromeService(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def open_page(browser, folder):
    """Serves a folder and waits until its page is ready."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get(f"http://127.0.0.1:{server.server_port}/")
    status = browser.find_element(By.ID, "status")
    WebDriverWait(browser, 60).until(lambda _: not status.text.startswith("Loading"))
    assert status.text == "Ready.", status.text
    return server


CASES = [
    ("unigram", "transformer", "none"),
    ("bpe", "lstm", "none"),
    ("byte", "transformer", "none"),
    ("char", "lstm", "int8"),
]


@pytest.mark.web
@pytest.mark.parametrize("kind, family, quantize", CASES)
def test_typing_into_the_page(tmp_path, browser, kind, family, quantize):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    if kind in ("unigram", "bpe"):
        tokenizer = train_tokenizer("sentencepiece", [TEXT], 298, sentencepiece_model=kind)
    else:
        tokenizer = train_tokenizer(kind, [TEXT], 257)
    run = run_with(tmp_path / "other", "byte", family)
    if kind != "byte":
        config = LSTMConfig(
            vocabulary_size=tokenizer.vocabulary_size,
            sequence_length=64,
            embedding_dim=24,
            hidden_dim=32,
        )
        if family == "transformer":
            import dataclasses

            config = dataclasses.replace(
                run.network.config, vocabulary_size=tokenizer.vocabulary_size
            )
        network = build_network(config)
        network.set_weights([weight * 5 for weight in network.get_weights()])
        run = make_run(tmp_path / "run", network, tokenizer)
    folder = tmp_path / "export"
    export_run(
        run, ExportConfig(output=str(folder), format="web", quantize=quantize, parity_tokens=64)
    )
    server = open_page(browser, folder)
    model = tfscale.device.load(str(folder))
    prompt = "def main(a"
    expected = model.generate(prompt, 30, SamplingConfig()).text
    browser.find_element(By.ID, "prompt").send_keys(prompt)
    field = browser.find_element(By.ID, "tokens")
    browser.execute_script("arguments[0].value = 30", field)
    browser.find_element(By.ID, "go").click()
    status = browser.find_element(By.ID, "status")
    WebDriverWait(browser, 30).until(lambda _: "second" in status.text or "not" in status.text)
    assert browser.find_element(By.ID, "output").get_property("textContent") == prompt + expected
    # A longer prompt goes through the prefill calls, whose pads must leave nothing behind.
    longer = TEXT[:25]
    found = browser.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "globalThis.tfscale.complete(arguments[0], {maxTokens: 12}).then(done, (error) => done(String(error)))",
        longer,
    )
    assert found["text"] == model.generate(longer, 12, SamplingConfig()).text
    rng = random.Random(0)
    letters = "abc def\n\t()狐é🙂▁ ''"
    texts = [
        TEXT,
        "",
        " ",
        "▁",
        *("".join(rng.choices(letters, k=rng.randint(1, 60))) for _ in range(200)),
    ]
    encoded = browser.execute_script(
        "return arguments[0].map((t) => globalThis.tfscale.tokenizer.encode(t))", texts
    )
    for text, ids in zip(texts, encoded, strict=True):
        assert ids == tokenizer.encode(text), repr(text)
    if family == "transformer":
        refused = browser.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "globalThis.tfscale.complete('狐'.repeat(90)).then(done, (error) => done(error.message))"
        )
        count = len(tokenizer.prompt_ids(tokenizer.encode("狐" * 90)))
        assert refused == f"The prompt has {count} tokens; the model takes at most 64."
    server.shutdown()
    server.server_close()
    # All that the page asked for came from its own folder.
    assert (
        json.dumps(
            browser.execute_script(
                "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)"
            )
        ).count("127.0.0.1")
        >= 5
    )
