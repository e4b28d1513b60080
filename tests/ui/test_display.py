"""The lines that a person reads at the end of a command."""

import pytest

from tfscale.commands import benchmark, explain, export
from tfscale.ui.tables import with_unit


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("first_token_seconds", 0.00119, ("first token", "1.19 ms")),
        ("first_token_seconds", 2.5, ("first token", "2.5 s")),
        ("load_seconds", 2e-8, ("load", "0.02 us")),
        ("bandwidth_bytes_per_second", 82_539_380_134.0, ("bandwidth", "82.54 GB/s")),
        ("file_bytes", 1_220_000, ("file", "1.22 MB")),
        ("bytes_per_token", 12, ("bytes per token", "12")),
        ("peak_rss_bytes", None, ("peak rss bytes", "-")),
        ("decode_tokens_per_second", 1234.5, ("decode tokens per second", "1,234")),
    ],
)
def test_figures_have_units(name, value, shown):
    assert with_unit(name, value) == shown


def test_benchmark_shows_units(capsys):
    one = {"threads": 1, "first_token_seconds": 0.002}
    benchmark.show(
        {
            **one,
            "file_bytes": 2_000_000,
            "by_threads": [one, {"threads": 2, "first_token_seconds": 0.001}],
        }
    )
    out = capsys.readouterr().out
    assert "first token  2 ms" in out and "file         2 MB" in out and "1 ms" in out


@pytest.mark.parametrize(
    ("perplexity", "line"),
    [
        (
            {"keras": 22.1, "keras_rounded": 22.11, "file": 22.12},
            "perplexity 22.1 before, 22.12 in the file",
        ),
        ({"model": 5.0, "file": 5.5}, "perplexity 5 before, 5.5 in the file"),
    ],
)
def test_export_ends_with_place_size_and_perplexity(perplexity, line, capsys):
    checks = [
        {"name": "top1_agreement", "value": 0.99, "rule": ">=", "limit": 0.9, "passed": True},
        {"name": "greedy_tokens_equal", "value": 30, "rule": "==", "limit": None, "passed": True},
    ]
    export.show(
        {
            "checks": checks,
            "sizes": {"file_bytes": 1_220_000},
            "perplexity": perplexity,
            "output": "e",
        }
    )
    out = capsys.readouterr().out.splitlines()
    assert out[-2:] == ["e: 1.22 MB; README.md in it says how to run it", line]
    assert [row.split()[-2] for row in out if "_" in row] == ["yes", "measured"]


def test_bars_go_to_both_sides_of_one_line(capsys):
    parts = [
        {"text": "fine", "weight": 2.0},
        {"text": "not", "weight": -1.0},
        {"text": "a", "weight": 0.0},
    ]
    explain.show(
        {"method": "lime", "label": "good", "parts": parts, "probability": 0.7, "fit": 0.9}
    )
    rows = [row for row in capsys.readouterr().out.splitlines() if "'" in row]
    bars = [row.split("│")[3].strip() for row in rows]
    assert bars == ["|++++++++++++", "------|", "|"]
    assert len({row.index("|") for row in rows}) == 1
