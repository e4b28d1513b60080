"""A tokenizer kind of a module outside the package: prepare, save, load, and processes."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.plugins import plugin
from tfscale.config import PrepareConfig
from tfscale.data.prepare import prepare
from tfscale.data.splits import Borders, Part
from tfscale.data.spool import SpoolWriter
from tfscale.data.tokenizing import encode_batches
from tfscale.errors import ConfigError, ExportError
from tfscale.registry import module_of, register
from tfscale.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer

FOLDER = pathlib.Path(__file__).parent


@pytest.fixture
def stranger(monkeypatch):
    """The module, registered for the time of a test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    with plugin("stranger") as module:
        yield module


def test_prepare_trains_saves_and_loads_it(stranger, tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"Grüße {n}\n" for n in range(100, 500)))
    manifest = prepare(
        PrepareConfig(
            text=[str(tmp_path / "a.txt")],
            documents="line",
            tokenizer="shifted",
            output=str(tmp_path / "data"),
        ),
        progress=False,
    )
    loaded = load_tokenizer(str(tmp_path / "data"))
    assert type(loaded) is stranger.ShiftedTokenizer and manifest.tokenizer_kind == "shifted"
    assert loaded.digest == manifest.tokenizer_digest
    assert loaded.shift > 1 and loaded.decode(loaded.encode("Grüße")) == "Grüße"
    # 11 bytes and an end token for each line.
    assert sum(split.tokens for split in manifest.splits.values()) == 400 * 12


def test_two_processes_know_it(stranger, tmp_path):
    tokenizer = train_tokenizer("shifted", ["abc"], 0)
    tokenizer.save(str(tmp_path / "tokenizer"))
    with SpoolWriter(str(tmp_path / "spool")) as writer:
        for _ in range(60):
            writer.add("text " * 10_000, 0)
    spool = writer.spool(Borders(0, 0))
    saved = (str(tmp_path / "tokenizer"), spool)
    assert len(spool.batches) > 1
    here, there = (
        [
            np.frombuffer(result[Part("train")].content, "<u2")
            for result in encode_batches(tokenizer, *saved, processes, small=0)
        ]
        for processes in (1, 2)
    )
    assert all(map(np.array_equal, here, there)) and len(here) == len(there)


def test_a_kind_of_a_script_has_no_module_for_other_processes(stranger):
    class Local(stranger.ShiftedTokenizer):
        pass

    assert module_of(stranger.ShiftedTokenizer) == "stranger" and module_of(Local) is None
    assert module_of(type("Script", (), {"__module__": "__main__"})) is None


def test_what_a_kind_does_not_say_is_refused(stranger):
    class Nameless(Tokenizer):
        pass

    with pytest.raises(ConfigError, match="a registered tokenizer needs a name; received ''"):
        register(Nameless)
    with pytest.raises(ConfigError, match="tokenizer: expected one of byte, .*, shifted; received"):
        PrepareConfig(text=["a"], output="b", tokenizer="bpe")
    with pytest.raises(ExportError, match="LiteRT-LM has no tokenizer of kind shifted"):
        stranger.ShiftedTokenizer(1).bundle_file()


def test_the_command_line_takes_it_as_a_plugin(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {n}\n" for n in range(100)))
    words = "prepare --text a.txt --documents line --tokenizer shifted --output data --json"
    done = subprocess.run(
        [sys.executable, "-m", "tfscale.cli", *words.split()],
        cwd=tmp_path,
        env={
            "PYTHONPATH": f"{FOLDER}:{':'.join(filter(None, sys.path))}",
            "TFSCALE_PLUGINS": "stranger",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "tokenizer" / "shift.txt").is_file()
