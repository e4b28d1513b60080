"""Corpora that `benchmarks.fuzz` damages: each format, packed and in archives."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

TEXTS = [f"text {number}: naïve café, 狐, {'and more ' * (number % 5)}" for number in range(60)]
FOLDER = "corpora"
MUTATIONS = {
    "a.txt": 60,
    "a.jsonl": 150,
    "a.csv": 100,
    "utf16.txt": 60,
    "a.jsonl.gz": 60,
    "a.jsonl.bz2": 60,
    "a.jsonl.xz": 60,
    "a.jsonl.zst": 150,
    "a.zip": 200,
    "a.tar": 200,
    "a.tgz": 60,
    "a.parquet": 400,
    "a.arrow": 400,
    "a.tfrecord": 150,
    "a.warc": 200,
    "wiki_00": 100,
}
"""The files, and how often each is damaged."""


def make_corpora(folder: Path) -> None:
    """Writes the same texts in each format."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf
    import zstandard

    folder.mkdir()
    lines = "".join(json.dumps({"id": at, "text": text}) + "\n" for at, text in enumerate(TEXTS))
    packed = lines.encode()
    table = io.StringIO()
    csv.writer(table).writerows([("id", "text"), *enumerate(TEXTS)])
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.jsonl", packed)
        archive.writestr("in/b.txt", TEXTS[0])
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name, content in (("in/a.jsonl", packed), ("in/b.txt", TEXTS[0].encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    pages = b"".join(
        b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\n"
        b"Content-Length: %d\r\n\r\n%s\r\n\r\n" % (len(text.encode()), text.encode())
        for text in TEXTS
    )
    articles = "".join(
        f'<doc id="{at}" url="u" title="t">\n{text}\n</doc>\n' for at, text in enumerate(TEXTS)
    )
    contents = {
        "a.txt": "\n".join(TEXTS).encode(),
        "a.jsonl": packed,
        "a.csv": table.getvalue().encode(),
        "utf16.txt": "\n".join(TEXTS).encode("utf-16"),
        "a.jsonl.gz": gzip.compress(packed),
        "a.jsonl.bz2": bz2.compress(packed),
        "a.jsonl.xz": lzma.compress(packed),
        "a.jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(packed),
        "a.zip": zipped.getvalue(),
        "a.tar": tarred.getvalue(),
        "a.tgz": gzip.compress(tarred.getvalue()),
        "a.warc": pages,
        "wiki_00": articles.encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    columns = pa.table({"id": range(len(TEXTS)), "text": TEXTS, "in": [{"x": "y"}] * len(TEXTS)})
    pq.write_table(columns, str(folder / "a.parquet"), row_group_size=20)
    with (
        pa.OSFile(str(folder / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, columns.schema) as out,
    ):
        out.write_table(columns, max_chunksize=20)
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for text in TEXTS:
            values = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
            features = tf.train.Features(feature={"text": values})
            writer.write(tf.train.Example(features=features).SerializeToString())


def read_corpus(folder: Path, file: Path) -> Any:
    """Reads a file as `prepare` does, and its rows as tasks do where it has any."""
    from tfscale.text.corpora import check_texts, find_text, read_documents
    from tfscale.text.reader import Reading, reader_of

    files, reading = find_text([str(file)]), Reading(documents="line")
    check_texts(files, reading)
    documents = list(read_documents(files, reading))
    readers = [(reader_of(found), found) for found in files]
    rows = [list(reader.rows(found)) for reader, found in readers if reader.has_rows]
    return documents, [[(row.place, dict(row.fields)) for row in found] for found in rows]
