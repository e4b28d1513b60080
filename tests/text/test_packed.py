"""Compressions and archives: streams, damage, bombs, and what is no file."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile

import pytest

from tests.text.keeping import tarred, zipped
from tfscale import errors
from tfscale.errors import ConfigError, DataError
from tfscale.registry import ARCHIVES, COMPRESSIONS
from tfscale.text import opening
from tfscale.text.corpora import check_texts, find_text, read_documents
from tfscale.text.reader import ReadCounts, Reading

zstandard = pytest.importorskip("zstandard", reason="the extra corpora brings zstandard")

PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}
WHAT = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zst": "zstd"}
TEXT = "".join(f"line {number} of the text\n" for number in range(30_000))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def read(*paths, **options):
    files, reading = find_text([str(path) for path in paths]), Reading(**options)
    check_texts(files, reading.trial())
    return list(read_documents(files, reading))


def test_every_compression_is_tested():
    assert set(PACK) == set(COMPRESSIONS.names()) and ARCHIVES.names() == ["tar", "zip"]


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("name", ["a.{}", "a.txt.{}", "none", "a.txt", "wrong.gz"])
def test_it_is_known_by_its_bytes(tmp_path, kind, name):
    path = write(tmp_path / name.format(kind), PACK[kind](TEXT.encode()))
    assert read(path) == [TEXT]
    assert len(read(path, documents="line")) == 30_000
    assert find_text([path])[0].size == os.path.getsize(path)


@pytest.mark.parametrize("kind", PACK)
def test_several_streams_are_one_text(tmp_path, kind):
    parts = [PACK[kind](part.encode()) for part in (TEXT[:1000], "", TEXT[1000:])]
    assert read(write(tmp_path / "a", b"".join(parts))) == [TEXT]
    assert read(write(tmp_path / "empty", PACK[kind](b""))) == []


@pytest.mark.parametrize("kind", PACK)
def test_a_stream_that_is_cut_off_or_damaged_is_named(tmp_path, kind):
    noise = PACK[kind](os.urandom(100_000).hex().encode())
    for content in (noise[:-9], noise[: len(noise) // 2], noise + PACK[kind](b"second")[:-3]):
        with pytest.raises(DataError, match=rf"a\.{kind} is a damaged {WHAT[kind]} file \("):
            read(write(tmp_path / f"a.{kind}", content))
    if kind == "zst":  # The library writes a checksum where it is asked to.
        noise = zstandard.ZstdCompressor(write_checksum=True).compress(
            os.urandom(9000).hex().encode()
        )
    flipped = bytearray(noise)
    flipped[len(noise) // 2] ^= 0xFF
    with pytest.raises(DataError, match=rf"b\.{kind} is a damaged {WHAT[kind]} file \("):
        read(write(tmp_path / f"b.{kind}", bytes(flipped)))


@pytest.mark.parametrize("kind", PACK)
def test_other_bytes_after_it_are_passed_over_with_a_note(tmp_path, capsys, kind):
    path = write(tmp_path / "a", PACK[kind](TEXT.encode()) + b"other bytes, and more of them")
    assert read(path, documents="line")[-1] == "line 29999 of the text"
    assert capsys.readouterr().err == (
        f"note: {path} has other bytes after its {WHAT[kind]} data, which are passed over\n"
    )


def test_padding_of_xz_and_other_frames_of_zstd_are_no_text(tmp_path):
    assert read(write(tmp_path / "a.xz", lzma.compress(b"a") + bytes(8) + lzma.compress(b"b"))) == [
        "ab"
    ]
    other = struct.pack("<II", 0x184D2A53, 70_000) + bytes(70_000)
    frames = other + zstandard.compress(b"a") + other + other + zstandard.compress(b"b")
    assert read(write(tmp_path / "a.zst", frames)) == ["ab"]
    with pytest.raises(DataError, match=r"b\.zst is a damaged zstd file \(the file ends within"):
        read(write(tmp_path / "b.zst", frames + other[:-1]))


def test_a_name_without_the_bytes_gets_a_line(tmp_path, capsys):
    path = write(tmp_path / "a.gz", b"plain")
    assert read(path) == ["plain"]
    assert capsys.readouterr().err == (
        f"note: {path} is named like a gzip file, and is none; it is read as it is\n"
    )


@pytest.fixture
def small_bombs(monkeypatch):
    """10,000 bytes are allowed in any case, and ten times what is stored."""
    monkeypatch.setattr(opening, "ALWAYS_ALLOWED", 10_000)
    monkeypatch.setattr(opening, "MOST_TIMES", 10)


@pytest.mark.parametrize("documents", ["file", "line"])
def test_bombs_are_refused(tmp_path, small_bombs, documents):
    message = r"unpacks to more than 10,000 bytes, 10 times its \d+, which no text does; unpack it"
    bomb = b"a line\n" * 2000
    for kind, pack in PACK.items():
        with pytest.raises(DataError, match=rf"a\.{kind} {message}"):
            read(write(tmp_path / f"a.{kind}", pack(bomb)), documents=documents)
        assert read(write(tmp_path / f"b.{kind}", pack(bomb[:9000])))
        with pytest.raises(DataError, match=rf"c\.zip/a\.{kind} {message}"):
            read(write(tmp_path / "c.zip", zipped({f"a.{kind}": pack(bomb)})))
    with pytest.raises(DataError, match=rf"d\.zip {message}"):
        find_text([write(tmp_path / "d.zip", zipped({"a": bomb[:7000], "b": bomb[:7000]}))])
    with pytest.raises(DataError, match=rf"e\.tgz {message}"):
        find_text([write(tmp_path / "e.tgz", tarred({"a": bomb}, "w:gz"))])
    # As much as is stored ten times over is allowed.
    assert read(write(tmp_path / "f.gz", gzip.compress(os.urandom(4000).hex().encode() * 3)))


FILES = {"z/last.txt": b"3", "a/b.txt": b"1", "m.txt": b"2"}
ARCHIVED = {
    "zip": zipped(FILES),
    "tar": tarred(FILES),
    "tar.gz": tarred(FILES, "w:gz"),
    "tgz": tarred(FILES, "w:gz"),
    "tar.xz": tarred(FILES, "w:xz"),
    "tar.bz2": tarred(FILES, "w:bz2"),
    "tar.zst": zstandard.compress(tarred(FILES)),
    "zip.gz": gzip.compress(zipped(FILES)),
    "bin": zipped(FILES),
}


@pytest.mark.parametrize("suffix", ARCHIVED)
def test_an_archive_is_a_folder(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", ARCHIVED[suffix])
    found = find_text([path, str(tmp_path), path])
    assert [file.name for file in found] == [f"{path}/{name}" for name in sorted(FILES)]
    assert 0 <= sum(file.size for file in found) <= os.path.getsize(path)
    assert list(read_documents(found)) == ["1", "2", "3"]
    assert list(read_documents(pickle.loads(pickle.dumps(found)))) == ["1", "2", "3"]


def test_hidden_files_and_paths_that_lead_elsewhere(tmp_path):
    names = {
        "./plain.txt": "1",
        "__MACOSX/._plain.txt": "no",
        ".git/config": "no",
        "../up.txt": "0",
        "/abs/olute.txt": "2",
        "dir/": "",
    }
    for make in (zipped, lambda files: tarred({k: v.encode() for k, v in files.items() if v})):
        path = write(tmp_path / "a", make(names))
        found = find_text([path])
        below = [file.name.removeprefix(path) for file in found]
        assert below == ["/../up.txt", "/abs/olute.txt", "/plain.txt"]
        assert list(read_documents(found)) == ["0", "2", "1"]
        assert sorted(os.listdir(tmp_path)) == ["a"]
    with pytest.raises(DataError, match="b has no files that are not hidden"):
        find_text([write(tmp_path / "b", zipped({".a": "1"}))])


def test_links_and_devices_in_an_archive_are_passed_over(tmp_path, capsys):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("a.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"text"))
    path = write(tmp_path / "a.tar", out.getvalue())
    assert read(path) == ["text"]
    assert (
        capsys.readouterr().err == f"note: {path} has 3 links or devices, which are passed over\n"
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.txt", "text")
    assert read(write(tmp_path / "b.zip", out.getvalue())) == ["text"]
    assert "b.zip has 1 links or devices" in capsys.readouterr().err


def test_damaged_archives_are_named(tmp_path):
    whole = zipped({"a.txt": os.urandom(3000).hex(), "b.txt": "b"})
    with pytest.raises(DataError, match=r"cut\.zip is a damaged zip archive \(File is not a zip"):
        find_text([write(tmp_path / "cut.zip", whole[:-30])])
    flipped = bytearray(whole)
    flipped[1000] ^= 0xFF
    with pytest.raises(DataError, match=r"is a damaged zip archive: a\.txt \("):
        read(write(tmp_path / "flipped.zip", bytes(flipped)))
    whole = tarred({"a.txt": b"a" * 700, "b.txt": b"b" * 700})
    for at in (700, 2000, 2100):
        with pytest.raises(DataError, match=r"cut\.tar is a damaged tar archive \("):
            find_text([write(tmp_path / "cut.tar", whole[:at])])
    for at in (0, 1536):  # A header of either file.
        flipped = bytearray(whole)
        flipped[at + 5] ^= 0xFF
        with pytest.raises(DataError, match=r"flipped\.tar is a damaged tar archive \(bad"):
            find_text([write(tmp_path / "flipped.tar", bytes(flipped))])
    with pytest.raises(DataError, match=r"cut\.tgz is a damaged gzip file"):
        find_text([write(tmp_path / "cut.tgz", gzip.compress(whole)[:-30])])
    joined = whole + tarred({"c.txt": b"c"})
    for name, content in {"two.tar": joined, "two.tgz": gzip.compress(joined)}.items():
        with pytest.raises(DataError, match=rf"{name} has another tar archive after its end"):
            find_text([write(tmp_path / name, content)])


def test_a_tar_without_a_magic_is_one(tmp_path):
    old = bytearray(tarred({"a.txt": b"text"}))
    old[257:265] = bytes(8)
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old[:512])
    path = write(tmp_path / "old", bytes(old))
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["a.txt"]
    assert read(path) == ["text"]


def test_what_is_packed_twice_is_named(tmp_path):
    for name, encoding in (("a.txt.gz", "latin-1"), ("a.jsonl.gz", "utf-8"), ("b", "utf-8")):
        path = write(tmp_path / name, gzip.compress(bz2.compress(b'{"text": "a"}\n')))
        with pytest.raises(DataError, match=f"{name} is packed more than once: there is a bzip2"):
            list(read_documents(find_text([path]), Reading(encoding=encoding)))


def test_archives_that_are_no_corpora_are_refused(tmp_path):
    inner = write(tmp_path / "out.zip", zipped({"in.tar": tarred({"a": b"a"})}))
    with pytest.raises(
        DataError, match=r"out\.zip/in\.tar is a tar archive; an archive within an archive"
    ):
        read(inner)
    office = {"[Content_Types].xml": "x", "word/document.xml": "x"}
    for name, files in {"a.docx": office, "a.epub": {"mimetype": "application/epub+zip"}}.items():
        path = write(tmp_path / name, zipped(files))
        with pytest.raises(
            DataError, match=rf"{name} is an office document .*; make text of it by"
        ):
            read(path)
        assert list(read_documents(find_text([path]), Reading(invalid_utf8="skip"))) == []
    with pytest.raises(DataError, match=r"b\.docx is an office document .* \(it holds \[Content"):
        find_text([write(tmp_path / "b.docx", zipped(dict(reversed(office.items()))))])
    locked = bytearray(zipped({"a.txt": "a"}))
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match=r"locked\.zip is encrypted; unpack it yourself"):
        find_text([write(tmp_path / "locked.zip", bytes(locked))])


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    found = errors.importlib.util.find_spec
    missing = {"zstandard", "pyarrow", "warcio"}
    monkeypatch.setattr(
        errors.importlib.util, "find_spec", lambda name: None if name in missing else found(name)
    )
    contents = {
        "a.zst": zstandard.compress(b"a"),
        "a.parquet": b"PAR1",
        "a.arrow": b"",
        "a.warc": b"",
    }
    for name, content in contents.items():
        with pytest.raises(
            ConfigError, match=r"which is not installed: pip install 'tfscale\[corpora\]'"
        ):
            read(write(tmp_path / name, content))
    assert read(write(tmp_path / "a.txt", b"plain")) == ["plain"]


def test_what_is_no_utf8_in_an_archive_is_skipped_and_counted(tmp_path):
    path = write(
        tmp_path / "a.zip", zipped({"bad.txt": b"\xff", "good.txt": "good", "pic.png": b"\x89PNG"})
    )
    reading = Reading(invalid_utf8="skip")
    assert list(read_documents(find_text([path]), reading)) == ["good"]
    assert reading.counts == ReadCounts(files=1, skipped_files=2)
