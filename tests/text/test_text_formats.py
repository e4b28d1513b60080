import gzip
import json
import re

import pytest

from tests.text.keeping import json_lines, tarred, zipped
from tfscale.errors import DataError
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.formats import HEAD, refusal
from tfscale.text.reader import ReadCounts, Reading, reader_of

ENGLISH = "The cat sat on the mat.\nIt was warm.\n"
RECORDS = json_lines(["one\ntwo"] * 3)
SCRIPTS = (
    "Привет, мир! Это ПРОБА текста — длинного.\n",
    "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์\n",
    "السلام عليكم ورحمة الله، كيف الحال؟\n",
    "हिन्दी विश्व की एक प्रमुख भाषा है।\n",
    "မြန်မာဘာသာစကား\n",
)
"""Whose UTF-16 is UTF-8 too: all its bytes are below 128."""


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (zipped({"a": ENGLISH}), r"is a zip archive; name it \.zip or \.tar, or unpack it"),
        (tarred({"a": ENGLISH.encode()}), r"is a tar archive; name it \.zip or \.tar"),
        (b"7z\xbc\xaf\x27\x1c\0", "is a 7-Zip archive; unpack it by 7z x first"),
        (b"\x04\x22\x4d\x18\0", "is an lz4 file; unpack it by lz4 -d first"),
        (b"\x89PNG\r\n\x1a\n\0", "is a PNG image; leave it out"),
        (b"%PDF-1.7\n", "is a PDF file; make text of it by pdftotext"),
        (b"SQLite format 3\0", r"is an SQLite database; write its texts into a \.jsonl file"),
        (
            ENGLISH.encode("utf-16-le"),
            r"looks like utf-16-le without a byte order mark \(every other byte is 0, or of another"
            r" control character\), and is read as utf-8; give --encoding utf-16-le",
        ),
        (ENGLISH.encode("utf-16-be"), "give --encoding utf-16-be"),
        (ENGLISH.encode("utf-32-le"), "give --encoding utf-32-le"),
        (ENGLISH.encode("utf-32-be"), "give --encoding utf-32-be"),
        (
            RECORDS,
            r"looks like JSON lines \(every line is a JSON object\): --format jsonl reads the field"
            " that --text-field names, --format text reads it to the letter",
        ),
        (b"\xef\xbb\xbf" + RECORDS, "looks like JSON lines"),
        ((RECORDS * 2000)[:HEAD], "looks like JSON lines"),
        (RECORDS.decode().encode("utf-16"), "looks like JSON lines"),
        (RECORDS.replace(b"o", "\u2028\x85".encode()), "looks like JSON lines"),
        (b'{"text": "a"}\n', "looks like JSON lines"),
        (b'{"text": "' + b"a" * HEAD, "looks like JSON lines"),
        (b'[{"text": "a"}]', "is one JSON array"),
        (b'[\n {"id": 1,\n  "text": "a"}\n]', "is one JSON array"),
        (b'{"id": 1,\n "text": "a"}', "is JSON with a field 'text', and not an object a line"),
        (bytes(10_240), "begins with 10,240 zero bytes: an empty tar archive, or a file that was"),
    ],
)
def test_what_is_no_plain_text_is_named(head, message):
    found = refusal("my text.txt", head)
    assert found is not None and re.search(message, found.message) and "\n" not in found.message
    assert found.decodable == ("JSON" in found.message)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", SCRIPTS, ids=["Russian", "Thai", "Arabic", "Hindi", "Burmese"])
def test_no_script_without_a_mark_is_read_as_utf8(text, encoding):
    for content in (text * 20, text[:14]):
        found = refusal("a.txt", content.encode(encoding))
        assert found is not None and found.message.endswith(f"give --encoding {encoding}")
        assert refusal("a.txt", content.encode(encoding), encoding) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.txt", text) for text in SCRIPTS),
        ("a.txt", "1\n2\n" * 100),
        ("a.txt", "\t\n" * 100),
        ("a.txt", ENGLISH),
        ("a.txt", ""),
        ("a.txt", '{"a": 1}'),
        ("a.json", '{\n"a": 1\n}\n'),
        ("a.txt", '{"a": 1}\nA line of prose.\n'),
        ("a.txt", "a, b\nc, d\n"),
        ("a.txt", "[1]\n[2]\n"),
        ("a.txt", '[{"a": 1}]'),
        ("a.txt", '["text", "a"]'),
        ("a.py", '[{"text": "a"}]'),
        ("a.md", '{\n"text": "a"}'),
        ("a.txt", "a\0b\0\0 text with some zeros in it"),
        ("a.txt", "BZ and PK and PAR are words"),
        ("a.txt", "[" * HEAD),
    ],
)
def test_plain_text_is_read(name, text):
    assert refusal(name, text.encode()) is None


