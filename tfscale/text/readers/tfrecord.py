"""TFRecord files of `tf.train.Example`, as TensorFlow Datasets (TFDS) keeps them in a folder."""

import contextlib
import io
import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfscale.errors import DataError, reason
from tfscale.registry import register
from tfscale.terminal import note
from tfscale.text.opening import CheckedStream, copy_to
from tfscale.text.reader import Reader, Reading, Row, TextFile
from tfscale.text.records import no_field, plain_text

_NAME = re.compile(r"\.tfrecords?(-\d{5}-of-\d{5})?$")
_SHARD = re.compile(r"(?:.*[-.])?(?P<split>\w+)\.(?P<kind>\w+)-(?P<at>\d{5})-of-(?P<count>\d{5})")
_FRAME = 16
"""Bytes of a record besides its content: its length, and a sum of each."""
_FEATURES, _INFO = "features.json", "dataset_info.json"


@register
class TFRecordReader(Reader):
    """Read by TensorFlow. A document is an example: the text of one of its features.

    Fields within fields have dots, for which TFDS writes "/". Of a folder that TFDS wrote the
    shards of the split `train` are read. tensorflow_datasets is not needed.
    """

    name = "tfrecord"
    suffixes = (".tfrecord",)
    folder_marks = (_FEATURES,)
    has_rows = True

    @classmethod
    def takes(cls, plain: str) -> bool:
        return _NAME.search(plain) is not None

    @classmethod
    def files_of_folder(
        cls, folder: str, files: Mapping[str, TextFile]
    ) -> Sequence[TextFile] | None:
        if _INFO not in files:
            return None
        splits: dict[str, list[TextFile]] = {}
        for name, file in sorted(files.items()):
            if "/" not in name and (shard := _SHARD.fullmatch(name)):
                if shard["kind"] != "tfrecord":
                    raise DataError(
                        f"{folder} keeps {shard['kind']} files; have TFDS write tfrecord files"
                        " (file_format='tfrecord')"
                    )
                splits.setdefault(shard["split"], []).append(file)
        if "train" not in splits:
            raise DataError(
                f"{folder} has no shards of the split train; it has {', '.join(splits) or 'none'}"
                " (a glob names those of another)"
            )
        found = splits["train"]
        count = int(_SHARD.fullmatch(found[0].name.rpartition("/")[2])["count"])  # type: ignore[index]
        if len(found) != count:
            raise DataError(f"{folder} has {len(found)} of the {count} shards of train")
        if others := [name for name in splits if name != "train"]:
            note(
                f"{folder} has the splits {', '.join(splits)}: train is read (a glob such as"
                f" '{folder}/*-{others[0]}.tfrecord*' names another)"
            )
        return found

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        yield from reading.kept(self._texts(file, reading))

    def _texts(self, file: TextFile, reading: Reading) -> Iterator[str]:
        name = reading.text_field.replace(".", "/")
        for number, features in enumerate(_examples(file), 1):
            where = f"{file.name}, record {number}"
            chosen = reading.text_field if reading.text_field in features else name
            if chosen not in features:
                raise no_field(where, reading.text_field, sorted(features))
            yield plain_text(_value(features[chosen]), where, reading)

    def check(self, file: TextFile, reading: Reading) -> None:
        next(self.documents(file, reading.trial()), None)

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        for number, features in enumerate(_examples(file), 1):
            where = f"{file.name}, record {number}"
            fields = {name: _value(features[name]) for name in sorted(features)}
            texts = {
                name: plain_text(value, where, Reading(text_field=name))
                for name, value in fields.items()
                if isinstance(value, bytes)
            }
            yield Row(f"record {number}", fields | texts)


def _examples(file: TextFile) -> Iterator[Mapping[str, Any]]:
    """Yields the features of each example, by name."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    with _path_of(file) as (path, size):
        records = tf.data.TFRecordDataset(path).as_numpy_iterator()
        read = 0
        for number in itertools.count(1):
            try:
                record = next(records, None)
                example = None if record is None else tf.train.Example.FromString(record)
            except (tf.errors.OpError, DecodeError) as error:
                raise DataError(
                    f"{file.name}, record {number}: damaged, or no tf.train.Example"
                    f" ({reason(error)})"
                ) from error
            if record is None or example is None:
                # TensorFlow takes a file that ends within the head of a record for a whole one.
                if read < size:
                    raise DataError(f"{file.name}, record {number}: the file ends within it")
                return
            read += len(record) + _FRAME
            if not example.features.feature:
                raise DataError(f"{file.name}, record {number}: no tf.train.Example with features")
            yield example.features.feature


@contextlib.contextmanager
def _path_of(file: TextFile) -> Iterator[tuple[str, int]]:
    """Gives a path by which TensorFlow reads the file, its own or that of a temporary copy, and the
    bytes there."""
    with file.open() as stream:
        if file.member is None and not isinstance(getattr(stream, "raw", None), CheckedStream):
            yield file.name, stream.seek(0, io.SEEK_END) or stream.tell()
            return
        with tempfile.NamedTemporaryFile(prefix="tfscale-") as copy:
            copy_to(stream, copy)
            yield copy.name, copy.tell()


def _value(feature: Any) -> object:
    """Returns what a feature holds: a value, or a list where there is another number than one."""
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    return values[0] if len(values) == 1 else (values or None)
