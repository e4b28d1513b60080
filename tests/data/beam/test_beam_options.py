"""Options of Beam, and what is refused in one line before anything is read."""

import subprocess
import sys

import pytest

import tfscale
from tests.docs import collect
from tfscale import cli
from tfscale.commands.table import COMMANDS
from tfscale.data.beam.options import beam_options, runner_of
from tfscale.errors import ConfigError


def parsed(*words):
    given = ["--text", "a", "--output", "b", "--engine", "beam", *words]
    return dict(COMMANDS["prepare"].parse(given).beam)


def test_words_of_the_command_line():
    words = "--beam.runner FlinkRunner --beam.direct-num-workers=2 --beam.experiments a b".split()
    words += ["--beam.save_main_session", "--beam", "region=x"]
    assert parsed(*words) == {
        "runner": "FlinkRunner",
        "direct-num-workers": "2",
        "experiments": ["a", "b"],
        "save_main_session": "true",
        "region": "x",
    }


def test_options_reach_beam():
    given = {"direct-num-workers": 2, "save_main_session": True, "experiments": ["a", "b"]}
    options = beam_options(given).get_all_options()
    assert options["direct_num_workers"] == 2
    assert options["save_main_session"] is True
    assert options["experiments"] == ["a", "b"]
    assert beam_options({"use_public_ips": "false"}).get_all_options()["use_public_ips"] is False


@pytest.mark.parametrize(
    ("beam", "message"),
    [
        ({"runer": "x"}, "no option 'runer'; did you mean beam.runner"),
        ({"wholly_unknown": "x"}, "no option 'wholly_unknown'"),
        ({"direct_num_workers": "two"}, "direct_num_workers: invalid int value: 'two'"),
        ({"save_main_session": "maybe"}, "expected true or false; received 'maybe'"),
        ({"region": ["a", "b"]}, "beam.region takes one value; received a b"),
        ({"streaming": True}, "beam.streaming is for pipelines that nobody waits for"),
        ({"runner": "FlinkRuner"}, "no runner 'FlinkRuner'; did you mean FlinkRunner"),
        ({"runner": "PortableRunner"}, "needs the address of a job service"),
        ({"runner": "no.such.Runner"}, "beam.runner='no.such.Runner' is not installed"),
    ],
)
def test_what_is_refused(beam, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as error:
        tfscale.prepare(text="missing", output=str(tmp_path / "data"), engine="beam", beam=beam)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_texts_and_options_without_the_engine_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="texts of a Python program"):
        tfscale.prepare(texts=["a"], output=str(tmp_path / "data"), engine="beam")
    with pytest.raises(ConfigError, match="is for --engine beam"):
        tfscale.PrepareConfig(text=["a"], output="b", beam={"runner": "DirectRunner"})


def test_a_missing_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ["prepare", "--text", "a", "--output", str(tmp_path / "b"), "--engine", "beam"]
    assert cli.main(words) == 2
    assert "pip install 'tfscale[beam]'" in capsys.readouterr().err


def test_help_does_not_import_beam():
    code = "import sys\nfrom tfscale import cli\ntry:\n    cli.main(['prepare', '--help-all'])\n"
    code += "except SystemExit:\n    pass\nassert 'apache_beam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_the_command_lines_of_the_docs():
    """Beam's own parser takes the options of every cluster; only Dataflow's package is not there."""
    seen = []
    for page in ("docs/data.md", "docs/clusters.md"):
        for block in collect.blocks(page, "sh"):
            for words in collect.commands(block):
                if "beam" in words:
                    options = beam_options(COMMANDS["prepare"].parse(words[2:]).beam)
                    seen.append(options.get_all_options()["runner"])
                    if seen[-1] != "DataflowRunner":
                        runner_of(options)
    assert seen == [None, "FlinkRunner", "SparkRunner", "DataflowRunner", "PortableRunner"]
