"""Reads files, local or remote, and writes them so that a reader never sees half of one.

A file is written under a temporary name beside its target (`tfscale.files.temporary`) and renamed
at the end: an interrupted write or a full disk leaves the earlier file whole. Paths with a scheme
(`gs://...`) go through `tf.io.gfile`, all others through the operating system, so that nothing here
needs TensorFlow for local work.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator

import yaml

from tfscale.errors import DataError, TfscaleError, reason
from tfscale.files.json_text import JsonObject, JsonValue, parse_json, to_json
from tfscale.files.remote_stream import open_remote
from tfscale.files.temporary import File, new_name, open_temporary
from tfscale.files.write_errors import REFUSED, write_error, write_errors
from tfscale.files.yaml_text import load_yaml


def is_remote(path: str) -> bool:
    """Returns whether `path` names a remote file system (`gs://bucket/file`)."""
    return "://" in path


def exists(path: str) -> bool:
    """Returns whether there is a file or folder, local or remote."""
    if is_remote(path):
        import tensorflow as tf

        return bool(tf.io.gfile.exists(path))
    return os.path.exists(path)


def names_ending(folder: str, ending: str) -> list[str]:
    """Returns the names in a folder, local or remote, that end so, sorted; none where there is no
    such folder."""
    if is_remote(folder):
        import tensorflow as tf

        names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    else:
        names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if name.endswith(ending))


def open_file(path: str, mode: str = "rb") -> File:
    """Opens a local or remote file; `mode` as in `open`, text is UTF-8."""
    if is_remote(path):
        if mode == "rb":
            return open_remote(path)
        import tensorflow as tf

        return tf.io.gfile.GFile(path, mode)
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


@contextlib.contextmanager
def remote_errors(path: str, what: str) -> Iterator[None]:
    """Turns TensorFlow's errors of reading a remote file into a DataError; local paths pass.

    Args:
        path: the file.
        what: its role, such as "the manifest".
    """
    try:
        yield
    except Exception as error:
        if message := remote_message(path, error):
            raise DataError(f"{what} cannot be read: {path} ({message.splitlines()[0]})") from error
        raise


def remote_message(path: str, error: Exception) -> str:
    """Returns what TensorFlow says about a remote file in an error; empty for other errors."""
    if not is_remote(path):
        return ""
    import tensorflow as tf

    if isinstance(error, tf.errors.OpError):
        return error.message or type(error).__name__
    return ""


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[File]:
    """Opens `path` for writing under a temporary name.

    It is renamed when the block ends without an error.

    Args:
        path: the file to write; its folder is made if it is missing.
        mode: "wb" or "w" (UTF-8).

    Raises:
        TfscaleError: the disk is full or the place cannot be written. The earlier file, if any, is
            left as it was.

    Example:
        with atomic_write("run/summary.json", "w") as file:
            file.write(to_json(summary))
    """
    if is_remote(path):
        with _remote_write(path, mode) as file:
            yield file
        return
    # What a link leads to is replaced, and the link stays.
    target = os.path.realpath(path)
    with write_errors(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        file = open_temporary(target, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            # While it is open it is locked, and nobody takes it for a leftover.
            os.replace(file.name, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(file.name)
        if isinstance(error, OSError) and error.errno in REFUSED:
            raise write_error(path, error, "the earlier file, if any, is unchanged") from error
        raise


@contextlib.contextmanager
def _remote_write(path: str, mode: str) -> Iterator[File]:
    import tensorflow as tf

    temporary = new_name(path)
    try:
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(temporary, mode) as file:
            yield file
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        raise TfscaleError(
            f"cannot write {path}: {(error.message or str(error)).splitlines()[0]}"
        ) from error


def write_json(path: str, value: object) -> None:
    """Writes `value` as indented JSON, atomically; numbers that are not finite become null."""
    with atomic_write(path, "w") as file:
        file.write(to_json(value, indent=2) + "\n")


def read_json(path: str, what: str) -> JsonValue:
    """Reads a JSON file; `what` names its role in the error, such as "the manifest".

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return parse_json(read_bytes(path, what))
    except ValueError as error:
        raise DataError(f"{what} is not valid JSON: {path} ({reason(error)})") from error


def read_yaml(path: str, what: str) -> JsonObject:
    """Reads a mapping that this package wrote as YAML, such as the config.yaml of a run.

    An empty file is an empty mapping.

    Raises:
        DataError: the file is missing, is not YAML, or holds something else.
    """
    try:
        value = load_yaml(read_bytes(path, what).decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(
            f"{what} is not valid YAML: {path} ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(value, dict | None):
        raise DataError(
            f"{what} should hold names and values: {path} holds a {type(value).__name__}"
        )
    return value or {}


def read_bytes(path: str, what: str) -> bytes:
    """Reads a file; `what` names its role in the error.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        with remote_errors(path, what), open_file(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{what} is missing: {path}") from error
    except OSError as error:
        raise DataError(f"{what} cannot be read: {path} ({error.strerror or error})") from error


def read_lines(path: str) -> list[str]:
    """Returns the lines of a UTF-8 text, without their ends (LF, CRLF or CR) and a byte-order mark.

    Other characters that separate lines for Python, such as U+2028, are part of a line.
    """
    with open_file(path, "r") as file:
        text = file.read()
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def read_json_lines(path: str, note: Callable[[str], None] | None = None) -> list[JsonObject]:
    """Returns the lines of a log such as history.jsonl: numbers by name, with a `step`.

    There are none where there is no such file.

    A damaged log does not stop anything: damaged lines are left out. So is the last one if a crash
    cut it short.

    Args:
        path: the file.
        note: is called with a line that says how many were damaged, if any.
    """
    if not exists(path):
        return []
    with open_file(path, "rb") as file:
        *complete, last = file.read().split(b"\n")
    records, damaged = [], 0
    for line in [*complete, *([last] if last else [])]:
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if (
            isinstance(record, dict)
            and isinstance(record.get("step"), int)
            and all(map(_is_number, record.values()))
        ):
            records.append(record)
        elif line is not last:
            damaged += 1
    if damaged and note is not None:
        note(f"{path}: {damaged} damaged line{'s' if damaged > 1 else ''} left out")
    return records


def _is_number(value: object) -> bool:
    """Returns whether a value is a number, or the null of one that is not finite."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def sha256_file(path: str) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_file(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
