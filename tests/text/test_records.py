"""Records: lines of JSON, tables, parquet, Arrow, examples of TensorFlow, and their mistakes."""

import json
import shutil

import pytest

from tests.text.keeping import arrow_folder, json_lines, table, tfds_folder, zipped
from tfscale.errors import DataError
from tfscale.tasks.examples import FieldNames, read_examples
from tfscale.text import opening
from tfscale.text.corpora import check_texts, find_text, read_documents
from tfscale.text.reader import ReadCounts, Reading, TextFile, reader_of

pa = pytest.importorskip("pyarrow", reason="the extra corpora brings pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="the extra corpora brings pyarrow")

TEXTS = [f"text {number}, naïve\r\nand more" for number in range(40)]


def read(path, **options):
    files, reading = find_text([str(path)]), Reading(**options)
    return list(read_documents(files, reading)), reading.counts


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_parquet(path, columns, **options):
    pq.write_table(pa.table(columns), str(path), **options)
    return path


def test_a_record_is_a_document_whatever_documents_says(tmp_path):
    for kind in ("file", "paragraph", "line"):
        assert read(write(tmp_path / "a.jsonl", json_lines(TEXTS)), documents=kind)[0] == TEXTS
        assert read(write(tmp_path / "a.csv", table(TEXTS)), documents=kind)[0] == TEXTS


def test_a_field_within_another_is_named_by_dots(tmp_path):
    rows = [{"a": {"b": "one"}, "a.b": "two"}, {"a": {"b": "three"}}, {"a": None}, {"a": {"b": ""}}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    texts, counts = read(path, text_field="a.b")
    assert texts == ["two", "three"] and counts == ReadCounts(files=1, empty=2)
    for row in (
        {"a": {"b.c": "x"}},
        {"a.b": {"c": "x"}},
        {"a": {"b": {"c": "x"}}, "a.b": {"d": 1}},
    ):
        assert read(write(tmp_path / "b.jsonl", json.dumps(row)), text_field="a.b.c")[0] == ["x"]
        columns = {name: [value] for name, value in row.items()}
        path = write_parquet(tmp_path / "b.parquet", columns)
        assert read(path, text_field="a.b.c")[0] == ["x"]
    column = pa.array([row["a"] for row in rows], pa.struct([("b", pa.string())]))
    path = write_parquet(tmp_path / "a.parquet", {"a": column})
    assert read(path, text_field="a.b") == (["one", "three"], ReadCounts(files=1, empty=2))


JSON_ERRORS = {
    '{"text": 5}': "line 1: 'text' is a number and no text: '5'; --text-field names another field",
    '{"text": ["a"]}': "line 1: 'text' is a list and no text",
    '{"text": {"en": "a"}}': "line 1: 'text' is an object and no text",
    '{"id": 1, "c": {"body": "a"}}': r"line 1: there is no field 'text'; it has id, c\.body \(--text",
    "{}": "line 1: there is no field 'text'; it has none",
    '{"text": "a"}\n\n{"text"': r"line 3: not JSON \(",
    '["a"]': "line 1: expected an object such as",
    "[" * 100_000: r"line 1: not JSON \(maximum recursion",
    '{"text": ' + "9" * 5000 + "}": "line 1: 'text' is a number and no text: 'inf'",
    '{"text": "a", "id": ' + "9" * 5000 + ', "b" 1}': r"line 1: not JSON \(Expecting ':' delimiter",
    '{"text": "a \\ud83d b"}': r"line 1: character 2 of the text, '\\ud83d', is half of a pair",
}


@pytest.mark.parametrize("content", JSON_ERRORS, ids=lambda content: content[:30])
def test_unfit_lines_of_json_are_named(tmp_path, content):
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(DataError, match=rf"a\.jsonl, {JSON_ERRORS[content]}") as raised:
        read(path)
    assert "\n" not in str(raised.value)


def test_numbers_of_json_may_have_any_length(tmp_path):
    path = write(tmp_path / "a.jsonl", f'{{"text": "a", "id": {"9" * 5000}}}\n{{"text": "b"}}')
    assert read(path)[0] == ["a", "b"]


def test_half_a_pair_is_replaced_and_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a \\ud83d b \\ude00\\ud83d\\ude00"}')
    texts, counts = read(path, invalid_utf8="replace")
    assert texts == ["a \ufffd b \ufffd\U0001f600"] and counts.replaced_characters == 2


def test_tables_by_their_heads(tmp_path):
    assert read(write(tmp_path / "a.csv", "id;text;x\n1;a, b;2\n"))[0] == ["a, b"]
    assert read(write(tmp_path / "a.csv", 'id\ttext\n1\t"a\n b"\n'))[0] == ["a\n b"]
    # What Excel writes before the head, and what an editor leaves there.
    for before, name in (
        ("sep=;\r\n", "a,b"),
        ("\nsep=;\n", "a,b"),
        ("\n", "text"),
        (" \n\n", "text"),
    ):
        content = f"{before}id;{name}\n1;a\n"
        assert read(write(tmp_path / "a.csv", content), text_field=name)[0] == ["a"]
    assert read(write(tmp_path / "a.csv", "sep=|\nid|text\n1|a,b\n"))[0] == ["a,b"]
    # Commas within a name are no sign of what parts the columns.
    content = 'id;"title, long";text\n1;"x, y";a\n'
    assert read(write(tmp_path / "a.csv", content))[0] == ["a"]
    content = '"a ""b"", c"\ttext\n1\ta;b\n'
    assert read(write(tmp_path / "a.csv", content))[0] == ["a;b"]
    assert read(write(tmp_path / "a.csv", ",,text\n1,2,a\n"))[0] == ["a"]
    assert read(write(tmp_path / "a.tab", "id\ttext\n1\ta, b;c\n"))[0] == ["a, b;c"]
    with pytest.raises(DataError, match="a column has the name of another: , , text, text"):
        read(write(tmp_path / "a.csv", ",,text,text\n1,2,a,b\n"))
    with pytest.raises(DataError, match=r"a\.csv, line 5: 1 columns, and the head has 2"):
        read(write(tmp_path / "a.csv", "\nsep=;\nid;text\n1;a\nb\n"))
    assert read(write(tmp_path / "a.csv", 'text\r\nhello\r\n"a\r\nb"\r\n'))[0] == [
        "hello",
        "a\r\nb",
    ]
    assert read(write(tmp_path / "a.tsv", "id\ttext\n1\ta, b;c\n"))[0] == ["a, b;c"]
    with pytest.raises(
        DataError, match=r"a\.csv, line 2: there is no field 'text'; it has id, body"
    ):
        read(write(tmp_path / "a.csv", "id,body\n1,a\n"))
    with pytest.raises(DataError, match=r"a\.csv, line 2: 1 columns, and the head has 2"):
        read(write(tmp_path / "a.csv", "One column, once\nof prose\n"))
    with pytest.raises(
        DataError, match=r'a\.tsv, line 3: a quote \("\) that begins a field is not'
    ):
        read(write(tmp_path / "a.tsv", 'id\ttext\n1\t"a\n2\tb"\n'))


def test_sentences_of_conll_are_documents(tmp_path):
    path = write(tmp_path / "a.conll", "-DOCSTART- O\n\nAnna B-PER\nsleeps O\n\nShe O\n")
    assert read(path)[0] == ["Anna sleeps", "She"]


def test_parquet_is_read_by_row_groups_and_column(tmp_path):
    columns = {"id": range(40), "text": TEXTS, "other": [None] * 40}
    path = write_parquet(tmp_path / "a.parquet", columns, row_group_size=9)
    assert read(path)[0] == TEXTS
    assert read(write(tmp_path / "a.zip", zipped({"in/a.parquet": path.read_bytes()})))[0] == TEXTS
    assert read(write(tmp_path / "no suffix", path.read_bytes()))[0] == TEXTS
    within = {"c": [{"n": number, "t": text} for number, text in enumerate(TEXTS)]}
    path = write_parquet(tmp_path / "within.parquet", within, row_group_size=9)
    assert read(path, text_field="c.t")[0] == TEXTS
    kinds = [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())]
    for kind in kinds:
        column = pa.array(["a", None, "b", "a"]).cast(kind)
        path = write_parquet(tmp_path / "b.parquet", {"text": column})
        assert read(path) == (["a", "b", "a"], ReadCounts(files=1, empty=1))
    rows = list(reader_of(TextFile(str(path))).rows(TextFile(str(path))))
    assert [(row.place, row.fields) for row in rows][:2] == [
        ("row 1", {"text": "a"}),
        ("row 2", {"text": None}),
    ]


def test_parquet_of_other_writers(tmp_path):
    for encoding in ("PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):
        for column, name in ((TEXTS, "text"), ([{"t": text} for text in TEXTS], "c.t")):
            columns, encodings = {name.partition(".")[0]: column}, {name: encoding}
            path = write_parquet(
                tmp_path / "a.parquet", columns, use_dictionary=False, column_encoding=encodings
            )
            assert read(path, text_field=name)[0] == TEXTS
    # A column, and a field of a struct, of the same name with dots.
    columns = {"c": [{"t": "within"}], "c.t": ["own"]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    assert read(path, text_field="c.t")[0] == ["own"]


def test_the_index_that_dask_and_spark_write_has_no_rows_of_its_own(tmp_path):
    collected = []
    table = pa.table({"text": TEXTS})
    pq.write_to_dataset(table, str(tmp_path), metadata_collector=collected)
    pq.write_metadata(table.schema, str(tmp_path / "_common_metadata"))
    pq.write_metadata(table.schema, str(tmp_path / "_metadata"), metadata_collector=collected)
    found = find_text([str(tmp_path)])
    check_texts(found, Reading())
    assert len(found) == 3 and list(read_documents(found)) == TEXTS
    assert list(reader_of(found[0]).rows(found[1])) == []


def test_unfit_parquet_is_named_before_reading(tmp_path):
    path = write_parquet(
        tmp_path / "a.parquet", {"id": range(40), "text": TEXTS, "s": [{"u": 1}] * 40}
    )
    for name, message in {
        "id": "'id' is int64 and no text; --text-field names another field",
        "body": r"there is no field 'body'; it has id, text, s\.u \(--text-field",
        "text.x": "there is no field 'text.x'",
        "s": "'s' is struct<u: int64> and no text",
    }.items():
        for action in (check_texts, lambda files, reading: list(read_documents(files, reading))):
            with pytest.raises(DataError, match=rf"a\.parquet: {message}"):
                action(find_text([str(path)]), Reading(text_field=name))
    whole = path.read_bytes()
    for content in (whole[:-30], whole[:60] + whole[-300:], b"PAR1" + bytes(100), b"PAR1"):
        with pytest.raises(DataError, match=r"b\.parquet is a damaged parquet file \(") as raised:
            read(write(tmp_path / "b.parquet", content))
        assert "\n" not in str(raised.value)
    path = write_parquet(tmp_path / "c.parquet", {"text": [b"caf\xe9", b"ok"]})
    with pytest.raises(DataError, match=r"c\.parquet, row 1 is not UTF-8: byte 0xe9 at offset 3"):
        read(path)
    assert read(path, encoding="latin-1")[0] == ["café", "ok"]
    assert read(path, invalid_utf8="replace")[1].replaced_characters == 1


def test_a_few_bytes_of_parquet_are_no_long_text(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "ALWAYS_ALLOWED", 10_000)
    monkeypatch.setattr(opening, "MOST_TIMES", 10)
    column = pa.DictionaryArray.from_arrays([0] * 1000, ["a long text " * 90])
    path = write_parquet(tmp_path / "a.parquet", {"text": column})
    text = "".join(chr(200 + number) for number in range(500))
    by_prefix = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    other = write_parquet(tmp_path / "b.parquet", {"text": [text] * 1000}, **by_prefix)
    for small in (path, other):
        assert small.stat().st_size < 10_000
        match = rf"{small.name} unpacks to more than \d+,\d+ bytes, 10 times"
        with pytest.raises(DataError, match=match):
            read(small)


def test_columns_may_change_between_files(tmp_path):
    write_parquet(tmp_path / "1.parquet", {"text": TEXTS, "id": range(40)})
    write_parquet(tmp_path / "2.parquet", {"id": ["a"], "text": pa.array(["b"], pa.large_string())})
    assert read(tmp_path)[0] == [*TEXTS, "b"]
    write_parquet(tmp_path / "3.parquet", {"body": ["c"]})
    with pytest.raises(DataError, match=r"3\.parquet: there is no field 'text'; it has body"):
        check_texts(find_text([str(tmp_path)]), Reading())


def test_folders_of_datasets(tmp_path, capsys):
    arrow_folder(tmp_path / "one", [*TEXTS, None], files=3)
    for path in (tmp_path / "one", f"{tmp_path}/one/", f"{tmp_path}/one/*", tmp_path):
        assert read(path) == (TEXTS, ReadCounts(files=3, empty=1))
    shutil.make_archive(str(tmp_path / "packed"), "gztar", tmp_path, "one")
    assert read(tmp_path / "packed.tar.gz")[0] == TEXTS
    dictionary = tmp_path / "dict"
    arrow_folder(dictionary / "train", ["a", "b"])
    arrow_folder(dictionary / "test", ["c"])
    (dictionary / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    assert read(dictionary)[0] == ["a", "b"]
    assert capsys.readouterr().err == (
        f"note: {dictionary} has the splits test, train: train is read ({dictionary}/test names"
        " another)\n"
    )
    assert read(dictionary / "test")[0] == ["c"]
    (dictionary / "dataset_dict.json").write_text('{"splits": ["test"]}')
    with pytest.raises(
        DataError, match="dict has the splits test and no train; name the folder of one"
    ):
        find_text([str(dictionary)])


def test_damaged_folders_of_datasets_are_named(tmp_path):
    folder = tmp_path / "one"
    arrow_folder(folder, TEXTS, files=2)
    [first, second] = sorted(folder.glob("*.arrow"))
    whole = first.read_bytes()
    for content in (whole[:-8], whole[:-400], whole[:100], b""):
        first.write_bytes(content)
        with pytest.raises(
            DataError, match=r"data-00000-of-00002\.arrow is a damaged Arrow file \("
        ):
            read(folder)
    second.unlink()
    with pytest.raises(
        DataError, match=r"state\.json names 'data-00001-of-00002.arrow', which is missing"
    ):
        find_text([str(folder)])
    state = folder / "state.json"
    state.write_text('{"_data_files": [], "_indices_files": [{"filename": "i.arrow"}]}')
    with pytest.raises(DataError, match=r"is a selection of rows: call flatten_indices\(\)"):
        find_text([str(folder)])
    state.write_text("{")
    with pytest.raises(DataError, match=r"state\.json is not JSON"):
        find_text([str(folder)])
    # A file of this name that is something else.
    shutil.rmtree(folder)
    folder.mkdir()
    state.write_text('{"text": "a"}')
    assert read(folder)[0] == ["a"]


def _end_of_record(content, count):
    """Where a record of a TFRecord file ends, by the lengths: 8 bytes, 4 of a sum, and 4 at the
    end."""
    at = 0
    for _ in range(count):
        at += int.from_bytes(content[at : at + 8], "little") + 16
    return at


def test_folders_of_tfds(tmp_path, capsys):
    folder = tmp_path / "books" / "1.0.0"
    tfds_folder(folder, TEXTS, shards=3)
    assert read(tmp_path)[0] == TEXTS
    tfds_folder(folder, ["other"], split="test", shards=1)
    assert read(tmp_path)[0] == TEXTS
    assert capsys.readouterr().err == (
        f"note: {folder} has the splits test, train: train is read (a glob such as"
        f" '{folder}/*-test.tfrecord*' names another)\n"
    )
    assert read(f"{folder}/*-test.tfrecord*")[0] == ["other"]
    with pytest.raises(DataError, match="record 1: there is no field 'body'; it has length, text"):
        check_texts(find_text([str(folder)]), Reading(text_field="body"))
    with pytest.raises(DataError, match="record 1: 'length' is a number and no text"):
        read(folder, text_field="length")
    tfds_folder(tmp_path / "nested", ["a", "b"], key="content/body")
    assert read(tmp_path / "nested", text_field="content.body")[0] == ["a", "b"]
    [first, *_] = sorted(folder.glob("*-train*"))
    content = bytearray(first.read_bytes())
    assert read(write(tmp_path / "a.zip", zipped({"x.tfrecord": bytes(content)})))[0] == TEXTS[:14]
    content[-20] ^= 0xFF
    first.write_bytes(content)
    with pytest.raises(DataError, match=r"tfrecord-00000-of-00003, record 14: damaged, or no"):
        read(folder)
    # Without its last record but for a part of the head, which TensorFlow takes for the end.
    for left in (1, 11):
        first.write_bytes(content[: _end_of_record(content, 13) + left])
        with pytest.raises(DataError, match=r"-of-00003, record 14: the file ends within it"):
            read(folder)
    first.write_bytes(content[: _end_of_record(content, 13)])
    assert len(read(folder)[0]) == len(TEXTS) - 1
    first.unlink()
    with pytest.raises(DataError, match=r"1\.0\.0 has 2 of the 3 shards of train"):
        find_text([str(folder)])


def test_examples_of_tasks_are_read_from_them(tmp_path):
    labels = ["x", "y"]
    path = write_parquet(tmp_path / "a.parquet", {"text": ["one", "two"], "label": labels})
    lines = "".join(
        json.dumps({"content": {"text": text}, "label": label}) + "\n"
        for text, label in zip(["one", "two"], labels, strict=True)
    )
    zstandard = pytest.importorskip("zstandard", reason="the extra corpora brings zstandard")
    for source, field in {
        path: "text",
        write(tmp_path / "b.jsonl.zst", zstandard.compress(lines.encode())): "content.text",
        write(tmp_path / "c.zip", zipped({"in.jsonl": lines})): "content.text",
    }.items():
        examples = read_examples([str(source)], "classify", FieldNames(text=field))
        assert [(one.text, one.labels) for one in examples] == [("one", ("x",)), ("two", ("y",))]
    assert examples[0].where == f"{tmp_path / 'c.zip'}/in.jsonl, line 1"
    with pytest.raises(DataError, match=r"line 1: there is no 'text'; it has content\.text, label"):
        read_examples([str(source)], "classify")
