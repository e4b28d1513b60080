"""The base of tfscale in an environment of its own, from the built wheel: no TensorFlow, and a model runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The interpreter of a virtual environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("alone")
    # Built from a copy: setuptools leaves its build folder beside the sources.
    source = folder / "source"
    shutil.copytree(
        ROOT / "tfscale", source / "tfscale", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("tfscale-*.whl")
    # Without a pip of its own and without bytecode: both take longer than what is tested.
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True
    )
    python = str(folder / "venv" / "bin" / "python")
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    install = [*pip, "--python", python, "install", "--no-compile", str(wheel), *constraints]
    subprocess.run(install, check=True, capture_output=True)
    return python


def run(python, folder, *words):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "KERAS", "TF_"))
    }
    return subprocess.run(
        [python, *words], capture_output=True, text=True, cwd=folder, env=environment
    )


def test_a_model_runs_without_tensorflow(alone, exported, tmp_path):
    program = """
import importlib.util, json, sys
import tfscale.device
model = tfscale.device.load(sys.argv[1])
text = model.generate("ab", max_tokens=8).text
score = model.score("some text").nll_per_token
words = [suggestion.word for suggestion in model.suggest("ab c")]
there = [name for name in ("tensorflow", "keras", "tf_keras", "litert_quantizer") if importlib.util.find_spec(name)]
print(json.dumps({"text": text, "score": score, "words": words, "there": there}))
"""
    done = run(alone, tmp_path, "-c", program, exported.directory)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    import tfscale.device

    model = tfscale.device.load(exported.directory)
    assert found["there"] == []
    assert found["text"] == model.generate("ab", max_tokens=8).text
    assert found["score"] == pytest.approx(model.score("some text").nll_per_token, rel=1e-6)
    assert found["words"] == [suggestion.word for suggestion in model.suggest("ab c")]


def test_its_commands(alone, exported, tmp_path):
    done = run(
        alone,
        tmp_path,
        "-m",
        "tfscale.cli",
        "generate",
        exported.directory,
        "--prompt",
        "ab",
        "--json",
    )
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["tokens"] > 0, (
        done.stderr
    )
    done = run(
        alone,
        tmp_path,
        "-m",
        "tfscale.cli",
        "benchmark",
        exported.directory,
        "--threads",
        "1",
        "2",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert [row["threads"] for row in json.loads(done.stdout.splitlines()[-1])["by_threads"]] == [
        1,
        2,
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--data", "d", "--output", "o"],
        ["export", "run", "--output", "o"],
        ["compress", "run", "--output", "o", "--prune.sparsity", "0.5"],
        ["evaluate", "run"],
        ["prepare", "--corpus", "python-docs", "--output", "o"],
    ],
)
def test_what_needs_the_rest_says_so(alone, tmp_path, words):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("model: {family: lstm}\n")
    done = run(alone, tmp_path, "-m", "tfscale.cli", *words)
    assert done.returncode == 2 and "pip install 'tfscale[train]'" in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_in_python_too(alone, tmp_path):
    done = run(alone, tmp_path, "-c", "import tfscale; tfscale.LanguageModel")
    assert "ImportError: this needs TensorFlow and Keras" in done.stderr
    program = "import tfscale; tfscale.train(tfscale.LSTMConfig(), data='d', output='o')"
    done = run(alone, tmp_path, "-c", program)
    assert "ConfigError: this needs TensorFlow and Keras" in done.stderr
