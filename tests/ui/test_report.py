"""The HTML report: numbers, escaping, nothing loaded from elsewhere."""

import re

import pytest

from tfscale.files.paths import read_json_lines
from tfscale.ui.rendering import format_cell
from tfscale.ui.report import loss_curve, render_report

HISTORY = [
    {"step": 20, "loss": 5.0},
    {"step": 40, "loss": 4.0},
    {"step": 40, "val_loss": 4.25, "val_tokens": 100},
]
CHECKS = [
    {"name": "top1_agreement", "value": 0.71, "rule": ">=", "limit": 0.9, "passed": False},
    {"name": "size_bytes", "value": 5_580_800, "rule": "<=", "limit": 6_000_000, "passed": True},
    {"name": "mean_difference", "value": 3.2e-7, "rule": "<=", "limit": None, "passed": True},
]


def render(path, **options):
    tables = options.pop(
        "tables", [("Result", ("stage", "seconds"), [("train", 301.224), ("gzip", None)])]
    )
    render_report(str(path), options.pop("title", "A run"), tables, **options)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "value, shown",
    [
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        (21_299_476, "21,299,476"),
        (0, "0"),
        (0.25, "0.25"),
        (1234.5, "1,234"),
        (1.23456789, "1.235"),
        (0.000123456, "0.0001235"),
        (1e20, "1e+20"),
        ("5 KB", "5 KB"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_cells(value, shown):
    assert format_cell(value) == shown


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = render(tmp_path / "report.html", history=HISTORY, samples=[("a", "b")], checks=CHECKS)
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!#)""", page.replace('xlink:href="#', "xlink:href='#")
    )
    assert "<script" not in page and "@import" not in page and "url(http" not in page
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page


def test_text_is_escaped(tmp_path):
    page = render(
        tmp_path / "report.html",
        title="a < b",
        tables=[("T&T", ("", ""), [("<i>", "<script>x</script>")])],
        samples=[("<b>given", "</pre>written")],
        checks=[{**CHECKS[0], "name": "<img>"}],
    )
    for raw in ("<i>", "<script>", "<b>given", "</pre>written", "<img>", "a < b"):
        assert raw not in page
    assert "&lt;b&gt;given" in page and "a &lt; b" in page and "T&amp;T" in page


def test_columns_of_numbers_are_aligned_right(tmp_path):
    page = render(tmp_path / "report.html")
    assert '<th class="number">seconds</th>' in page and "<th>stage</th>" in page
    assert '<td class="number">301.2</td>' in page and '<td class="number">–</td>' in page


def test_checks_are_counted_and_marked(tmp_path):
    page = render(tmp_path / "report.html", checks=CHECKS)
    assert "Checks: 1 of 2 failed" in page
    assert "≥ 0.9" in page and "≤ 6,000,000" in page
    assert (page.count("✗"), page.count("✓"), page.count(">measured<")) == (1, 1, 1)
    assert "Checks: all 1 passed" in render(tmp_path / "report.html", checks=CHECKS[1:])


def test_parts_without_content_are_left_out(tmp_path):
    page = render(tmp_path / "report.html")
    assert "<svg" not in page and "Samples" not in page and "Checks" not in page


def test_curve_names_each_series_and_follows_the_page_colours():
    curve = loss_curve(HISTORY)
    assert (
        curve.startswith("<svg") and "optimizer step" in curve and "loss (nats per token)" in curve
    )
    assert "var(--first)" in curve and "var(--second)" in curve
    assert "#404040" not in curve and not re.search(r"<svg[^>]*\s(width|height)=", curve)
    assert "var(--second)" not in loss_curve(HISTORY[:2])
    assert loss_curve([]) == "" and loss_curve([{"step": 1, "loss": float("nan")}]) == ""


def test_same_history_gives_the_same_bytes():
    assert loss_curve(HISTORY) == loss_curve(HISTORY)


def test_report_is_the_same_file_each_time(tmp_path):
    options = {"history": HISTORY, "samples": [("a", "b")], "checks": CHECKS}
    assert render(tmp_path / "one.html", **options) == render(tmp_path / "two.html", **options)


def test_history_is_read_line_by_line(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_json_lines(str(path)) == []
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    assert read_json_lines(str(path)) == [{"step": 1, "loss": 2.5}]
    path.write_text('{"step": 1}\n{"step": 2}')
    assert read_json_lines(str(path)) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": ',
        b"\xff",
        b"[" * 100_000,
        b'{"loss": 1.0}',
        b'{"step": "2"}',
        b'{"step": 2, "loss": "x"}',
        b"[]",
    ],
)
def test_a_damaged_line_of_a_log_is_left_out(tmp_path, line):
    path, notes = tmp_path / "history.jsonl", []
    path.write_bytes(b'{"step": 1, "loss": null}\n' + line + b'\n{"step": 3}\n')
    assert read_json_lines(str(path), notes.append) == [{"step": 1, "loss": None}, {"step": 3}]
    assert notes == [f"{path}: 1 damaged line left out"]
