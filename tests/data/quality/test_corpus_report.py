"""The report of a corpus: its figures, and texts of strangers that do not break the page."""

import re
from html.parser import HTMLParser

import pytest

import tfscale

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} \x1b[31m\u202e\0"
SENTENCE = "The keeper of the lighthouse counted the ships that passed before dawn, number"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    lines = [f"{SENTENCE} {number}." for number in range(40)]
    lines += [HOSTILE, "x" * 5000, f"{SENTENCE} 7.", "Der Hund und die Katze schlafen im Garten."]
    (folder / "text.txt").write_text("\n".join(lines))
    for output in ("data", "again"):
        tfscale.prepare(
            text=str(folder / "text.txt"),
            documents="line",
            tokenizer="byte",
            filters=["symbols"],
            max_characters=1000,
            drop_duplicates=True,
            report=True,
            output=str(folder / output),
            progress=False,
        )
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "data/report.html").read_text(encoding="utf-8")


class Cells(HTMLParser):
    """The rows of all tables."""

    def __init__(self):
        super().__init__()
        self.rows, self.tags, self._open = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        self._open = tag in ("td", "th")
        if self._open:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def test_its_figures(page, folder):
    cells = Cells()
    cells.feed(page)
    rows = cells.rows
    assert ["read", "44"] in rows and ["kept", "41"] in rows and ["dropped", "3"] in rows
    assert ["length", "more characters than max_characters", "1", "2.27"] in rows
    assert ["symbols", "more than 40 % of the characters are no letters", "1", "2.27"] in rows
    assert ["duplicates", "the same as an earlier document", "1", "2.27"] in rows
    assert ["en", "40", "97.56"] in rows and ["de", "1", "2.44"] in rows
    [train] = [row for row in rows if row[0] == "train"]
    assert len(train) == 5


def test_hostile_text_stays_text(page):
    cells = Cells()
    cells.feed(page)
    assert not {"script", "img"} & set(cells.tags)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "{{ 7 * 7 }}" in page
    assert "x" * 600 + "…" in page and "x" * 601 not in page
    # Characters that turn the page around or end it are shown as what they are.
    assert not re.search("[\0\x1b\u202e]", page)
    assert "\\u001b[31m\\u202e\\u0000" in page


def test_nothing_is_loaded_from_elsewhere(page):
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert "@import" not in page and "url(http" not in page


def test_it_is_the_same_each_time(page, folder):
    assert (folder / "again/report.html").read_text(encoding="utf-8") == page
