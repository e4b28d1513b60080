"""Batches of several sources: which source each row is of, and the windows of each source."""

import os
import shutil

import numpy as np
import pytest

from tests.data.numbered import numbered_data
from tfscale.data import epochs
from tfscale.data.index import INDEX_FILE
from tfscale.data.manifest import Manifest
from tfscale.data.pipeline import steps_per_epoch, training_dataset
from tfscale.data.window_plan import window_plan
from tfscale.errors import ConfigError, DataError

LENGTHS = [260, 300, 280, 320, 900, 800, 1000, 950, 850]
SOURCES = ["code"] * 4 + ["web"] * 5
CODE_TOKENS = sum(LENGTHS[:4])
MIX = {"web": 0.7, "code": 0.3}


@pytest.fixture(scope="module")
def data(tiny_data_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "data"
    return numbered_data(
        tiny_data_dir, path, LENGTHS, sources=SOURCES, record_tokens=32, member_records=2
    )


def batches(data, count, **options):
    """Returns (steps, inputs and targets, rows, T)."""
    options = {"sequence_length": 20, "global_batch_size": 8, "seed": 3, "mix": MIX} | options
    return np.array(list(training_dataset(data, **options).take(count)))


def of_code(found):
    """Returns (steps, rows): whether each row is of the code, by its targets."""
    first, last = found[:, 1, :, 0], found[:, 1, :, -1]
    assert np.array_equal(last, first + 19)
    assert np.array_equal(first < CODE_TOKENS, last < CODE_TOKENS)
    return first < CODE_TOKENS


@pytest.fixture(scope="module")
def whole(data):
    return batches(data, 40)


def test_the_sources_of_the_rows_are_pinned(data, whole):
    # Four groups of two rows, for the code has four shards. Group g has code at its n-th window if
    # floor(0.3 (n + 1) + g / 4) > floor(0.3 n + g / 4).
    expected = [
        [
            int(np.floor(0.3 * (n + 1) + group / 4 + 1e-9) > np.floor(0.3 * n + group / 4 + 1e-9))
            for group in range(4)
            for n in (2 * step, 2 * step + 1)
        ]
        for step in range(40)
    ]
    assert of_code(whole).astype(int).tolist() == expected
    assert expected[:3] == [
        [0, 0, 0, 0, 0, 1, 1, 0],
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 0, 1, 0],
    ]


def test_each_source_has_its_share_up_to_every_batch(whole):
    taken = np.cumsum(of_code(whole).sum(1))
    assert np.abs(taken - 0.3 * 8 * np.arange(1, 41)).max() < 1


def test_each_window_of_a_source_comes_once_before_any_comes_again(data, whole):
    plan = window_plan(Manifest.load(data), 20, 8, MIX)
    # Windows of 20 tokens of the shards of code: 12, 14, 13 and 15; of web: 44, 39, 49, 46 and 41,
    # of which the first group has the first and the last.
    assert plan.per_epoch == [[12, 14, 13, 15], [44 + 41, 39, 49, 46]]
    code = of_code(whole)
    for group in range(4):
        rows = whole[:, 1, 2 * group : 2 * group + 2].reshape(-1, 20)[:, 0]
        of_group = code[:, 2 * group : 2 * group + 2].ravel()
        for chosen, count in ((of_group, plan.per_epoch[0]), (~of_group, plan.per_epoch[1])):
            first = rows[chosen]
            epoch = first[: count[group]]
            assert len(set(epoch)) == len(epoch)
        # The code is read again in the 40 batches, at another phase.
        again = rows[of_group][plan.per_epoch[0][group] :]
        assert 0 < len(again) and not set(again) & set(rows[of_group][: plan.per_epoch[0][group]])


@pytest.mark.parametrize("index", [True, False])
def test_a_run_that_goes_on_reads_what_a_straight_run_reads(
    data, whole, tmp_path, monkeypatch, index
):
    if index:
        monkeypatch.setattr(epochs, "READ_AND_DROPPED", 0)
    else:
        shutil.copytree(data, tmp_path / "data")
        os.remove(tmp_path / "data" / INDEX_FILE)
        data = str(tmp_path / "data")
    for start in (1, 33):
        assert np.array_equal(batches(data, 4, start_step=start), whole[start : start + 4])


