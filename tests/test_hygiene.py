"""The repository as a whole: one-way imports, light modules, tested versions, a complete wheel."""

import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tfscale
from tfscale import cli
from tfscale.commands import train
from tfscale.commands.parser import option_types
from tfscale.config.models import network_families

ROOT = Path(__file__).resolve().parent.parent
LIGHT = [
    "tfscale",
    "tfscale.api",
    "tfscale.artifacts",
    "tfscale.cli",
    "tfscale.text.tokenizers",
    "tfscale.device",
    "tfscale.inference.generation",
    "tfscale.inference.sampling",
    "tfscale.text.score",
]


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text):
    return [
        Requirement(line)
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def pins():
    return {
        pin.name.lower().replace("_", "-"): pin
        for pin in requirements((ROOT / "constraints.txt").read_text())
    }


def test_folders_import_one_way():
    pytest.importorskip("importlinter", reason="import-linter is in the extra dev")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_light_modules_need_neither_tensorflow_nor_keras():
    code = "import sys\nfor name in ('tensorflow', 'keras', 'tf_keras'):\n    sys.modules[name] = None\n"
    code += "\n".join(f"import {name}" for name in LIGHT)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_lead_somewhere():
    for name in tfscale.__all__:
        assert getattr(tfscale, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tfscale.trian  # noqa: B018


def test_functions_stay_functions_when_folders_of_that_name_are_imported():
    code = "import tfscale, tfscale.exporting.export, tfscale.evaluation.evaluate, tfscale.data.prepare, tfscale.runs.train\n"
    code += "for name in ('prepare', 'train', 'evaluate', 'generate', 'export'):\n"
    code += "    assert callable(getattr(tfscale, name)), name"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ci_runs_lint_and_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make \w+$", script.read_text(), re.MULTILINE) == ["make lint", "make test"]


def test_changelog_has_this_version():
    assert f"## [{tfscale.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def installed_by_make():
    """Requirements of the base and of the extras that `make` and `make docs` install into .venv."""
    config = setup_cfg()
    makefile = (ROOT / "Makefile").read_text()
    extras = re.search(r"^\$\(STAMP\):.*?\.\[([\w,-]+)\]'", makefile, re.MULTILINE | re.DOTALL)[1]
    texts = [config["options.extras_require"][name] for name in [*extras.split(","), "docs"]]
    return requirements("\n".join([config["options"]["install_requires"], *texts]))


def test_tested_versions_are_in_the_declared_ranges():
    pinned = pins()
    for requirement in installed_by_make():
        pin = pinned[requirement.name.lower().replace("_", "-")]
        [specifier] = pin.specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(specifier.version), f"{requirement} and {pin}"


def test_one_tensorflow_only():
    """Wheels of TensorFlow overwrite each other's files, so one environment has one of them."""
    wheels = {"tensorflow", "tensorflow-cpu", "tensorflow-tpu", "tf-nightly"}
    names = {requirement.name for requirement in installed_by_make()}
    assert names & wheels == {"tensorflow"}
    assert set(pins()) & wheels == {"tensorflow"}
    assert "torch" not in names | set(pins())


def test_options_are_the_listed_ones():
    """A new, renamed or re-defaulted option is a change that users see: it is made on purpose, and in this file too."""
    parsers = {
        name: command.build_parser() for name, command in cli.COMMANDS.items() if name != "train"
    }
    parsers |= {
        f"train --model.family {family}": train.build_parser(family)
        for family in network_families()
    }
    parsers["train --model.family ngram"] = train.build_parser("ngram")
    lines = []
    for title, parser in sorted(parsers.items()):
        lines.append(title)
        defaults = parser.get_defaults()
        for key in option_types(parser):
            if key not in ("help", "help_all"):
                lines.append(f"  --{key} {defaults.get(key)!r}")
    found = "\n".join(lines) + "\n"
    path = ROOT / "tests" / "options.txt"
    if os.environ.get("UPDATE_OPTIONS"):
        path.write_text(found)
    assert found == path.read_text(), (
        "if the change is meant: UPDATE_OPTIONS=1 python -m pytest tests/test_hygiene.py"
    )


def test_wheel_holds_the_package_and_nothing_else(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "--wheel-dir",
            str(tmp_path),
            str(source_tree(tmp_path / "source")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {path.relative_to(ROOT).as_posix() for path in package_files()}
    info = f"tfscale-{tfscale.__version__}.dist-info"
    assert {name for name in names if not name.startswith(info)} == package
    assert "tfscale/py.typed" in package
    assert f"{info}/licenses/LICENSE" in names
    entry_points = zipfile.ZipFile(wheel).read(f"{info}/entry_points.txt").decode()
    assert "tfscale = tfscale.cli:main" in entry_points


def package_files():
    return [
        path
        for path in (ROOT / "tfscale").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def source_tree(folder):
    """A copy, because building writes beside setup.cfg."""
    for path in [
        ROOT / name for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
    ] + package_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder
