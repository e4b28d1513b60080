"""Writing files so that a reader never sees half of one.

A file is written under a temporary name beside its target and renamed at the end: an interrupted write or a full
disk leaves the earlier file whole. Paths with a scheme (`gs://...`) go through `tf.io.gfile`, all others through the
operating system, so that nothing here needs TensorFlow for local work.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Any

from tfscale.errors import DataError, TfscaleError
from tfscale.yaml_text import load_yaml

TRAINED_FILES = ("checkpoints", "history.jsonl")
"""What only training leaves in a run folder."""


def is_remote(path: str) -> bool:
    """Whether `path` names a remote file system (`gs://bucket/file`)."""
    return "://" in path


def exists(path: str) -> bool:
    """Whether there is a file or folder, local or remote."""
    if is_remote(path):
        import tensorflow as tf

        return bool(tf.io.gfile.exists(path))
    return os.path.exists(path)


def open_file(path: str, mode: str = "rb") -> IO[Any]:
    """Opens a local or remote file; `mode` as in `open`, text is UTF-8."""
    if is_remote(path):
        import tensorflow as tf

        return tf.io.gfile.GFile(path, mode)
    return open(path, mode, encoding=None if "b" in mode else "utf-8")


@contextlib.contextmanager
def remote_errors(path: str, what: str) -> Iterator[None]:
    """Turns what TensorFlow raises of a remote file that cannot be read into a DataError; local paths pass.

    Args:
        path: the file.
        what: its role, such as "the manifest".
    """
    if not is_remote(path):
        yield
        return
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = (error.message or type(error).__name__).splitlines()[0]
        raise DataError(f"{what} cannot be read: {path} ({reason})") from error


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens `path` for writing under a temporary name and renames it when the block ends without an error.

    Args:
        path: the file to write; its folder is made if it is missing.
        mode: "wb" or "w" (UTF-8).

    Raises:
        TfscaleError: the disk is full or the place cannot be written. The earlier file, if any, is left as it was.

    Example:
        with atomic_write("run/summary.json", "w") as file:
            json.dump(summary, file)
    """
    remote = is_remote(path)
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        if remote:
            import tensorflow as tf

            tf.io.gfile.makedirs(os.path.dirname(path))
        else:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open_file(temporary, mode) as file:
            yield file
            if not remote:
                file.flush()
                os.fsync(file.fileno())
        if remote:
            tf.io.gfile.rename(temporary, path, overwrite=True)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        if not remote:
            with contextlib.suppress(OSError):
                os.remove(temporary)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TfscaleError(f"no space left while writing {path}; the earlier file, if any, is unchanged") from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise TfscaleError(f"cannot write {path}: {error.strerror}") from error
        raise


def write_json(path: str, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: str, what: str) -> Any:
    """Reads a JSON file; `what` names its role in the error, such as "the manifest".

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        with remote_errors(path, what), open_file(path, "r") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{what} is missing: {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{what} is not valid JSON: {path} ({error})") from error


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 text, without their ends (LF, CRLF or CR) and without a byte-order mark before the first.

    Other characters that separate lines for Python, such as U+2028, are part of a line.
    """
    with open_file(path, "r") as file:
        text = file.read()
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def read_json_lines(path: str) -> list[dict[str, Any]]:
    """The lines of a file such as history.jsonl; none where there is no such file.

    A last line that was cut short by a crash is left out.

    Raises:
        DataError: another line is not JSON.
    """
    if not exists(path):
        return []
    with open_file(path, "r") as file:
        lines = file.read().split("\n")
    complete, rest = lines[:-1], lines[-1]
    records = []
    for number, line in enumerate(complete, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}, is not JSON: {line[:60]!r}") from error
    if rest:
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(rest))
    return records


def sha256_file(path: str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_file(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def claim_directory(
    path: str, marker: str, what: str, *, key: str = "", without: Sequence[str] = (), remote: bool = False
) -> None:
    """Checks that output may be written to `path`: it is absent, empty, or holds `marker` (it is ours).

    Args:
        path: the output folder.
        marker: a file that shows the folder was made by the same command, such as "manifest.json".
        what: the name of such a folder for the error, such as "a data folder".
        key: what a marker of ours has among its keys, where others have files of that name too; it is JSON then.
        without: names that show that there is more in the folder than the command writes, which would be lost.
        remote: whether the command can write to a remote file system.

    Raises:
        DataError: the folder holds something else, is a file, or is remote.
    """
    if is_remote(path):
        if remote:
            return
        raise DataError(f"output {path} is remote; write to a local folder and copy it")
    if os.path.isfile(path):
        raise DataError(f"output {path} is a file; name a folder")
    if not os.path.isdir(path) or not os.listdir(path):
        return
    reason = "" if os.path.exists(os.path.join(path, marker)) else f"it has no {marker}"
    if not reason and key:
        content = read_json(os.path.join(path, marker), f"what would show that output folder {path} is {what}")
        reason = "" if isinstance(content, dict) and key in content else f"its {marker} is another program's"
    if reason:
        raise DataError(f"output folder {path} exists and is not {what} ({reason}); name a new or empty folder")
    for name in without:
        if os.path.exists(os.path.join(path, name)):
            raise DataError(
                f"output folder {path} holds {name}, which would be lost; name a new or empty folder, or remove it"
            )


def claim_export(path: str) -> None:
    """Checks that an export may be written to `path`: as `claim_directory`, and it is no run, of n-grams say.

    Raises:
        DataError: the folder holds something else, or is a file.
    """
    claim_directory(path, "model.json", "an export folder", key="tfscale_version", without=("config.yaml",))


def claim_page(path: str) -> None:
    """Checks that an HTML file may be written to `path`.

    Raises:
        DataError: it is a folder, or has another ending than .html.
    """
    if not path.endswith(".html") or (not is_remote(path) and os.path.isdir(path)):
        raise DataError(f"output {path} is no HTML file; name one such as report.html")


@contextlib.contextmanager
def atomic_directory(path: str) -> Iterator[str]:
    """Yields a temporary folder beside `path` and puts it in the place of `path` when the block ends without an error.

    An earlier folder at `path` is replaced only then; on an error the temporary folder is removed and `path` is
    left as it was.

    Raises:
        DataError: the path is remote; see `claim_directory`, which says so before anything is done.
    """
    if is_remote(path):
        raise DataError(f"output {path} is remote; write to a local folder and copy it")
    target = os.path.abspath(path)
    temporary = f"{target}.tmp-{os.getpid()}"
    try:
        os.makedirs(temporary)
        yield temporary
        earlier = f"{target}.old-{os.getpid()}"
        if os.path.isdir(target):
            os.rename(target, earlier)
        os.rename(temporary, target)
        shutil.rmtree(earlier, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TfscaleError(f"no space left while writing {path}; what was there before is unchanged") from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
            raise TfscaleError(f"cannot write {path}: {error.strerror}") from error
        raise


def is_exported(path: str) -> bool:
    """Whether a path is an exported file or its folder, which need no TensorFlow."""
    files = [os.path.join(path, name) for name in ("model.tflite", "model.litertlm", "model.ngram")]
    return path.endswith((".tflite", ".litertlm", ".ngram")) or any(map(os.path.isfile, files))


def run_data(directory: str) -> str | None:
    """The data folder that the config.yaml of a run names, if both are there."""
    path = os.path.join(directory, "config.yaml")
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        data = (load_yaml(file) or {}).get("data")
    return data if data and os.path.isfile(os.path.join(data, "manifest.json")) else None
