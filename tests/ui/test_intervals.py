"""Pages of groups and pairs: what they hold, names that would break a page or a picture, and one from end to end."""

import json
import re

import pytest

from tests.exporting.exported import make_run
from tfscale import artifacts, cli
from tfscale.artifacts.run import RunArtifact
from tfscale.config import NNLMConfig
from tfscale.models import build_network
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.ui.intervals import interval_plot, write_slices


def test_a_picture_has_a_row_for_each_name():
    svg = interval_plot(
        [("<script>", 1.0, 0.5, 2.0), ("$a$ 中文", 2.0, 1.5, 2.5), ("x" * 60, 3.0, 3.0, 3.0)],
        "perplexity",
    )
    assert svg.startswith("<svg") and "<script" not in svg and "&lt;script&gt;" in svg
    assert (
        "$a$ 中文" in svg
        and "x" * 31 + "…" in svg
        and 'aria-label="Perplexity, with intervals"' in svg
    )
    assert svg == interval_plot(
        [("<script>", 1.0, 0.5, 2.0), ("$a$ 中文", 2.0, 1.5, 2.5), ("x" * 60, 3.0, 3.0, 3.0)],
        "perplexity",
    )


def test_a_page_of_groups_holds_every_figure(tmp_path):
    groups = {
        "<i>x": {"examples": 1234, "value": 0.75, "low": 0.5, "high": 0.875},
        "y": {"examples": 2, "value": 0.25, "low": 0.125, "high": 0.375},
    }
    gap = {"value": 0.5, "highest": "<i>x", "lowest": "y", "low": 0.25, "high": 0.625}
    result = {
        "metric": "accuracy",
        "confidence": 0.95,
        "groups": groups,
        "gap": gap,
        "equalized_odds": {"good": 0.0625},
    }
    write_slices(str(tmp_path / "a.html"), result)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    for figure in ("1,234", "0.75", "0.875", "0.125", "0.375", "0.625", "0.0625", "95% interval"):
        assert figure in page, figure
    assert "<i>" not in page and "&lt;i&gt;x is above y" in page and page.count("<svg") == 1
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!#)""", page.replace('xlink:href="#', "xlink:href='#")
    )
    result["gap"] |= {"value": 0.0, "lowest": "<i>x"}
    write_slices(str(tmp_path / "a.html"), result)
    assert "is above" not in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_evaluate_writes_its_groups(tmp_path, monkeypatch, capsys):
    network = build_network(
        NNLMConfig(
            vocabulary_size=257, sequence_length=8, context_tokens=2, embedding_dim=4, hidden_dim=4
        )
    )
    run = make_run(tmp_path / "run", network, ByteTokenizer())
    monkeypatch.setattr(artifacts, "open", lambda path, threads=1: RunArtifact(run))
    rows = [
        {"text": "ab", "who": "one"},
        {"text": "abc", "who": "two"},
        {"text": "a", "who": "two"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [
        "evaluate",
        "run",
        "--text",
        str(tmp_path / "a.jsonl"),
        "--output",
        str(tmp_path / "groups.html"),
    ]
    assert cli.main([*words, "--slice-by", "who"]) == 0
    assert "largest gap" in capsys.readouterr().out
    page = (tmp_path / "groups.html").read_text(encoding="utf-8")
    assert "Perplexity by group" in page and "Largest gap" in page and "<svg" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--output", "a.html"],
            "output='a.html' is a page of groups; name the field that they are the values of: slice_by",
        ),
        (
            ["--slice-by", "who", "--output", "a.txt"],
            "output a.txt is no HTML file; name one such as report.html",
        ),
    ],
    ids=["without_groups", "no_page"],
)
def test_a_page_that_cannot_be_is_refused_at_once(words, message, capsys):
    assert cli.main(["evaluate", "no/such/run", "--text", "a.jsonl", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
