"""The pages tell the truth: their commands parse, their names, links and paths exist."""

import ast
import configparser
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import pytest

import tfscale
from tfscale import cli
from tfscale.commands import train
from tfscale.registry import READERS
from tfscale.text.corpora import find_text
from tfscale.text.reader import Reading, reader_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "savedmodels/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
]
API = "docs/api.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
CAPTIONS = """1
00:00:01,000 --> 00:00:02,000
Where are
we?

2
00:00:03,000 --> 00:00:04,000
At sea.
"""
NO_MODULE = "tfscale.plugins"
"""The name of an entry point group."""


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    return [block for name, block in FENCED.findall(text_of(page)) if name == language]


def prose(page):
    return FENCED.sub("", text_of(page))


def commands(page):
    """The words of each `tfscale` command in the shell blocks of a page.

    A line that ends with a backslash or within quotes goes on in the next one.
    """
    found = []
    for block in blocks(page, "sh"):
        lines = iter(block.replace("\\\n", " ").splitlines())
        for line in lines:
            if not line.startswith("tfscale "):
                continue
            while True:
                try:
                    words = shlex.split(line, comments=True)[1:]
                    found.append(words[2:] if words[0] == "--plugins" else words)
                    break
                except ValueError:
                    line += "\n" + next(lines)
    return found


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """A folder with the files that commands on the pages name."""
    [block] = blocks("docs/commands.md", "yaml")
    for name in ("lstm.yaml", "config.yaml"):
        (tmp_path / name).write_text(block)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page, examples):
    for name, *words in commands(page):
        assert cli.COMMANDS[name].parse(words), (name, words)


def test_the_pages_show_every_command():
    shown = {name for page in PAGES for name, *_ in commands(page)}
    shown |= {
        name for page in PAGES for name in re.findall(r"`tfscale ([a-z][a-z-]*)", prose(page))
    }
    assert shown == set(cli.COMMANDS)


def test_the_yaml_file_parses_by_the_command_that_it_names(examples):
    [command] = re.findall(r"^# lstm\.yaml, for: tfscale (.*)$", text_of("docs/commands.md"), re.M)
    name, *words = shlex.split(command)
    options = cli.COMMANDS[name].parse(words)
    assert cli.COMMANDS[name] is train.COMMAND
    assert (options.model.family, options.model.num_layers) == ("lstm", 2)
    assert options.train.micro_batches == 2


def python_names(page):
    """The dotted names that begin with `tfscale.`, in Python blocks and between backticks."""
    names = set()
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("tfscale."):
                names.add(ast.unparse(node))
    names |= set(re.findall(r"`(tfscale\.\w+(?:\.\w+)*)", prose(page)))
    return {name for name in names if re.fullmatch(r"[\w.]+", name)} - {NO_MODULE}


@pytest.mark.parametrize("page", PAGES)
def test_python_names_exist(page):
    for name in python_names(page):
        assert pkgutil.resolve_name(name) is not None


def test_the_readme_shows_the_main_functions():
    assert python_names("README.md") >= {
        f"tfscale.{name}"
        for name in ("prepare", "train", "export", "generate", "LanguageModel", "strategy")
    }


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:`|^ *)make ([a-z0-9-]+)", text_of(page), re.MULTILINE))
        assert named <= targets, f"{page}: {named - targets}"
    readme = text_of("README.md")
    assert readme.index("make quickstart") < readme.index("make test") < readme.index("## ")


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", prose(page)):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    folders = "tfscale|tests|benchmarks|examples|notebooks|docs"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(page)):
        assert (ROOT / path).exists(), f"{page}: {path}"


@pytest.mark.parametrize("page", PAGES)
def test_lines_fit_a_screen(page):
    """Rows of tables cannot be broken."""
    long = [line for line in text_of(page).splitlines() if len(line) > 100 and line[0] != "|"]
    assert not long


def test_every_page_is_in_the_readme():
    linked = set(re.findall(r"\]\((docs/\w+\.md)", text_of("README.md")))
    assert linked == {page for page in PAGES if page.startswith("docs/")}


def test_the_api_page_names_everything_that_is_public():
    """A public name without a line on the page, or a line without a name, is found here."""
    names = set(re.findall(r"^\| `([\w.]+)", text_of(API), re.MULTILINE))
    public = set(tfscale.__all__) - {"__version__", "compress", "device"}
    for package in (tfscale.compress, tfscale.device):
        public |= {
            f"{package.__name__.removeprefix('tfscale.')}.{name}" for name in package.__all__
        }
    missing, unknown = sorted(public - names), sorted(names - public)
    assert not missing and not unknown, (
        f"{API}: add a row for {missing}; remove the rows of {unknown}"
    )


def test_the_table_of_folders_is_that_of_the_contract():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = config["importlinter:contract:folders"]["layers"].replace("|", "\n").split()
    section = text_of("CONTRIBUTING.md").split("## Layout")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
        layer.removeprefix("tfscale.") for layer in layers
    ], "CONTRIBUTING.md and [importlinter:contract:folders] of setup.cfg list the same, in order"


def test_the_plugin_of_the_page_reads_a_file(tmp_path):
    [source] = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "film.srt").write_text(CAPTIONS)
    try:
        exec(source, {"__name__": "my_module"})
        [file] = find_text([str(tmp_path)])
        assert list(reader_of(file).documents(file, Reading())) == ["Where are we?", "At sea."]
    finally:
        READERS._registered.pop("subtitles", None)
