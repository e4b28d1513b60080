"""The public surface for type checkers: the stub names what there is, and mypy knows the signatures."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfscale

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "tests" / "typing"


def test_the_stub_names_what_is_there_at_run_time():
    named = {"__version__": None}
    for node in ast.parse((ROOT / "tfscale" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                # Only what is imported as its own name is handed on.
                assert name.asname == name.name
                named[name.name] = node.module
    assert set(named) == set(tfscale.__all__)
    for name, module in tfscale._HOME.items():
        assert named[name] == module
        assert getattr(tfscale, name) is getattr(sys.modules[module], name)


def check(script):
    """Line -> code of mypy's error."""
    pytest.importorskip("mypy", reason="mypy is in the extra dev")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "setup.cfg", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = re.findall(r":(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert len(lines) == done.stdout.count(" error: "), done.stdout + done.stderr
    return {int(line): code for line, code in lines}


def test_right_calls_are_right():
    assert check(SCRIPTS / "right.py") == {}


def test_each_wrong_call_is_an_error():
    lines = enumerate((SCRIPTS / "wrong.py").read_text().splitlines(), 1)
    expected = {number: line.rpartition("  # ")[2] for number, line in lines if "  # " in line}
    assert len(expected) > 20 and check(SCRIPTS / "wrong.py") == expected
