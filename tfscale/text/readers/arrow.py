"""Arrow: tables in record batches, as Hugging Face `datasets` saves them to a folder."""

import io
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.terminal import note
from tfscale.text.arrow_columns import (
    arrow_errors,
    batch_rows,
    column_path,
    column_texts,
    load_pyarrow,
)
from tfscale.text.reader import Reader, Reading, Row, TextFile

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_FILE = b"ARROW1\x00\x00"
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_STREAM, _FIRST_OFFSET = b"\xff\xff\xff\xff", b"\x10\x00\x00\x00"


@register
class ArrowReader(Reader):
    """Read by pyarrow, a batch at a time. A document is a row: the text of one of its columns.

    Of a folder that `Dataset.save_to_disk` wrote, the files are read that its state.json names; of
    one that `DatasetDict.save_to_disk` wrote, those of the split `train`.
    """

    name = "arrow"
    suffixes = (".arrow",)
    magic = (_FILE,)
    folder_marks = (_SPLITS, _STATE)
    has_rows = True

    @classmethod
    def recognizes(cls, head: bytes) -> bool:
        stream = head.startswith(_STREAM) and head[8:12] == _FIRST_OFFSET
        return stream or super().recognizes(head)

    @classmethod
    def files_of_folder(
        cls, folder: str, files: Mapping[str, TextFile]
    ) -> Sequence[TextFile] | None:
        before = ""
        if _SPLITS in files:
            splits = _content(files[_SPLITS]).get("splits")
            if not isinstance(splits, list):
                return None
            if "train" not in splits:
                raise DataError(
                    f"{folder} has the splits {', '.join(map(str, splits))} and no train; name the"
                    f" folder of one: {folder}/{splits[0] if splits else 'SPLIT'}"
                )
            if len(splits) > 1:
                note(
                    f"{folder} has the splits {', '.join(map(str, splits))}: train is read"
                    f" ({folder}/{next(name for name in splits if name != 'train')} names another)"
                )
            before = "train"
        state = posixpath.join(before, _STATE)
        if state not in files:
            raise DataError(f"{folder}/{state} is missing, which names the files of the data set")
        content = _content(files[state])
        data = content.get("_data_files")
        if not isinstance(data, list):
            return None
        if content.get("_indices_files") or content.get("_indices_data_files"):
            raise DataError(
                f"{folder} is a selection of rows: call flatten_indices() before save_to_disk"
            )
        found = []
        for file in data:
            name = file.get("filename") if isinstance(file, dict) else None
            path = posixpath.join(before, str(name))
            if path not in files:
                raise DataError(f"{folder}/{state} names {name!r}, which is missing")
            found.append(files[path])
        return found

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        first = 1
        for batch, path in self._batches(file, reading):
            column = batch.column(batch.schema.names.index(path[0]))
            yield from reading.kept(column_texts(column, path, file.name, first, reading))
            first += batch.num_rows

    def check(self, file: TextFile, reading: Reading) -> None:
        with file.open_random() as stream, arrow_errors(file.name, "Arrow"):
            column_path(_opened(stream)[0], file.name, reading.text_field)

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        first = 1
        for batch, _ in self._batches(file, None):
            for place, fields in batch_rows(batch, file.name, first):
                yield Row(place, fields)
            first += batch.num_rows

    def _batches(self, file: TextFile, reading: Reading | None) -> Iterator[tuple[Any, list[str]]]:
        """Yields the batches, and the names that lead to the text."""
        path: list[str] = []
        with file.open_random() as stream:
            with arrow_errors(file.name, "Arrow"):
                schema, batches = _opened(stream)
                if reading is not None:
                    path = column_path(schema, file.name, reading.text_field)
            while True:
                with arrow_errors(file.name, "Arrow"):
                    batch = next(batches, None)
                    if batch is None:
                        return
                    batch.validate()
                yield batch, path


def _content(file: TextFile) -> dict[str, Any]:
    with file.open() as stream:
        try:
            content = json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file.name} is not JSON ({error})") from error
    return content if isinstance(content, dict) else {}


def _opened(stream: Any) -> tuple[Any, Iterator[Any]]:
    """Returns the schema and the batches of a file of either form."""
    pa = load_pyarrow()
    from pyarrow import ipc

    is_file = stream.read(len(_FILE)) == _FILE
    size = stream.seek(0, io.SEEK_END) or stream.tell()
    stream.seek(max(0, size - len(_STREAM_END)))
    # The library takes the end of a file for that of the stream.
    if not is_file and stream.read() != _STREAM_END:
        raise pa.ArrowInvalid("it is cut off: the mark of its end is missing")
    stream.seek(0)
    if not is_file:
        reader = ipc.open_stream(stream)
        return reader.schema, iter(reader)
    file = ipc.open_file(stream)
    return file.schema, (file.get_batch(at) for at in range(file.num_record_batches))
