import gzip
import io
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfscale.errors import DataError
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.reader import ReadCounts, Reading, TextFile
from tfscale.text.readers.text import cut_text


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def read(path, documents="file", invalid_utf8="error"):
    counts = ReadCounts()
    return list(
        read_documents(find_text([str(path)]), Reading(documents, invalid_utf8, counts))
    ), counts


def test_a_folder_is_read_sorted_without_hidden_files(tmp_path):
    for name in ("b.txt", "a.md", "sub/c", "sub/deep/d.txt", ".hidden", ".git/config", "sub/.e"):
        write(tmp_path / name, name)
    found = [os.path.relpath(file.name, tmp_path) for file in find_text([str(tmp_path)])]
    assert found == ["a.md", "b.txt", "sub/c", "sub/deep/d.txt"]
    assert [file.size for file in find_text([str(tmp_path / "sub")])] == [5, 14]


def test_globs_match_sorted_and_a_file_named_twice_is_read_once(tmp_path):
    for name in ("2.txt", "1.txt", "x/3.txt", "note.md"):
        write(tmp_path / name, name)
    found = find_text(
        [str(tmp_path / "*.txt"), str(tmp_path / "**/*.txt"), str(tmp_path / "1.txt")]
    )
    assert [os.path.relpath(file.name, tmp_path) for file in found] == ["1.txt", "2.txt", "x/3.txt"]


def test_a_name_with_glob_characters_is_taken_literally_where_it_exists(tmp_path):
    path = write(tmp_path / "a[1].txt", "literal")
    write(tmp_path / "a1.txt", "match")
    assert [file.name for file in find_text([path])] == [path]


