import gzip
import json
import re

import pytest

from tfscale.errors import DataError
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.formats import refusal
from tfscale.text.reader import ReadCounts, Reading

ENGLISH = "The cat sat on the mat.\nIt was warm.\n"
RECORDS = "".join(json.dumps({"id": number, "text": "one\ntwo"}) + "\n" for number in range(3))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"\x28\xb5\x2f\xfd\x00", "is a zstd file; unpack it by zstd -d first"),
        (b"BZh91AY&SY", "is a bzip2 file; unpack it by bunzip2 first"),
        (b"\xfd7zXZ\x00\x00", "is an xz file; unpack it by unxz first"),
        (
            b"PK\x03\x04\x14\x00",
            r"is a zip archive \(as \.docx, \.odt and \.epub are, too\); unpack it by unzip",
        ),
        (b"PAR1\x15\x04", "is a parquet file; write its column of texts into a .txt file"),
        (b"ARROW1\x00\x00", "is an Arrow file; write its column of texts into a .txt file"),
        (b"%PDF-1.7\n", "is a PDF file; make text of it by pdftotext"),
        (
            ENGLISH.encode("utf-16"),
            "is UTF-16, and text is read as UTF-8; .*iconv -f UTF-16 -t UTF-8 'my text' >",
        ),
        (ENGLISH.encode("utf-32"), "is UTF-32, .*iconv -f UTF-32 "),
        (
            ENGLISH.encode("utf-16-le"),
            "looks like UTF-16LE without a byte order mark .*iconv -f UTF-16LE ",
        ),
        (ENGLISH.encode("utf-16-be"), "looks like UTF-16BE "),
        (ENGLISH.encode("utf-32-le"), "looks like UTF-32LE "),
        (ENGLISH.encode("utf-32-be"), "looks like UTF-32BE "),
        (
            RECORDS.encode(),
            r"looks like JSONL \(every line is a JSON object\), and text is read to the letter",
        ),
        (b"\xef\xbb\xbf" + RECORDS.encode(), "looks like JSONL"),
        ((RECORDS * 2000).encode()[: 1 << 16], "looks like JSONL"),
    ],
)
def test_what_is_no_plain_text_is_named(head, message):
    found = refusal("my text", head)
    assert found is not None and re.search(message, found.message) and "\n" not in found.message
    assert found.utf8 == ("JSONL" in found.message)


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("a.csv", 'id,text\n1,"one, two"\n2,three\n', "CSV (every row has 2 columns)"),
        ("a.CSV", "id;text;x\n1;one, two;\n", "CSV (every row has 3 columns)"),
        ("a.tsv.gz", "1\tone\n2\ttwo\n", "TSV (every row has 2 columns)"),
        ("one.jsonl", '{"text": "a"}', "JSONL (every line is a JSON object)"),
    ],
)
def test_tables_and_records_are_known_by_name_and_content(name, text, columns):
    found = refusal(name, text.encode())
    assert (
        found is not None
        and f"{name} looks like {columns}, and text is read to the letter" in found.message
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", ENGLISH),
        ("a.txt", ""),
        ("a.txt", '{"a": 1}'),
        ("a.json", '{\n"a": 1\n}\n'),
        ("a.txt", '{"a": 1}\nA line of prose.\n'),
        ("a.txt", "a, b\nc, d\n"),
        ("a.csv", "One column, once\nof prose\n"),
        ("a.csv", "text\nhello\n"),
        ("a.jsonl", "not json\n"),
        ("a.txt", "[1]\n[2]\n"),
        ("a.txt", "a\0b\0\0 text with some zeros in it"),
        ("a.txt", "BZ and PK and PAR are words"),
    ],
)
def test_plain_text_is_read(name, text):
    assert refusal(name, text.encode()) is None


@pytest.mark.parametrize("documents", ["file", "line"])
def test_such_files_are_refused_or_skipped(tmp_path, documents):
    def read(invalid_utf8="error"):
        counts = ReadCounts()
        return list(
            read_documents(find_text([str(tmp_path)]), Reading(documents, invalid_utf8, counts))
        ), counts

    (tmp_path / "good.txt").write_text("fine")
    path = tmp_path / "packed.txt"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    for choice in ("error", "replace"):
        with pytest.raises(DataError, match=r"packed\.txt is a zstd file"):
            read(choice)
    assert read("skip") == (["fine"], ReadCounts(files=1, skipped_files=1))
    path.write_bytes(gzip.compress(RECORDS.encode()))
    for choice in ("error", "skip"):
        with pytest.raises(DataError, match=r"packed\.txt looks like JSONL"):
            read(choice)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(
        DataError,
        match=r"byte 0xe9 at offset 3; convert it: iconv -f LATIN1 -t UTF-8 \S+packed\.txt >",
    ):
        read()
