"""The plan of packed rows: pieces, pools, stretches, and the figures that are said."""

import numpy as np
import pytest

from tests.data.packing.documented import documented_data, documents_of
from tests.data.packing.test_fitting import item_by_item
from tfscale.data.manifest import Manifest
from tfscale.data.packing import plan as planning
from tfscale.data.packing.pieces import document_lengths, piece_lengths
from tfscale.data.packing.plan import packed_plan
from tfscale.errors import DataError

LENGTHS = [5, 9, 1, 20, 3, 8, 8, 2]


@pytest.fixture
def data(tiny_data_dir, tmp_path):
    return documented_data(tiny_data_dir, tmp_path / "data", documents_of(LENGTHS), [7, 30, 19])


def test_documents_are_measured_over_the_borders_of_shards(data):
    assert document_lengths(data, Manifest.load(data), [0, 1, 2]).tolist() == LENGTHS


def test_pieces_by_hand():
    assert piece_lengths(np.array([3, 9, 4, 8, 1]), 4).tolist() == [3, 4, 4, 1, 4, 4, 4, 1]
    assert piece_lengths(np.array([], np.int64), 4).tolist() == []


def test_figures_by_hand(data):
    """In rows of 8: 5 9=8+1 1 20=8+8+4 3 8 8 2, which are 8 8 8 8 8, 5+3, 4+2+1+1: 7 rows."""
    plan = packed_plan(data, Manifest.load(data), 8, 1)
    assert plan.windows.per_epoch == [[7]] and plan.windows.steps == 7
    assert plan.to_dict() == {
        "documents": 8,
        "documents_cut": 2,
        "rows_per_epoch": 7,
        "fill_rate": 56 / 56,
    }
    assert plan.describe() == (
        "packing: 8 documents in 7 rows of 8 an epoch, 100.0% of them tokens; 2 longer than a row"
        " are cut"
    )
    plan = packed_plan(data, Manifest.load(data), 21, 2)
    # 20+1, 9+8+3, 8+5+2: of two groups, each with a stretch of the text, one has two rows.
    assert plan.windows.groups == 2
    assert sorted(plan.streams[0].rows) in ([1, 2], [2, 2])
    assert plan.rows_per_epoch == 4
    assert plan.fill_rate == 56 / (4 * 21)
    assert plan.describe().startswith("packing: 8 documents in 4 rows of 21 an epoch, 66.7%")
    assert "; none is cut" in plan.describe()
    assert plan.describe_groups(2).endswith(
        "rows of every batch; worker 0 reads 1; worker 1 reads 1"
    )


def test_a_batch_that_is_larger_than_the_data(data):
    with pytest.raises(DataError, match="global_batch_size=12 is larger.*packed into [78] rows"):
        packed_plan(data, Manifest.load(data), 8, 12)


def test_the_fill_rate_is_that_of_placing_item_by_item(tiny_data_dir, tmp_path):
    rng = np.random.default_rng(1)
    lengths = (1 + rng.exponential(30, 600)).astype(int).tolist()
    data = documented_data(tiny_data_dir, tmp_path / "data", documents_of(lengths), [sum(lengths)])
    plan = packed_plan(data, Manifest.load(data), 64, 1)
    rows = len(item_by_item(piece_lengths(np.array(lengths), 64).tolist(), 64))
    assert plan.rows_per_epoch == rows
    assert plan.fill_rate == sum(lengths) / (64 * rows)
    assert plan.fill_rate > 0.99


def test_stretches_have_as_many_rows(monkeypatch):
    """The first half of the text has documents of which two do not fit a row, the second none."""
    monkeypatch.setattr(planning, "POOL_TOKENS", 2_000)
    monkeypatch.setattr(planning, "_POOL_ROWS", 1)
    lengths = np.array([60] * 400 + [10] * 2_400, np.int32)
    stretches = planning._stretches(lengths, 100, 4)
    rows = [int(pools.rows.sum()) for pools in stretches]
    assert sum(rows) == pytest.approx(640, abs=8)
    assert max(rows) - min(rows) <= 8
    borders = np.concatenate([pools.borders[:-1] for pools in stretches])
    assert (np.diff(borders) > 0).all() and borders[0] == 0
    for pools in stretches:
        tokens = np.add.reduceat(lengths, pools.borders[:-1])[: len(pools.rows)]
        assert tokens[:-1].tolist() == np.diff(pools.first_token)[:-1].tolist()
        assert np.diff(pools.first_token).max() <= 2_000 + 60


def test_no_part_is_empty():
    sums = np.array([0, 100, 101, 102, 103, 104])
    assert planning._borders(sums, 4).tolist() == [0, 1, 2, 3, 5]
    assert planning._borders(np.array([0, 1, 2, 3, 4, 104]), 4).tolist() == [0, 2, 3, 4, 5]
    assert planning._borders(np.arange(9), 4).tolist() == [0, 2, 4, 6, 8]
