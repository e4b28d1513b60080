import io

import pytest

from tfscale.ui import progress
from tfscale.ui.progress import ProgressLine, TextProgress


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


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with TextProgress("tokenizing", total=1000) as bar:
        bar.add(documents=7, tokens=5, size=1000)
    assert "tokenizing" in terminal.getvalue()
    assert "7 documents" in terminal.getvalue()


def test_a_stage_is_said_at_once_and_its_seconds_with_the_first_units(clock, capsys):
    with ProgressLine("train", 100) as line:
        line.stage("compiling")
        assert capsys.readouterr().err == "train: compiling ...\n"
        clock.now += 7
        line.update(20, "loss 3")
        assert capsys.readouterr().err == (
            "train: compiling and the first 20: 7 s\ntrain: 20 of 100, loss 3\n"
        )
        clock.now += 9
        line.update(35, "loss 2.5")
        assert capsys.readouterr().err == ""
        clock.now += 3
        line.update(40, "loss 2")
        # 60 are left, at 12 s for 20: the first ones, and what was before them, do not count.
        assert capsys.readouterr().err == "train: 40 of 100, loss 2, ETA 0:36\n"


def test_the_seconds_of_a_stage_go_on_beside_the_bar(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with ProgressLine("train", 100) as line:
        line.stage("compiling")
        clock.now += 5
        line._live.refresh()
        assert "compiling: 5 s" in terminal.getvalue()
        line.update(20, "loss 3")
    assert terminal.getvalue().count("train: compiling") == 1 and "loss 3" in terminal.getvalue()


def test_a_line_that_is_switched_off_says_no_stage(capsys):
    with ProgressLine("train", 100, enabled=False) as line:
        line.stage("compiling")
        line.update(20)
    assert capsys.readouterr().err == ""
