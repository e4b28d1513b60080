"""Models of real size from a keras-hub preset to files on the device, within bounds of memory."""

import pytest

from benchmarks.real_size import SHAPES, commands, parameters, run

MOST_BYTES = 8e9
"""Of any step."""
IMPORT, EXPORT = 1.6, 3.0
"""Most memory above what the libraries take, in float32 weights."""


@pytest.mark.parametrize(
    "shape, count", [("gemma3-270m", 268_098_176), ("qwen3-0.6b", 596_049_920)]
)
def test_shapes_are_those_of_the_published_models(shape, count):
    """Tables, attention, feed-forward and norms of each layer, counted by hand."""
    assert parameters(shape) == count


def test_each_step_has_a_command_of_its_own(tmp_path):
    steps = commands(tmp_path)
    assert list(steps)[:3] == ["import", "prepare", "train 3 steps"]
    assert len({tuple(command) for command in steps.values()}) == len(steps) == 11
    assert set(SHAPES) == {"gemma3-270m", "qwen3-0.6b", "tiny"}


@pytest.mark.slow
def test_a_small_shape_goes_all_the_way(tmp_path, capsys):
    rows = run("tiny", tmp_path, [])
    assert list(rows) == ["libraries", *commands(tmp_path)]
    for name, row in rows.items():
        assert row["code"] == 0 and row["cpu_seconds"] > 0 and row["peak_bytes"] > 1e8
        assert ("stages" in row) == name.startswith("export")
    table = capsys.readouterr().out
    assert "| export int4, litertlm |" in table and "compare with Keras" in table


@pytest.mark.real_size
def test_gemma_3_270m(tmp_path):
    rows, weights = run("gemma3-270m", tmp_path, []), 4 * parameters("gemma3-270m")
    for name, row in rows.items():
        assert row["peak_bytes"] < MOST_BYTES, name
        above = (row["peak_bytes"] - rows["libraries"]["peak_bytes"]) / weights
        if name == "import":
            assert above <= IMPORT
        if name.startswith("export"):
            assert row["peak_bytes"] / weights <= EXPORT, name


@pytest.mark.real_size
def test_qwen_3_600m(tmp_path):
    """Without training, whose optimizer alone takes 9.5 GB."""
    steps = [name for name in commands(tmp_path) if not name.startswith("train")]
    rows, weights = run("qwen3-0.6b", tmp_path, steps), 4 * parameters("qwen3-0.6b")
    above = (rows["import"]["peak_bytes"] - rows["libraries"]["peak_bytes"]) / weights
    assert above <= IMPORT
    for name in rows:
        if name.startswith("export"):
            assert rows[name]["peak_bytes"] / weights <= EXPORT, name