def test_missing_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"does not exist: .*absent\.txt"):
        find_text([str(tmp_path / "absent.txt")])
    with pytest.raises(DataError, match=r"no file matches .*\*\.csv"):
        find_text([str(tmp_path / "*.csv")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files: .*empty"):
        find_text([str(tmp_path / "empty")])


def test_a_dangling_link_is_named(tmp_path):
    os.symlink(tmp_path / "nowhere", tmp_path / "link.txt")
    with pytest.raises(DataError, match=r"link\.txt cannot be read: No such file"):
        find_text([str(tmp_path)])


def test_remote_paths_go_through_tensorflow():
    import tensorflow as tf

    tf.io.gfile.makedirs("ram://corpus/sub")
    for name, content in (("a.txt", "first"), ("sub/b.txt", "second\n\nthird"), (".c", "hidden")):
        with tf.io.gfile.GFile(f"ram://corpus/{name}", "w") as file:
            file.write(content)
    with tf.io.gfile.GFile("ram://corpus/z.gz", "wb") as file:
        file.write(gzip.compress(b"packed"))
    documents, counts = read("ram://corpus/")
    assert documents == ["first", "second\n\nthird", "packed"]
    assert counts.files == 3
    assert [file.name for file in find_text(["ram://corpus/*.txt"])] == ["ram://corpus/a.txt"]
    assert read("ram://corpus/sub/b.txt", "paragraph")[0] == ["second", "third"]
    with pytest.raises(DataError, match="does not exist: ram://corpus/none"):
        find_text(["ram://corpus/none"])
    with pytest.raises(DataError, match="nosuch://bucket/x cannot be read"):
        find_text(["nosuch://bucket/x"])


TEXT = "one\r\ntwo\n\n \t\n  three\n\n\n\nfour \n"


def cut_by_the_line(text, documents):
    """Documents as their description has them, a line at a time."""
    found = [[]]
    for line in io.StringIO(text, newline="\n"):
        if not line.strip():
            found.append([])
        elif documents == "line":
            found.append([line])
        else:
            found[-1].append(line)
    return ["".join(lines).removesuffix("\n").removesuffix("\r") for lines in found if lines]


@settings(max_examples=200, deadline=None)
@given(
    st.text("ab\n\n\r \t\u2028\x1c\x85\u3000é", max_size=20),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_documents_do_not_depend_on_where_a_text_is_cut_to_be_read(text, places):
    cuts = sorted(min(place, len(text)) for place in places)
    blocks = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
    for documents in ("line", "paragraph"):
        assert list(cut_text(blocks, documents)) == cut_by_the_line(text, documents)
    assert list(cut_text(blocks, "file")) == ([text] if text else [])


def test_documents_are_files_paragraphs_or_lines(tmp_path):
    path = write(tmp_path / "a.txt", TEXT)
    assert read(path)[0] == [TEXT]
    assert read(path, "paragraph")[0] == ["one\r\ntwo", "  three", "four "]
    assert read(path, "line")[0] == ["one", "two", "  three", "four "]


@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_texts_of_a_corpus_are_cut_like_files(tmp_path, documents):
    path = write(tmp_path / "a.txt", TEXT)
    corpus = [TextFile("name", len(TEXT), lambda: TEXT)]
    assert list(read_documents(corpus, Reading(documents))) == read(path, documents)[0]


def test_other_line_breaks_of_unicode_do_not_end_a_line(tmp_path):
    path = write(tmp_path / "a.txt", "a\u2028b\x0bc\x85d\re\nf")
    assert read(path, "line")[0] == ["a\u2028b\x0bc\x85d\re", "f"]


@pytest.mark.parametrize("name", ["a.gz", "no-suffix"])
def test_gzip_is_known_by_its_first_bytes(tmp_path, name):
    path = write(tmp_path / name, gzip.compress(TEXT.encode()))
    assert read(path)[0] == [TEXT]
    assert read(path, "line")[0] == ["one", "two", "  three", "four "]


@pytest.mark.parametrize("documents", ["file", "line"])
def test_a_damaged_gzip_file_is_named(tmp_path, documents):
    whole = gzip.compress(os.urandom(5000).hex().encode())
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[:-20], bytes(flipped)):
        path = write(tmp_path / "a.gz", content)
        with pytest.raises(DataError, match=r"a\.gz is a damaged gzip file"):
            read(path, documents)


def test_empty_files_are_counted(tmp_path):
    write(tmp_path / "a.txt", "")
    write(tmp_path / "b.txt", "text")
    documents, counts = read(tmp_path)
    assert documents == ["text"]
    assert counts == ReadCounts(files=2, empty=1)


INVALID = b"good\nb\xffd\xe2\x82 \xef\xbf\xbd\nend"


@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_bytes_that_are_not_utf8_stop_with_file_and_offset(tmp_path, documents):
    path = write(tmp_path / "bad.txt", INVALID)
    with pytest.raises(DataError, match=r"bad\.txt is not UTF-8: byte 0xff at offset 6;"):
        read(path, documents)
    packed = write(tmp_path / "bad.gz", gzip.compress(INVALID))
    with pytest.raises(DataError, match=r"bad\.gz is not UTF-8: byte 0xff at offset 6;"):
        read(packed, documents)


@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path, documents):
    path = write(tmp_path / "bad.txt", INVALID)
    texts, counts = read(path, documents, "replace")
    # 0xff, and the beginning of a longer sequence; the U+FFFD that the text itself has is not one of them.
    assert "\n".join(texts) == "good\nb\ufffdd\ufffd \ufffd\nend"
    assert counts == ReadCounts(files=1, replaced_characters=2)


@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_files_that_are_not_utf8_are_skipped_and_counted(tmp_path, documents):
    write(tmp_path / "bad.txt", INVALID)
    write(tmp_path / "good.txt", "fine")
    write(tmp_path / "cut.txt", "fine €".encode()[:-1])
    texts, counts = read(tmp_path, documents, "skip")
    assert texts == ["fine"]
    assert counts == ReadCounts(files=1, skipped_files=2)


def test_on_file_is_called_after_each_file(tmp_path):
    write(tmp_path / "a.txt", "1\n2")
    write(tmp_path / "b.txt", "3")
    done = []
    files = find_text([str(tmp_path)])
    seen = [
        (text, len(done)) for text in read_documents(files, Reading("line"), on_file=done.append)
    ]
    assert seen == [("1", 0), ("2", 0), ("3", 1)]
    assert done == files


@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_a_byte_order_mark_is_no_text(tmp_path, documents):
    path = write(tmp_path / "a.txt", "\ufeffThe cat\ufeff".encode())
    assert read(path, documents)[0] == ["The cat\ufeff"]
    write(tmp_path / "b.txt", "\ufeff".encode())
    assert read(tmp_path / "b.txt")[0] == []
    bad = write(tmp_path / "c.txt", b"\xef\xbb\xbfab\xff")
    with pytest.raises(DataError, match="byte 0xff at offset 5;"):
        read(bad, documents)


def test_a_file_of_two_spellings_is_read_once(tmp_path, monkeypatch):
    write(tmp_path / "forms" / "a.txt", "text")
    os.symlink("a.txt", tmp_path / "forms" / "link.txt")
    monkeypatch.chdir(tmp_path / "forms")
    names = [
        "a.txt",
        "./a.txt",
        "../forms/a.txt",
        str(tmp_path / "forms" / "a.txt"),
        "link.txt",
        "*.txt",
    ]
    assert [file.name for file in find_text(names)] == ["a.txt"]
    # Two files of the same content are two.
    os.link("a.txt", "b.txt")
    assert [file.name for file in find_text(["*.txt"])] == ["a.txt", "b.txt"]


def test_links_to_folders_are_followed_once(tmp_path):
    write(tmp_path / "elsewhere" / "x.txt", "x")
    write(tmp_path / "text" / "sub" / "a.txt", "a")
    os.symlink(tmp_path / "elsewhere", tmp_path / "text" / "linked")
    os.symlink(tmp_path / "text", tmp_path / "text" / "sub" / "loop")
    os.symlink(tmp_path / "text" / "sub", tmp_path / "text" / "again")
    os.symlink(tmp_path / "elsewhere", tmp_path / "text" / ".hidden")
    found = [
        os.path.relpath(file.name, tmp_path / "text")
        for file in find_text([str(tmp_path / "text")])
    ]
    assert found == ["linked/x.txt", "sub/a.txt"]


def test_what_is_no_file_is_passed_over(tmp_path, capsys):
    write(tmp_path / "a.txt", "a")
    os.mkfifo(tmp_path / "pipe")
    assert [os.path.basename(file.name) for file in find_text([str(tmp_path)])] == ["a.txt"]
    assert capsys.readouterr().err.endswith(
        "pipe is a pipe, a socket or a device and is passed over\n"
    )
    with pytest.raises(
        DataError, match=r"pipe is a pipe, a socket or a device; write the text into a file"
    ):
        find_text([str(tmp_path / "pipe")])
    with pytest.raises(DataError, match="/dev/null is a pipe"):
        find_text(["/dev/null"])


@pytest.mark.parametrize("documents", ["file", "line"])
def test_bytes_after_a_gzip_file_are_passed_over_with_a_note(tmp_path, capsys, documents):
    text = "".join(f"line {number}\n" for number in range(20_000))
    members = gzip.compress(text[:5000].encode()) + gzip.compress(text[5000:].encode())
    path = write(tmp_path / "a.gz", members + b"other bytes")
    assert "".join(read(path)[0]) == text
    assert (
        capsys.readouterr().err
        == f"note: {path} has other bytes after its gzip data, which are passed over\n"
    )
    assert len(read(path, documents, "skip")[0]) == (1 if documents == "file" else 20_000)
    assert capsys.readouterr().err.count("note:") == 1


def test_files_named_like_several_splits_are_said(tmp_path, capsys):
    names = ["train-0.jsonl", "train-1.jsonl", "contest.jsonl", "train.py", "test.py"]
    for name in names:
        (tmp_path / name).write_text("")
    find_text([str(tmp_path)])
    assert capsys.readouterr().err == ""
    (tmp_path / "test-0.jsonl").write_text("")
    for path in (tmp_path, tmp_path / "*.jsonl"):
        find_text([str(path)])
        said = f"{path} has files named like several splits, and all are read: "
        examples = f"test ({tmp_path}/test-0.jsonl), train ({tmp_path}/train-0.jsonl)"
        assert capsys.readouterr().err == f"note: {said}{examples}\n"
    find_text([str(tmp_path / "train-0.jsonl"), str(tmp_path / "test-0.jsonl")])
    assert capsys.readouterr().err == ""