@pytest.mark.parametrize(
    ("name", "content", "reader"),
    [
        ("a.txt", ENGLISH, "text"),
        ("a.md", ENGLISH, "text"),
        ("a.jsonl", "", "jsonl"),
        ("A.NDJSON.GZ", "", "jsonl"),
        ("one.json", '{"text": "a"}', "jsonl"),
        ("long.json", '{"text": "' + "a" * HEAD, "jsonl"),
        ("pretty.json", '{\n"a": 1\n}\n', "text"),
        ("wiki_00", '{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ("one_object", '{"text": "a"}', "jsonl"),
        ("other_object", '{"body": "a"}', "text"),
        ("long_object", '{"text": "' + "a" * HEAD, "jsonl"),
        ("long_other", '{"body": "' + "a" * HEAD, "text"),
        ("a.csv", ENGLISH, "csv"),
        ("a.tsv.gz", "", "tsv"),
        ("a.bio", "", "conll"),
        ("a.csv", "PAR1", "parquet"),
        ("no suffix", "WARC/1.0\r\n", "warc"),
        ("wiki_00", '<doc id="1" url="u" title="t">\n', "wikipedia"),
        ("page", '<doc id="1">\n', "text"),
        ("x-train.tfrecord-00000-of-00002", "", "tfrecord"),
        ("a.tfrecords", "", "tfrecord"),
        ("a", b"\xff\xff\xff\xff\x10\1\0\0\x10\0\0\0", "arrow"),
    ],
)
def test_formats_are_known_by_first_bytes_then_suffix_then_lines(tmp_path, name, content, reader):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    [file] = find_text([str(path)])
    assert reader_of(file).name == reader
    assert reader_of(file, Reading(format="text")).name == "text"


@pytest.mark.parametrize("documents", ["file", "line"])
def test_such_files_are_refused_or_skipped(tmp_path, documents):
    def read(invalid_utf8="error", format=""):
        reading = Reading(documents, invalid_utf8, ReadCounts(), format=format)
        return list(read_documents(find_text([str(tmp_path)]), reading)), reading.counts

    (tmp_path / "good.txt").write_text("fine")
    path = tmp_path / "packed.txt"
    path.write_bytes(b"\x04\x22\x4d\x18" + bytes(100))
    for choice in ("error", "replace"):
        with pytest.raises(DataError, match=r"packed\.txt is an lz4 file"):
            read(choice)
    assert read("skip") == (["fine"], ReadCounts(files=1, skipped_files=1))
    path.write_bytes(gzip.compress(RECORDS))
    for choice in ("error", "skip"):
        with pytest.raises(DataError, match=r"packed\.txt looks like JSON lines"):
            read(choice)
    assert "".join(read(format="text")[0]).replace("\n", "") == "fine" + RECORDS.decode().replace(
        "\n", ""
    )
    path.write_bytes(b"caf\xe9")
    with pytest.raises(
        DataError,
        match=r"byte 0xe9 at offset 3; name its encoding \(--encoding latin-1, gb18030, shift_jis,"
        r" \.\.\.\), convert it \(iconv -f LATIN1 -t UTF-8 \S+packed\.txt > NEW\.txt\), or choose"
        " --invalid-utf8 replace or skip",
    ):
        read()


def test_one_json_array_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": "a"}, {"text": "b"}]))
    with pytest.raises(
        DataError, match=r"a\.json is one JSON array: write an object a line \(jq -c"
    ):
        list(read_documents(find_text([str(tmp_path)])))
    forced = read_documents(find_text([str(tmp_path)]), Reading(format="text"))
    assert list(forced) == ['[{"text": "a"}, {"text": "b"}]']
    (tmp_path / "a.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(DataError, match="is one JSON array"):
        list(read_documents(find_text([str(tmp_path)])))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"id": 1, "text": "a"}, indent=2),
        '{"text": "a"}{"text": "b"}',
        '{"text": "a"},\n{"text": "b"}\n',
    ],
)
def test_json_with_the_text_field_is_not_read_to_the_letter_unasked(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    found = find_text([str(tmp_path)])
    with pytest.raises(
        DataError, match=r"a\.json is JSON with a field 'text', and not an object a"
    ):
        list(read_documents(found))
    with pytest.raises(DataError, match=r"a\.json is JSON with a field 'body\.text'"):
        list(read_documents(found, Reading(text_field="body.text")))
    # Such as the settings of a program in a corpus of programs.
    for reading in (Reading(text_field="body"), Reading(format="text")):
        assert list(read_documents(found, reading)) == [content]
