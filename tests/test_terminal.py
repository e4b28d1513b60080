"""Texts and names of other people's as they reach a terminal, and as they reach a file."""

import ast
import io
import os
import pty
from pathlib import Path

import pytest

import tfscale
from tfscale import terminal
from tfscale.exporting.readmes import table_text
from tfscale.terminal import visible
from tfscale.ui.tables import print_table

HOSTILE = "a\x1b]0;OWNED\x07\x1b[31mred\x9b2J\x7f\r\x00\tb\n"
SHOWN = "a\\u001b]0;OWNED\\u0007\\u001b[31mred\\u009b2J\\u007f\\u000d\\u0000\tb\n"


def test_control_characters_are_shown():
    assert visible(HOSTILE) == SHOWN
    assert visible("naïve 狐 \u2028 é\xa0") == "naïve 狐 \u2028 é\xa0"
    assert {c for c in map(chr, range(0x110000)) if visible(c) != c} == {
        chr(code) for code in (*range(32), *range(127, 160)) if code not in (9, 10)
    }


def test_a_terminal_gets_them_escaped_and_a_file_as_they_are():
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8", newline="") as stream:
        terminal.print(HOSTILE, "end", sep="", end="\x1b.", file=stream, flush=True)
        shown, expected = b"", (SHOWN + "end\x1b.").encode()
        while len(shown) < len(expected):  # It may come in parts.
            shown = (shown + os.read(ours, 1000)).replace(b"\r\n", b"\n")
        assert shown == expected
    os.close(ours)
    file = io.StringIO(newline="")
    terminal.print(HOSTILE, 1, file=file)
    assert file.getvalue() == HOSTILE + " 1\n"


@pytest.mark.parametrize(
    "text", ["[/b]", "[red]x", "lstm[big].yaml", "[b]", "[/", ":smile:", "\\[b]"]
)
def test_a_table_shows_square_brackets_as_text(capsys, text):
    print_table([text, "v"], [[text, "1"], ["plain", text]], title=text)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].rstrip() == text
    cells = [
        [cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
        for line in lines
        if text in line
    ]
    assert cells[1:] == [[text, "v"], [text, "1"], ["plain", text]]


@pytest.mark.parametrize(
    "label,cell",
    [
        ("neg|`x`", "neg&#124;&#96;x&#96;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("[a](http://b)\n*c*", "&#91;a&#93;(http://b) &#42;c&#42;"),
        ("\x1b[31mred", "&#92;u001b&#91;31mred"),
        ("good & 狐", "good &amp; 狐"),
    ],
)
def test_labels_are_text_in_the_table_of_a_readme(label, cell):
    assert table_text(label) == cell


def test_every_module_that_prints_prints_by_this():
    """But for the module itself, and two that print JSON into a pipe of ours."""
    package = Path(tfscale.__file__).parent
    missing = []
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        prints = any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        ours = any(
            node.module == "tfscale.terminal" and "print" in [n.name for n in node.names]
            for node in imports
        )
        if prints and not ours:
            missing.append(str(path.relative_to(package)))
    assert sorted(missing) == [
        "device/timing_process.py",
        "terminal.py",
        "workflows/tpu_check/compiler.py",
    ]
