import io

import pytest

from tfscale.ui import progress
from tfscale.ui.progress import TextProgress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_a_line_every_few_seconds_where_there_is_no_terminal(clock, capsys):
    with TextProgress("tokenizing", total=4_000_000) as bar:
        bar.add(documents=1, tokens=100, size=500_000)
        assert capsys.readouterr().err == ""
        clock.now += 10
        bar.add(documents=2, tokens=900, size=500_000)
        assert (
            capsys.readouterr().err
            == "tokenizing: 25 %, 3 documents, 1.0 MB, 100 tokens/s, 0:30 left\n"
        )
        clock.now += 1
        bar.add(size=1_000_000)
        assert capsys.readouterr().err == ""
        clock.now += 3709
        bar.add(size=2_000_000)
    last = "tokenizing: 3 documents, 4.0 MB, 0 tokens/s, 1:02:00\n"
    assert capsys.readouterr().err == last + last


def test_nothing_is_shown_where_it_is_switched_off_or_fails(clock, capsys):
    with TextProgress("reading", enabled=False) as bar:
        clock.now += 10
        bar.add(documents=1)
    with pytest.raises(KeyError), TextProgress("reading"):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with TextProgress("tokenizing", total=1000) as bar:
        bar.add(documents=7, tokens=5, size=1000)
    assert "tokenizing" in terminal.getvalue()
    assert "7 documents" in terminal.getvalue()
