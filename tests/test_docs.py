"""The pages tell the truth: their commands parse, their names, links and paths exist."""

import ast
import configparser
import pkgutil
import re

import pytest

import tfscale
from tests.docs.collect import FENCED, PAGES, ROOT, blocks, commands, prose, text_of
from tests.plugins import unchanged_registries
from tfscale import cli
from tfscale.text.corpora import find_text
from tfscale.text.reader import Reading, reader_of

API = "docs/api.md"
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


def test_the_pages_show_every_command():
    shells = [block for page in PAGES for block in blocks(page, "sh")]
    lines = [words for block in shells for words in commands(block) if words[0] == "tfscale"]
    shown = {words[3] if words[1] == "--plugins" else words[1] for words in lines}
    shown |= {
        name for page in PAGES for name in re.findall(r"`tfscale ([a-z][a-z-]*)", prose(page))
    }
    assert shown == set(cli.COMMANDS)


def python_names(page):
    """The dotted names that begin with `tfscale.`, in Python blocks, between backticks and of the
    reference."""
    names = set()
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("tfscale."):
                names.add(ast.unparse(node))
    names |= set(re.findall(r"`(tfscale\.\w+(?:\.\w+)*)", prose(page)))
    names |= set(re.findall(r"^::: ([\w.]+)", prose(page), re.MULTILINE))
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
    linked = set(re.findall(r"\]\((docs/[\w/]+\.md)", text_of("README.md")))
    pages = {page for page in PAGES if page.startswith("docs/")}
    assert linked == {page for page in pages if not page.startswith("docs/reference/")}


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
    [block] = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "film.srt").write_text(CAPTIONS)
    with unchanged_registries():
        exec(block.code, {"__name__": "my_module"})
        [file] = find_text([str(tmp_path)])
        assert list(reader_of(file).documents(file, Reading())) == ["Where are we?", "At sea."]
