"""SIGTERM and SIGHUP leave a command as Ctrl-C does."""

import os
import signal

import pytest

from tfscale import cli
from tfscale.errors import TokenizerError
from tfscale.files.folders import atomic_directory
from tfscale.launching.interruption import (
    StopRequest,
    Terminated,
    left_by_signals,
    signals_wait,
)
from tfscale.text.tokenizers import train_tokenizer


@pytest.fixture(autouse=True)
def python_is_told():
    """Installs Python's handler of Ctrl-C again: a library that another test loaded may have replaced it in C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    "number,code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_command_that_is_ended_leaves_nothing(tmp_path, monkeypatch, capsys, number, code):
    def run(words):
        with atomic_directory(str(tmp_path / "data")):
            os.kill(os.getpid(), number)
            raise AssertionError("goes on")

    monkeypatch.setattr(cli, "execute", run)
    before = signal.getsignal(number)
    assert cli.main(["prepare"]) == code
    assert os.listdir(tmp_path) == [] and signal.getsignal(number) == before
    said = {130: "interrupted", 143: "ended by SIGTERM", 129: "ended by SIGHUP"}
    assert capsys.readouterr().err == f"{said[code]}\n"


def test_a_second_signal_does_not_stop_the_cleaning_up():
    with pytest.raises(Terminated), left_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "number, error", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_signals_wait_for_the_end_of_a_block(number, error):
    done = []
    with pytest.raises(error), left_by_signals(), signals_wait():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append(1)
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_hangup_that_is_ignored_stays_ignored():
    """As `nohup` has it."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with left_by_signals(), StopRequest(pytest.fail):
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, earlier) == signal.SIG_IGN


def test_a_request_to_stop_is_noted_once_and_the_second_one_is_obeyed():
    notes = []
    with pytest.raises(KeyboardInterrupt), StopRequest(notes.append) as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal == "SIGINT" and len(notes) == 1
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("goes on")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), Terminated(signal.SIGTERM), OSError("no such disk")]
)
def test_what_ends_the_training_of_sentencepiece_is_no_error_of_its_own(error):
    def documents():
        yield "to be or not to be " * 50
        raise error

    with pytest.raises(type(error)):
        train_tokenizer("sentencepiece", documents(), 280)


def test_an_error_of_sentencepiece_is_one():
    with pytest.raises(
        TokenizerError, match="vocabulary_size=9000 is larger than the text supports"
    ):
        train_tokenizer("sentencepiece", ["to be or not to be"], 9000)