@pytest.mark.parametrize(("pipelines", "number"), [(2, 1), (4, 2), (8, 5)])
def test_a_pipeline_gives_its_rows_of_the_batches(data, whole, pipelines, number):
    found = batches(data, 3, start_step=2, num_input_pipelines=pipelines, input_pipeline_id=number)
    rows = 8 // pipelines
    assert np.array_equal(found, whole[2:5, :, number * rows : (number + 1) * rows])


def test_other_weights_read_the_same_windows_of_a_source_at_other_places(data, whole):
    other = batches(data, 10, mix={"web": 0.2, "code": 0.8})
    for group in range(4):
        rows = slice(2 * group, 2 * group + 2)
        order = []
        for found in (whole, other):
            code = of_code(found)[:, rows].ravel()
            order.append(found[:, 1, rows].reshape(-1, 20)[code][:, 0])
        shorter = min(map(len, order))
        assert shorter > 4
        # The shuffle buffer depends on the share, but both hold all of the code.
        assert np.array_equal(order[0][:shorter], order[1][:shorter])


def test_a_source_of_weight_zero_is_not_read(data):
    assert not of_code(batches(data, 20, mix={"web": 1, "code": 0})).any()
    # Then five shards may be five groups, were the batch divisible by five.
    assert window_plan(Manifest.load(data), 20, 10, {"web": 1, "code": 0}).groups == 5


def test_without_a_mix_each_source_has_its_share_of_the_tokens(data):
    found = of_code(batches(data, 34, mix=None))
    # 1,160 of 5,660 tokens are code; 34 batches of 8 are an epoch.
    assert abs(found.sum() - 34 * 8 * 1160 / 5660) < 1
    assert steps_per_epoch(Manifest.load(data), 20, 8) == 34
    # As many windows as both have together, 54 and 219, whatever the mix.
    assert steps_per_epoch(Manifest.load(data), 20, 8, MIX) == (54 + 219) // 8 == 34


def test_the_line_that_says_how_often_each_source_is_read(data):
    plan = window_plan(Manifest.load(data), 20, 8, MIX)
    # In 100 batches of 8 there are 240 windows of 54, and 560 of 219.
    assert plan.describe_mix(100) == "mix: code 0.3 (4.4 passes), web 0.7 (2.6 passes)"
    assert plan.describe_mix(None) == (
        "mix: code 0.3 (a pass is 22 steps), web 0.7 (a pass is 39 steps)"
    )
    assert window_plan(Manifest.load(data), 20, 8).describe_mix(34) == (
        "mix: code 0.205 (1.0 passes), web 0.795 (1.0 passes)"
    )


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (
            {"web": 1, "books": 1},
            "train.mix names books, and the sources of the data are code, web",
        ),
        (
            {"web": 1},
            "train.mix has no weight for code, a source of the data; code=0 leaves it out",
        ),
        ({"web": -1, "code": 1}, "train.mix.web=-1.0 is out of range; expected 0 or more"),
    ],
)
def test_a_mix_that_does_not_fit_the_sources(data, mix, message):
    with pytest.raises(ConfigError, match=message):
        batches(data, 1, mix=mix)


def test_a_folder_without_sources(tiny_data_dir):
    with pytest.raises(ConfigError, match="train.mix names web, code, and the data folder was"):
        batches(tiny_data_dir, 1)


def test_a_source_that_is_too_small(data):
    message = (
        "sequence_length=140 is too long for the source code: .* part0-00000-of-00001.tfrecord.gz,"
        " has 260 tokens, which allow 130 at most"
    )
    with pytest.raises(DataError, match=message):
        batches(data, 1, sequence_length=140)
    assert batches(data, 1, sequence_length=130).shape == (1, 2, 8, 130)
    with pytest.raises(DataError, match="the sources code, web have 273 windows"):
        batches(data, 1, global_batch_size=512)
