"""The built site: no warning, no file from another server, every public name, a search without one.

`make test-docs` runs this: it needs the extra `docs`.
"""

import doctest
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from tests.docs.collect import ROOT
from tests.docs.test_reference import public_names

pytestmark = pytest.mark.docs
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "srcset", "link": "href"}
"""Elements that load a file -> the attribute that names it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a page loads, and its anchors."""

    def __init__(self):
        super().__init__()
        self.files, self.anchors = [], set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.add(values.get("id"))
        # A canonical or alternate link names a page and loads nothing.
        if tag in LOADING and values.get("rel") not in ("canonical", "next", "prev"):
            if LOADING[tag] in values:
                self.files.append(values[LOADING[tag]])


def read(path):
    page = Loaded()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_everything_that_a_page_loads_is_in_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        files = read(path).files
        assert files, path
        for name in files:
            assert not re.match(r"(\w+:)?//", name), f"{path.name} loads {name}"
            if path.name != "404.html":  # Its links begin at the root of the server.
                assert (path.parent / name.split("?")[0]).exists(), (path, name)


def test_styles_load_nothing_from_other_servers(site):
    styles = list(site.rglob("*.css"))
    assert styles
    for path in styles:
        assert not re.search(r"(url\(|@import\s*)[\"']?(https?:)?//", path.read_text()), path


def test_every_public_name_has_an_anchor(site):
    anchors = set()
    for path in (site / "reference").glob("*.html"):
        anchors |= read(path).anchors
    assert public_names() <= anchors


def text_of_section(page, name):
    """The words of a name's section, without the signature; the parts of its types are joined."""
    section = page.split(f'id="{name}"')[1].split('<h2 id="')[0]
    section = re.sub(r"<pre.*?</pre>", "", section, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", "", section).split())


def test_options_are_lists_with_types_and_inherited_ones(site):
    page = (site / "reference" / "options.html").read_text(encoding="utf-8")
    text = text_of_section(page, "tfscale.TrainConfig")
    assert "steps (int) – " in text
    assert "micro_batches (int) – Parts into which each replica cuts its batch" in text
    assert 'id="tfscale.TrainConfig.steps"' not in page  # No heading for each.
    # The type without what only the parser of the command line reads.
    assert "tokenizer (str) – Kind of tokenizer" in text_of_section(page, "tfscale.PrepareConfig")


def test_results_and_attributes_have_the_types_of_the_code(site):
    """Griffe itself takes words before a colon, and the type of the attribute above, for types."""
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    text = text_of_section(commands, "tfscale.train")
    assert "Returns: JsonObject – The summary that is also written to summary.json" in text
    device = (site / "reference" / "device.html").read_text(encoding="utf-8")
    text = text_of_section(device, "tfscale.device.ExportedModel")
    assert "path (str) – the model's file" in text.replace("&#39;", "'")
    assert "threads (int) – CPU threads" in text


def test_examples_are_code(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    examples = re.findall(r'<details class="example".*?</details>', commands, re.DOTALL)
    assert len(examples) >= 15
    assert all("<code>" in example for example in examples)


def test_examples_of_the_docstring_hook():
    from docs.hooks import docstrings

    tested = doctest.testmod(docstrings)
    assert tested.attempted and not tested.failed


def test_the_search_knows_guides_and_names_and_needs_no_server(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {document["location"] for document in index["docs"]}
    assert "numbers.html" in places and "reference/keras.html#tfscale.Model" in places
    # From a disk a page cannot fetch JSON: the index is a script, too.
    assert (
        (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index")
    )
    assert "iframe-worker.js" in (site / "index.html").read_text(encoding="utf-8")


def test_the_page_of_errors_lists_the_messages(site):
    page = (site / "errors.html").read_text(encoding="utf-8")
    assert page.count("<li><code>") > 500
