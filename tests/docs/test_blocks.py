"""Every code block of every page is run, or is parsed as what it is."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import keras
import pytest
import yaml

import tfscale
from tests.docs.collect import LANGUAGES, PAGES, ROOT, RUN_BY, blocks, commands, program, text_of
from tests.docs.world import World, family_network, small_classifier, small_dataset, small_network
from tfscale import cli
from tfscale.distribution.cluster import read_cluster

FILES = {
    "README.md": ("book.txt",),
    "docs/index.md": ("book.txt",),
    "docs/export.md": ("run",),
    "docs/numbers.md": ("run",),
    "docs/tasks.md": ("run", "train.conll"),
    "docs/device.md": ("export", "task-export", "bilstm-export"),
    "docs/tutorials/device.md": ("export",),
}
"""Page -> what its Python finds in the working folder."""
NAMES = {
    "README.md": lambda: {"my_network": small_network(), "my_dataset": small_dataset()},
    "docs/device.md": small_classifier,
    "docs/memory.md": lambda: {"network": family_network(), "my_dataset": small_dataset()},
    "docs/compression.md": lambda: {
        "strategy": tfscale.strategy("single"),
        "my_network": small_network(),
        "teacher": small_network(),
        "tfscale": tfscale,
        "keras": keras,
    },
}
"""Page -> the names that its Python speaks of and does not make."""
PROGRAMS = [page for page in PAGES if blocks(page, "python") and (page, "python") not in RUN_BY]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("page", PROGRAMS)
def test_python_runs(page, world, tmp_path, monkeypatch):
    world.give(FILES.get(page, ()), tmp_path)
    monkeypatch.chdir(tmp_path)
    names = NAMES[page]() if page in NAMES else {}
    exec(compile(program(page), page, "exec"), {"__name__": "page", **names})


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
    [block] = blocks("docs/commands.md", "yaml")
    for name in ("lstm.yaml", "config.yaml"):
        (tmp_path / name).write_text(block.code)
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
            for name, value in values.items():
                assert getattr(getattr(options, section), name) == value, (block.place, name)


@pytest.mark.parametrize("page", PAGES)
def test_toml_and_json_are_read(page):
    for block in blocks(page, "toml"):
        [groups] = tomllib.loads(block.code)["project"]["entry-points"].values()
        assert groups, block.place
    for block in blocks(page, "json"):
        assert "cluster" in json.loads(block.code), block.place
        assert read_cluster({"TF_CONFIG": block.code}).servers, block.place
