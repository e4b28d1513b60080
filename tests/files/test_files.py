"""Writing whole or not at all: names, locks, leftovers, folders put in place, and what the system says against it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfscale.errors import DataError, TfscaleError
from tfscale.files import temporary
from tfscale.files.folders import RUN_LOCK, atomic_directory, claim_directory
from tfscale.files.json_text import parse_json, to_json
from tfscale.files.locks import Held, hold, machine, read_holder
from tfscale.files.paths import atomic_write, read_json, read_yaml, write_json
from tfscale.files.write_errors import write_error

TAG = temporary._tag()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), np.float64("inf")]
)
def test_numbers_that_are_not_finite_become_null(number, tmp_path):
    assert json.loads(to_json({"a": [1.5, (number,)], "b": {"c": number}})) == {
        "a": [1.5, [None]],
        "b": {"c": None},
    }
    write_json(str(tmp_path / "x.json"), {"loss": number, "step": np.int64(3), "word": "é"})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "loss": null,\n  "step": 3,\n  "word": "é"\n}\n'


def test_finite_numbers_are_written_as_python_writes_them():
    value = {"b": 0.1, "a": [1, None, True, "x"], "c": np.float32(0.5)}
    assert to_json(value) == '{"b": 0.1, "a": [1, null, true, "x"], "c": 0.5}'
    assert to_json({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'
    with pytest.raises(TypeError, match="set is not JSON"):
        to_json({"a": {1}})


@pytest.mark.parametrize(
    "content,reason",
    [
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "digits"),
        ("{", "Expecting"),
        (b"\xff", "utf-8"),
    ],
)
def test_what_is_no_json_is_one_error(tmp_path, content, reason):
    (tmp_path / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError):
        parse_json(content)
    with pytest.raises(DataError, match=f"the thing is not valid JSON: .*a.json .*{reason}"):
        read_json(str(tmp_path / "a.json"), "the thing")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: [", b"- 1\n", b"[" * 3000, b"word"])
def test_what_is_no_mapping_in_yaml_is_one_error(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(DataError, match="^the configuration .*c.yaml"):
        read_yaml(str(tmp_path / "c.yaml"), "the configuration")


def test_a_lock_is_held_by_one_and_free_again_after_it(tmp_path):
    path = str(tmp_path / "lock")
    with hold(path) as held:
        assert isinstance(held, Held)
        assert read_holder(path)["process"] == os.getpid()
        assert hold(path) is None
    assert names(tmp_path) == []
    with hold(path):
        pass


def killed_in(code, folder):
    """Runs `code` in a process that then kills itself."""
    text = f"import os, signal\n{code}\nos.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_a_killed_process_left_is_free_and_removed(tmp_path, capsys):
    killed_in(
        "from tfscale.files.folders import atomic_directory\nfrom tfscale.files.paths import atomic_write\nfrom tfscale.files.locks import hold\n"
        "lock = hold('lock')\none, two = atomic_directory('out'), atomic_write('file')\n"
        "open(one.__enter__() + '/spool', 'w').write('x' * 10**6)\ntwo.__enter__().write(b'half')",
        tmp_path,
    )
    assert len(names(tmp_path)) == 4
    with hold(str(tmp_path / "lock")) as held:
        assert held is not None
    claim_directory(str(tmp_path / "out"), "manifest.json", "a data folder")
    assert (
        "out.tmp-" in (told := capsys.readouterr().err)
        and "(1.0 MB)" in told
        and told.count("\n") == 1
    )
    assert [name.partition(".")[0] for name in names(tmp_path)] == ["file"]
    assert len(temporary.remove_leftovers(str(tmp_path))) == 1 and names(tmp_path) == []


def test_what_a_living_process_writes_is_not_touched_whatever_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.chdir(tmp_path)
    with atomic_directory("x") as first:
        Path(first, "big").write_text("hours of work")
        with atomic_write("y") as file:
            file.write(b"half")
            with atomic_directory("x") as second:
                assert first != second and Path(first, "big").read_text() == "hours of work"
                Path(second, "small").write_text("")
            assert temporary.remove_leftovers(".") == []
            assert names(tmp_path / "x") == ["small"]
    assert names(tmp_path) == ["x", "y"] and names(tmp_path / "x") == ["big"]


@pytest.mark.parametrize(
    "name,kind,age,removed",
    [
        (f"x.tmp-{TAG}-00000000", "file", 0, True),
        (f"x.tmp-{TAG}-00000000", "folder", 0, True),
        ("x.tmp-deadbeef-00000000", "folder", 60, False),  # Of another machine.
        ("x.tmp-deadbeef-00000000", "folder", 4000, True),
        ("x.tmp-deadbeef-00000000", "file", 4000, False),
        ("x.tmp-4711", "file", 4000, False),  # Of an earlier version.
        ("x.tmp-4711", "file", 90_000, True),
        ("x.tmp-4711", "bare folder", 4000, False),
        ("x.tmp-4711", "bare folder", 90_000, True),
        ("xy.tmp-4711", "file", 90_000, False),  # Of another target.
    ],
)
def test_when_a_leftover_is_taken_for_one(tmp_path, name, kind, age, removed):
    path = tmp_path / name
    if kind == "file":
        path.write_text("a")
    else:
        path.mkdir()
        (path / "inner").write_text("a")
    marked = [path, path / "inner"] if kind != "file" else [path]
    if kind == "folder":
        marked.append(tmp_path / f"{name}.lock")
        marked[-1].write_text("")
    for one in marked:
        if one.exists():
            os.utime(one, (time.time() - age,) * 2)
    assert bool(temporary.remove_leftovers(str(tmp_path), "x")) == removed
    assert (names(tmp_path) == []) == removed


@pytest.mark.parametrize("touched", [True, False])
def test_where_the_system_has_no_locks_touches_decide(tmp_path, monkeypatch, touched):
    """As on a file system without locks, and for a lock file of another machine: its holder touches it, or is dead."""
    path = tmp_path / "lock"
    path.write_text('{"process": 1, "host": "other", "machine": "other"}')
    times = iter(range(1, 100))
    if touched:
        monkeypatch.setattr("time.sleep", lambda seconds: os.utime(path, (next(times),) * 2))
    held = hold(str(path), watch_seconds=0.05)
    assert (held is None) == touched
    if held:
        assert read_holder(str(path))["machine"] == machine()
        held.release()


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_earlier_folder_is_replaced_whole(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(temporary, "exchange", lambda a, b: False)
    for content in ("one", "two"):
        with atomic_directory(str(tmp_path / "x")) as folder:
            Path(folder, content).write_text(content)
    assert names(tmp_path) == ["x"] and names(tmp_path / "x") == ["two"]


def test_what_a_link_leads_to_is_replaced(tmp_path):
    """Such as a folder on a larger disk."""
    (tmp_path / "disk").mkdir()
    for name in ("folder", "file"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    for content in ("one", "two"):
        claim_directory(str(tmp_path / "folder"), content, "a folder")
        with atomic_directory(str(tmp_path / "folder")) as folder:
            Path(folder, "two").write_text(content)
        with atomic_write(str(tmp_path / "file"), "w") as file:
            file.write(content)
    assert all((tmp_path / name).is_symlink() for name in ("folder", "file"))
    assert names(tmp_path / "disk") == ["file", "folder"]
    assert (tmp_path / "disk" / "file").read_text() == "two"
    assert (tmp_path / "disk" / "folder" / "two").read_text() == "two"


@pytest.mark.parametrize("path", ["", " "])
def test_an_output_without_a_name_is_refused(path):
    with pytest.raises(DataError, match=f"output is '{path}'; name a folder"):
        claim_directory(path, "manifest.json", "a data folder")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize("call", [1, 2])
def test_an_earlier_folder_is_never_lost_between_the_two_renames(
    tmp_path, monkeypatch, error, call
):
    target = tmp_path / "x"
    target.mkdir()
    (target / "earlier").write_text("")
    rename, calls = os.rename, []

    def stopped(a, b):
        calls.append(a)
        if len(calls) == call:
            raise error
        rename(a, b)

    monkeypatch.setattr(temporary, "exchange", lambda a, b: False)
    monkeypatch.setattr(os, "rename", stopped)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else TfscaleError):
        with atomic_directory(str(target)):
            pass
    assert names(tmp_path) == ["x"] and names(target) == ["earlier"]


def test_an_earlier_folder_comes_back_if_the_process_was_killed_between_the_renames(
    tmp_path, capsys
):
    killed_in(
        "from tfscale.files import temporary\nfrom tfscale.files.folders import atomic_directory\nos.mkdir('x')\n"
        "open('x/earlier', 'w').close()\ntemporary.exchange = lambda a, b: False\nrename = os.rename\n"
        "os.rename = lambda a, b: (rename(a, b), os.kill(os.getpid(), signal.SIGKILL))\n"
        "with atomic_directory('x'): pass",
        tmp_path,
    )
    assert not (tmp_path / "x").exists()
    claim_directory(str(tmp_path / "x"), "earlier", "ours")
    assert names(tmp_path) == ["x"] and names(tmp_path / "x") == ["earlier"]
    assert "x put back as it was" in capsys.readouterr().err


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG]
)
@pytest.mark.parametrize("call", ["makedirs", "open", "mkdir"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, number, call):
    def refused(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refused)
    for write in (atomic_directory, *([atomic_write] if call != "mkdir" else [])):
        with pytest.raises(
            TfscaleError, match=f"^cannot write {tmp_path}/d/x: {os.strerror(number)}$"
        ):
            with write(f"{tmp_path}/d/x"):
                pass


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="Linux's /proc")
@pytest.mark.parametrize("path", ["/proc/nope/d", "/dev/null/d"])
def test_a_parent_that_cannot_be_is_one_line(path):
    for write in (atomic_directory, atomic_write):
        with pytest.raises(TfscaleError, match=f"^cannot write {path}: "):
            with write(path):
                pass


def test_a_full_disk_inside_the_block_names_the_output(tmp_path):
    with pytest.raises(
        TfscaleError, match=f"^no space left while writing {tmp_path}/x; what was there before is"
    ):
        with atomic_directory(f"{tmp_path}/x"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(
        TfscaleError, match=f"^no space left while writing {tmp_path}/x/model.tflite; "
    ):
        with atomic_directory(f"{tmp_path}/x") as folder:
            raise write_error(f"{folder}/model.tflite", OSError(errno.ENOSPC, ""))
    with pytest.raises(FileNotFoundError):  # A mistake of the program's stays one.
        with atomic_directory(f"{tmp_path}/x"):
            open(tmp_path / "missing")
    assert names(tmp_path) == []


def test_a_folder_whose_marker_was_only_begun_is_as_good_as_empty(tmp_path):
    """A training that was killed there goes on; of two at once the lock names the other."""
    (tmp_path / RUN_LOCK).touch()
    (tmp_path / "config.yaml.tmp-1dd98051-9a4302e1").touch()
    claim_directory(str(tmp_path), "config.yaml", "a run folder")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="it has no config.yaml"):
        claim_directory(str(tmp_path), "config.yaml", "a run folder")
