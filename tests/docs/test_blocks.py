"""Code blocks are of known kinds; commands and files are parsed as what they are.

`test_programs.py` runs the Python.
"""

import importlib.util
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.collect import LANGUAGES, PAGES, ROOT, RUN_BY, RUNS, blocks, commands, text_of
from tfscale import cli
from tfscale.distribution.cluster import read_cluster


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_known_kinds(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: a block of {block.language!r}"
    text = re.sub(r"^( *)```.*?^\1```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    assert "```" not in text, f"{page}: a fence that is not closed"
    assert not list(indented_code(text)), f"{page}: put fences around indented code"


def indented_code(text):
    """Yields lines that Markdown sets as code because of their indentation, which no test sees."""
    before, in_list = "", False
    for line in text.splitlines():
        if line.strip() and not line.startswith(" "):
            in_list = re.match(r"([-*]|\d+\.) ", line) is not None
        elif line.startswith("    ") and not before.strip() and not in_list:
            yield line
        before = line


def test_indented_code_is_found():
    assert list(indented_code("Words:\n\n    code()\n")) == ["    code()"]
    assert not list(indented_code("- an item\n\n    goes on\n\nWords\n    that go on\n"))


@pytest.mark.parametrize(("page", "language"), RUN_BY)
def test_other_tests_run_what_is_left_to_them(page, language):
    assert blocks(page, language), f"{page} has no {language}: remove it from RUN_BY"
    assert Path(page).name in (ROOT / RUN_BY[page, language]).read_text(encoding="utf-8")


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """A folder with the files that commands of the pages name."""
    for page in ("docs/commands.md", "docs/data.md"):
        for block in blocks(page, "yaml"):
            name = block.code.removeprefix("# ").partition(",")[0]
            (tmp_path / name).write_text(block.code)
    shutil.copy(tmp_path / "lstm.yaml", tmp_path / "config.yaml")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh")])
def test_commands_are_real_ones(page, examples):
    for block in blocks(page, "sh"):
        for words in commands(block):
            check_command(words, block.place)


def check_command(words, place):
    """Checks a command as far as that goes without running it."""
    program, *rest = words
    if program == "tfscale":
        rest = rest[2:] if rest[0] == "--plugins" else rest
        run_by = (ROOT / RUNS[rest[0]]).read_text(encoding="utf-8")
        assert re.search(rf'"{rest[0]}"|{rest[0]}_command\(', run_by), (place, RUNS[rest[0]])
        assert cli.COMMANDS[rest[0]].parse(rest[1:]), place
    elif program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        variables = [word for word in rest if "=" in word]
        assert set(rest) - set(variables) <= set(targets), place
        for name in (word.split("=")[0] for word in variables):
            assert f"$({name})" in (ROOT / "Makefile").read_text(), (place, name)
    elif program == "pip":
        assert rest[0] == "install"
        for extra in re.findall(r"\[([\w,-]+)\]", " ".join(rest)):
            known = (ROOT / "setup.cfg").read_text()
            assert all(f"\n{name} =\n" in known for name in extra.split(",")), place
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, place
    elif program == "python":
        name = rest[0].removeprefix("examples/keras/").removesuffix(".py")
        assert f'"{name}"' in (ROOT / "tests/test_keras_examples.py").read_text(), place
    else:
        pytest.fail(f"{place}: {program!r} is no command that a test can check")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")])
def test_yaml_is_read_by_its_command(page, examples):
    """The first line of such a block says: `# NAME.yaml, for: tfscale COMMAND ...`."""
    for block in blocks(page, "yaml"):
        head = re.match(r"# ([\w.]+), for: tfscale (\S+) (.*)\n", block.code)
        assert head, f"{block.place}: begin with a comment that names file and command"
        Path(head[1]).write_text(block.code)
        options = cli.COMMANDS[head[2]].parse(head[3].split())
        for section, values in yaml.safe_load(block.code).items():
            for name, value in values.items() if isinstance(values, dict) else [(section, values)]:
                holder = getattr(options, section) if isinstance(values, dict) else options
                assert getattr(holder, name) == value, (block.place, name)


@pytest.mark.parametrize("page", PAGES)
def test_toml_and_json_are_read(page):
    for block in blocks(page, "toml"):
        [groups] = tomllib.loads(block.code)["project"]["entry-points"].values()
        assert groups, block.place
    for block in blocks(page, "json"):
        assert "cluster" in json.loads(block.code), block.place
        assert read_cluster({"TF_CONFIG": block.code}).servers, block.place
