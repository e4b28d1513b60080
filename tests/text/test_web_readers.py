"""WARC and Wikipedia extracts."""

import bz2
import gzip

import pytest

from tests.text.keeping import warc_page, warc_record
from tfscale.errors import DataError
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import ReadCounts, Reading, TextFile, reader_of

pytest.importorskip("warcio", reason="the extra corpora brings warcio")


def read(path, content, **options):
    path.write_bytes(content)
    reading = Reading(**options)
    return list(read_documents(find_text([str(path)]), reading)), reading.counts


INFO = warc_record(
    "warcinfo", b"software: a crawler\r\n", [("Content-Type", "application/warc-fields")]
)
WET = [
    warc_record("conversion", text.encode(), [("Content-Type", "text/plain")])
    for text in ("Grüße", "狐")
]


@pytest.mark.parametrize("name", ["a.warc.wet", "a.warc.wet.gz", "without"])
def test_texts_of_wet_files(tmp_path, name):
    records = [INFO, *WET]
    members = [gzip.compress(record) for record in records] if name.endswith("gz") else records
    assert read(tmp_path / name, b"".join(members))[0] == ["Grüße", "狐"]


PAGES = {
    "Hällo & you\n": warc_page(
        "<p>Hällo &amp; you</p><script>no()</script>".encode("latin-1"),
        "text/html; charset=ISO-8859-1",
    ),
    "狐狸\n": warc_page("<meta charset=gbk><p>狐狸</p>".encode("gbk")),
    "plain ä <b>": warc_page("plain ä <b>".encode(), "text/plain"),
    "packed\n": warc_page(gzip.compress(b"<p>packed</p>"), headers=["Content-Encoding: gzip"]),
    "in parts\n": warc_page(
        b"6\r\n<p>in \r\n9\r\nparts</p>\r\n0\r\n\r\n", headers=["Transfer-Encoding: chunked"]
    ),
    "marked\n": warc_page("<p>marked</p>".encode("utf-16")),
}
OTHERS = [
    warc_record("request", b"GET / HTTP/1.1\r\n\r\n", [("Content-Type", "application/http")]),
    warc_page(b"\x89PNG", "image/png"),
    warc_page(b"<p>gone</p>", status="404 Not Found"),
    warc_record("metadata", b"a: b\r\n", [("Content-Type", "application/warc-fields")]),
]


def test_pages_of_responses(tmp_path):
    content = b"".join([INFO, *OTHERS, *PAGES.values(), *OTHERS])
    assert read(tmp_path / "a.warc", content)[0] == list(PAGES)
    file = TextFile(str(tmp_path / "a.warc"))
    first = next(reader_of(file).rows(file))
    assert first.place == "record 6" and first.fields["url"] == "https://example.org/"


def test_bytes_of_a_page_that_are_no_text(tmp_path):
    content = b"".join([INFO, warc_page(b"<p>bad \xff</p>"), *WET])
    with pytest.raises(DataError, match=r"a\.warc, record 2 is not UTF-8: byte 0xff at offset 7"):
        read(tmp_path / "a.warc", content)
    texts, counts = read(tmp_path / "a.warc", content, invalid_utf8="replace")
    assert texts == ["bad \ufffd\n", "Grüße", "狐"] and counts.replaced_characters == 1
    texts, counts = read(tmp_path / "a.warc", content, invalid_utf8="skip")
    assert texts == ["Grüße", "狐"] and counts == ReadCounts(files=1, skipped_records=1)


def test_damaged_warc_files_are_named(tmp_path, capsys):
    whole = b"".join([INFO, *WET])
    last = len(WET[-1])
    for content, message in {
        whole[:-5]: "record 3: the file ends within it, 1 bytes early",
        whole[
            : len(whole) - last + 30
        ]: "record 3: it has no length, or the file ends within its head",
        INFO + b"garbage\r\n" + WET[0]: r"record 2: damaged \(",
        INFO.replace(b"WARC/1.0", b"HARC/1.0"): r"record 1: damaged \(",
        b"WARC/1.0\r\nWARC-Type: response\r\n\r\n": r"record 1: damaged \(its head lacks a field",
        b"": "has no WARC records",
        INFO
        + warc_page(b"x", headers=["Content-Encoding: br"]): "record 2: the content encoding 'br'",
    }.items():
        with pytest.raises(DataError, match=rf"a\.warc,? {message}") as raised:
            read(tmp_path / "a.warc", content)
        assert "\n" not in str(raised.value)
    assert capsys.readouterr().err == ""
    with pytest.raises(DataError, match=r"a\.warc\.gz is a damaged gzip file"):
        read(tmp_path / "a.warc.gz", gzip.compress(whole)[:-9])


WIKI = """<doc id="12" url="https://en.wikipedia.org/wiki?curid=12" title="A &quot;B&quot; &gt; C">
A "B" > C

First paragraph.
Second <b>one</b>.

</doc>
<doc id="13" url="u" title="D">
D

</doc>
"""


@pytest.mark.parametrize("pack", [bytes, bz2.compress])
def test_articles_of_wikiextractor(tmp_path, pack):
    texts = read(tmp_path / "wiki_00", pack(WIKI.encode()))[0]
    assert texts == ['A "B" > C\n\nFirst paragraph.\nSecond <b>one</b>.', "D"]
    file = TextFile(str(tmp_path / "wiki_00"))
    assert [row.fields["title"] for row in reader_of(file).rows(file)] == ['A "B" > C', "D"]
    assert read(tmp_path / "wiki_00", pack(WIKI.encode()), text_field="id")[0] == ["12", "13"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WIKI[:-8], r"line 8: the article that begins has no </doc>"),
        (WIKI.replace("</doc>\n", "", 1), r"line 1: the article that begins has no </doc>"),
        (WIKI + "more\n", r"line 12: expected <doc id=\.\.\.>; received 'more'"),
    ],
)
def test_articles_that_are_cut_off_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=rf"wiki_00, {message}"):
        read(tmp_path / "wiki_00", content.encode())
