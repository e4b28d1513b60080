"""`make test-py313` says in one line why it cannot make its root, before it writes anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "py313.sh"


@pytest.mark.parametrize(
    "user, programs, message",
    [
        (1000, ["debootstrap", "git"], "needs the user root; this is somebody"),
        (0, ["git"], "needs debootstrap, which is not installed"),
        (0, ["debootstrap"], "needs git, which is not installed"),
        (
            0,
            ["debootstrap", "git", "unshare"],
            "needs unshare --mount, which this machine does not",
        ),
    ],
)
def test_what_is_missing_is_named(user, programs, message, tmp_path):
    tests, programs_folder = tmp_path / "tests", tmp_path / "bin"
    tests.mkdir()
    programs_folder.mkdir()
    script = shutil.copy(SCRIPT, tests)
    (programs_folder / "dirname").symlink_to(shutil.which("dirname"))
    answers = {"id": f'[ "$1" = -u ] && echo {user} || echo somebody'}
    for name in ["id", *programs]:
        (programs_folder / name).write_text(f"#!/bin/sh\n{answers.get(name, 'exit 1')}\n")
        (programs_folder / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", script], env={"PATH": str(programs_folder)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: make test-py313 ") and message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "tests"]
