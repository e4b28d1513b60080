"""The Dockerfile, which nobody builds here: it names files, extras and commands that exist."""

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tfscale import cli

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def instructions():
    """Name and rest of every instruction; none of ours goes on in the next line."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 10 and not any(line.endswith("\\") for line in lines)
    return [tuple(line.split(maxsplit=1)) for line in lines if not line.startswith("#")]


def rest(instructions, name):
    [found] = [words for instruction, words in instructions if instruction == name]
    return found


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_the_order_is_one_that_docker_takes(instructions):
    names = [name for name, _ in instructions]
    assert names == ["FROM", "WORKDIR", "COPY", "COPY", "RUN", "ENTRYPOINT", "CMD"]


def test_its_python_is_one_that_tfscale_takes(instructions):
    image = re.fullmatch(r"python:(3\.\d+)-slim", rest(instructions, "FROM"))
    assert image[1] in SpecifierSet(setup_cfg()["options"]["python_requires"])


def copied(instructions):
    """Pairs of what is copied and where to, below the working folder."""
    pairs = []
    for name, words in instructions:
        if name == "COPY":
            *sources, target = words.split()
            pairs += [(source, source if target == "./" else target) for source in sources]
    return pairs


def test_what_it_copies_builds_the_package(instructions, tmp_path):
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source, target in copied(instructions):
        assert not any(fnmatch.fnmatch(source, pattern) for pattern in ignored), source
        if (ROOT / source).is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, tmp_path / target, ignore=left_out)
        else:
            shutil.copy(ROOT / source, tmp_path / target)
    build = "import setuptools.build_meta as b, sys; print(b.prepare_metadata_for_build_wheel(sys.argv[1]))"
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    made = tmp_path / "out" / done.stdout.split()[-1]
    assert "From raw text to a language model" in (made / "METADATA").read_text()
    assert (made / "licenses" / "LICENSE").exists()
    assert "tfscale = tfscale.cli:main" in (made / "entry_points.txt").read_text()


def test_what_it_installs_exists(instructions):
    words = shlex.split(rest(instructions, "RUN"))
    assert words[:4] == ["python", "-m", "pip", "install"]
    assert words[4:7] == ["--no-cache-dir", "--constraint", "constraints.txt"]
    assert "constraints.txt" in {source for source, _ in copied(instructions)}
    [here] = words[7:]
    extras = Requirement(f"tfscale{here.removeprefix('.')}").extras
    assert extras and extras <= set(setup_cfg()["options.extras_require"])


def test_what_it_runs_is_the_quickstart(instructions):
    program = json.loads(rest(instructions, "ENTRYPOINT"))
    name, *options = json.loads(rest(instructions, "CMD"))
    assert program == ["tfscale"] and name == "quickstart"
    output = cli.COMMANDS[name].parse(options).output
    # The comment's volume is where the quickstart writes.
    comment = (ROOT / "Dockerfile").read_text()
    folder = rest(instructions, "WORKDIR")
    assert f":{folder}/{Path(output).parent} tfscale" in comment.replace('"', "")
