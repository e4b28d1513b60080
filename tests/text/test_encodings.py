"""Text in other encodings than UTF-8, with and without a byte order mark."""

import codecs

import pytest

from tfscale.config.encodings import check_encoding
from tfscale.errors import ConfigError, DataError
from tfscale.text import decoding
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.decoding import lines_of
from tfscale.text.reader import ReadCounts, Reading

TEXT = "Über den Fluß\nund zurück\r\nohne Ende"
LINES = ["Über den Fluß", "und zurück", "ohne Ende"]


def read(path, documents="line", encoding="utf-8", invalid_utf8="error", format=""):
    reading = Reading(documents, invalid_utf8, ReadCounts(), "text", encoding, format)
    return list(read_documents(find_text([str(path)]), reading)), reading.counts


@pytest.mark.parametrize(
    "encoding",
    [
        "latin-1",
        "cp1252",
        "utf-16-le",
        "utf-16-be",
        "utf-32-le",
        "gb18030",
        "utf-8",
        "utf-7",
        "utf-8-sig",
    ],
)
def test_text_of_an_encoding_is_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert read(tmp_path, encoding=encoding)[0] == LINES
    assert read(tmp_path, "file", encoding)[0] == [TEXT]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_mark_goes_before_the_option_and_is_named(tmp_path, capsys, mark, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(mark + TEXT.encode(encoding))
    for asked in ("utf-8", "latin-1"):
        assert read(path, encoding=asked)[0] == LINES
        assert (
            capsys.readouterr().err
            == f"note: {path} is {encoding} by its byte order mark, and is read so\n"
        )
    assert read(path, "file", encoding)[0] == [TEXT]
    assert read(path, "file", encoding[:6])[0] == [TEXT]
    other = "utf-32-le" if encoding.startswith("utf-16") else "utf-16-be"
    with pytest.raises(DataError, match=f"has the byte order mark of {encoding}, and encoding is"):
        read(path, encoding=other)


def test_without_a_mark_the_order_is_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode("utf-16-be"))
    with pytest.raises(DataError, match="no byte order mark of utf-16; give --encoding utf-16-be"):
        read(path, encoding="utf-16")
    path.write_bytes("狐狸".encode("utf-16-be"))
    with pytest.raises(DataError, match="give --encoding utf-16-le or utf-16-be"):
        read(path, encoding="utf-16")


def test_records_are_of_the_encoding(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('{"text": "é"}\n{"text": "à"}\n'.encode("latin-1"))
    assert read(tmp_path / "a.jsonl", encoding="latin-1")[0] == ["é", "à"]
    (tmp_path / "a.csv").write_bytes("text\né\nà\n".encode("utf-16"))
    assert read(tmp_path / "a.csv")[0] == ["é", "à"]


@pytest.mark.parametrize("documents", ["file", "line"])
def test_bytes_that_are_none_of_the_encoding(tmp_path, monkeypatch, documents):
    path = tmp_path / "a.txt"
    content = "狐狸 fox\n".encode("gb18030") * 3 + b"\xff\n" + "狐".encode("gb18030")[:1]
    path.write_bytes(content)
    for size in (1, 5, 1 << 18):
        monkeypatch.setattr(decoding, "_BLOCK", size)
        with pytest.raises(DataError, match=r"a\.txt is not gb18030: byte 0xff at offset 27;"):
            read(path, documents, "gb18030")
        texts, counts = read(path, documents, "gb18030", "replace")
        assert "\n".join(texts) == "狐狸 fox\n狐狸 fox\n狐狸 fox\n\ufffd\n\ufffd"
        assert counts == ReadCounts(files=1, replaced_characters=2)
    assert read(path, documents, "gb18030", "skip") == ([], ReadCounts(skipped_files=1))


@pytest.mark.parametrize("newline", ["\n", ""])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_do_not_depend_on_the_blocks(newline, size):
    text = "a\r\nb\rc\n\n\u2028d\x85\r\r\n\re"
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    expected = {
        "\n": ["a\r\n", "b\rc\n", "\n", "\u2028d\x85\r\r\n", "\re"],
        "": ["a\r\n", "b\r", "c\n", "\n", "\u2028d\x85\r", "\r\n", "\r", "e"],
    }
    assert list(lines_of(blocks, newline)) == expected[newline]


def test_encodings_are_checked_at_once():
    for name in ("utf-8", "latin-1", "GBK", "utf-16-le", "koi8-r", "shift_jis", "cp1252"):
        check_encoding(name)
    for name in ("klingon", "", "base64", "rot13", "undefined", "idna\0", "punycode", "zlib"):
        with pytest.raises(
            ConfigError, match="encoding='.*' is none that Python knows; expected one"
        ):
            check_encoding(name)
