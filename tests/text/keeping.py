"""Writes the same documents in the ways in which people keep them."""

import csv
import io
import json
import tarfile
import zipfile


def json_lines(documents, field="text"):
    return "".join(
        json.dumps({"id": number, field: text}) + "\n" for number, text in enumerate(documents)
    ).encode()


def table(documents, delimiter=","):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([("id", "text"), *enumerate(documents)])
    return out.getvalue().encode()


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def arrow_folder(folder, documents, files=1):
    """What `datasets.Dataset.save_to_disk` writes."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    names = [f"data-{at:05}-of-{files:05}.arrow" for at in range(files)]
    size = -(-len(documents) // files)
    for at, name in enumerate(names):
        part = documents[at * size : (at + 1) * size]
        rows = pa.table({"id": range(len(part)), "text": pa.array(part, pa.string())})
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, rows.schema) as out,
        ):
            out.write_table(rows, max_chunksize=7)
    state = {"_data_files": [{"filename": name} for name in names], "_format_type": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {"text": {}}}))


def tfds_folder(folder, documents, split="train", shards=2, key="text"):
    """What `tfds.builder(...).download_and_prepare()` writes."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(
        json.dumps({"pythonClassName": "tensorflow_datasets.core.features.FeaturesDict"})
    )
    (folder / "dataset_info.json").write_text(
        json.dumps({"name": "books", "fileFormat": "tfrecord"})
    )
    size = -(-len(documents) // shards)
    for at in range(shards):
        path = folder / f"books-{split}.tfrecord-{at:05}-of-{shards:05}"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for text in documents[at * size : (at + 1) * size]:
                values = tf.train.BytesList(value=[text.encode()])
                number = tf.train.Int64List(value=[len(text)])
                features = {
                    key: tf.train.Feature(bytes_list=values),
                    "length": tf.train.Feature(int64_list=number),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def warc_record(kind, content, headers=()):
    head = [("WARC-Type", kind), ("WARC-Target-URI", "https://example.org/"), *headers]
    lines = [f"{name}: {value}" for name, value in [*head, ("Content-Length", len(content))]]
    return "\r\n".join(["WARC/1.0", *lines, "", ""]).encode() + content + b"\r\n\r\n"


def warc_page(content, media="text/html", status="200 OK", headers=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media}", *headers, "", ""]
    return warc_record(
        "response",
        "\r\n".join(lines).encode() + content,
        [("Content-Type", "application/http; msgtype=response")],
    )
