"""Packed rows: whole documents, each once an epoch, the same for every reader and every start."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.data.packing.documented import (
    END,
    START,
    batches,
    documented_data,
    documents_of,
    pieces_in,
    pieces_of,
    without_index,
)
from tfscale.data.manifest import Manifest
from tfscale.data.packing import plan as planning
from tfscale.data.packing.plan import packed_plan
from tfscale.data.pipeline import data_errors, training_dataset
from tfscale.errors import DataError

# Of each length some, an empty document (its end token alone), and three that are cut.
LENGTHS = [5, 16, 1, 40, 3, 9, 12, 7, 2, 33, 16, 8, 4, 6, 11, 10, 15, 70, 13, 1] * 4
DOCUMENTS = documents_of(LENGTHS)
BORDERS = [300, 1, 500, 0, sum(LENGTHS) - 801]
"""Shards, whose borders are within documents; one of them has none."""


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(planning, "POOL_TOKENS", 150)
    monkeypatch.setattr(planning, "_POOL_ROWS", 1)


@pytest.fixture(scope="module")
def data(tiny_data_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "data"
    return documented_data(tiny_data_dir, path, DOCUMENTS, BORDERS)


@pytest.fixture
def steps(data):
    return packed_plan(data, Manifest.load(data), 16, 4).windows.steps


def same(found, expected):
    return len(found) == len(expected) and all(
        np.array_equal(a, b)
        for one, other in zip(found, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_rows_by_hand(tiny_data_dir, tmp_path):
    """Documents of 4, 3, 1, 10, 2 and 1 tokens in rows of 8: 10 is cut into 8 and 2."""
    documents = [np.array(ids) for ids in (
        [1, 2, 3, END], [4, 5, END], [END], [10, 11, 12, 13, 14, 15, 16, 17, 18, END],
        [20, END], [END],
    )]  # fmt: skip
    data = documented_data(tiny_data_dir, tmp_path / "data", documents, [21])
    [(inputs, targets, weights)] = batches(
        data, 1, sequence_length=8, global_batch_size=3, shuffle_windows=1
    )
    assert targets.tolist() == [
        [1, 2, 3, END, 4, 5, END, END],
        [10, 11, 12, 13, 14, 15, 16, 17],
        [18, END, 20, END, END, END, END, END],
    ]
    # What is left over of a document begins with the token before it.
    assert inputs.tolist() == [
        [END, 1, 2, 3, END, 4, 5, END],
        [END, 10, 11, 12, 13, 14, 15, 16],
        [17, 18, END, 20, END, END, END, END],
    ]
    assert weights.tolist() == [[1] * 8, [1] * 8, [1] * 5 + [0] * 3]


@pytest.mark.parametrize("shuffle_windows", [1, 40, 65_536])
@pytest.mark.parametrize("batch", [1, 4, 10])
def test_an_epoch_has_every_document_once(data, batch, shuffle_windows):
    plan = packed_plan(data, Manifest.load(data), 16, batch)
    steps = plan.windows.steps
    options = {"global_batch_size": batch, "shuffle_windows": shuffle_windows}
    found = batches(data, 2 * steps, **options)
    expected = pieces_of(DOCUMENTS, 16)
    assert sum(expected.values()) == len(LENGTHS) + 4 * (2 + 2 + 4)
    epochs = found[:steps], found[steps:]
    for epoch in epochs:
        assert pieces_in(epoch) == expected
        assert sum(weights.sum() for _, _, weights in epoch) == sum(LENGTHS)
        assert sum(len(inputs) for inputs, _, _ in epoch) == plan.rows_per_epoch
    # Another epoch is in another order, unless the order is that of the text.
    assert same(*epochs) is (shuffle_windows == 1)


def test_a_start_token_of_its_own(tiny_data_dir, tmp_path):
    data = documented_data(
        tiny_data_dir, tmp_path / "data", DOCUMENTS, [sum(LENGTHS)], start_id=START
    )
    steps = packed_plan(data, Manifest.load(data), 16, 4).windows.steps
    found = batches(data, steps)
    assert pieces_in(found) == pieces_of(DOCUMENTS, 16, START)
    for inputs, targets, weights in found:
        assert (inputs[weights == 0] == START).all()
        assert (targets[weights == 0] == END).all()


@pytest.mark.parametrize("shuffle_windows", [1, 40, 65_536])
def test_a_start_within_an_epoch_gives_its_batches(data, tmp_path, steps, shuffle_windows):
    options = {"shuffle_windows": shuffle_windows}
    whole = batches(data, 2 * steps + 4, **options)
    slow = without_index(data, tmp_path / "slow")
    for start in (1, steps // 2, steps - 1, steps, steps + 3):
        for folder in (data, slow):
            found = batches(folder, 4, start_step=start, **options)
            assert same(found, whole[start : start + 4]), (start, folder)


@pytest.mark.parametrize("pipelines", [2, 4])
@pytest.mark.parametrize("start", [0, 7])
def test_pipelines_share_the_rows(data, pipelines, start):
    whole = batches(data, 5, start_step=start)
    parts = [
        batches(data, 5, start_step=start, num_input_pipelines=pipelines, input_pipeline_id=number)
        for number in range(pipelines)
    ]
    together = [
        tuple(np.concatenate(part) for part in zip(*of_step, strict=True))
        for of_step in zip(*parts, strict=True)
    ]
    assert same(together, whole)


def test_the_order_stays(data):
    """First targets of the rows of two batches; a run that was begun goes on in this order."""
    found = batches(data, 2)
    assert [targets[:, 0].tolist() for _, targets, _ in found] == [
        [128, 190, 29, 48],
        [138, 2, 34, 209],
    ]


def test_the_seed_decides(data, steps):
    assert same(batches(data, 3), batches(data, 3))
    assert not same(batches(data, 3), batches(data, 3, seed=4))
    assert pieces_in(batches(data, steps, seed=4)) == pieces_of(DOCUMENTS, 16)


def test_sources_have_their_shares_and_stay_apart(tiny_data_dir, tmp_path):
    """Documents of the second source have tokens above 100 alone; nothing is in a row of both."""
    web = [np.append(d[:-1] % 100, END) for d in documents_of(LENGTHS)]
    code = [np.append(d[:-1] % 100 + 100, END) for d in documents_of(LENGTHS[:20])]
    borders = [400, sum(LENGTHS) - 400, 100, sum(LENGTHS[:20]) - 100]
    data = documented_data(
        tiny_data_dir,
        tmp_path / "data",
        [*web, *code],
        borders,
        ["web", "web", "code", "code"],
    )
    mix = {"web": 0.6, "code": 0.4}
    plan = packed_plan(data, Manifest.load(data), 16, 4, mix)
    # The split as a whole would be the same: the sources are one after the other in it.
    [code_rows, web_rows] = [sum(rows) for rows in plan.windows.per_epoch]
    assert plan.rows_per_epoch == code_rows + web_rows and plan.empty_rows == 0
    expected = 0.4 * sum(LENGTHS[:20]) / (16 * code_rows) + 0.6 * sum(LENGTHS) / (16 * web_rows)
    assert plan.fill_rate == pytest.approx(expected)
    count = 20
    found = batches(data, count, mix=mix)
    of_code = 0
    for _, targets, weights in found:
        for row, real in zip(targets, weights > 0, strict=True):
            text = row[real & (row != END)]
            if len(text):
                assert len({bool(token >= 100) for token in text}) == 1
                of_code += int(text[0] >= 100)
    # A row of empty documents alone tells nothing.
    assert abs(of_code - 0.4 * 4 * count) <= 2
    later = batches(data, 6, mix=mix, start_step=14)
    assert same(later, found[14:])


def test_a_shard_that_is_damaged_later(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    folder = str(tmp_path / "data")
    dataset = training_dataset(
        folder, sequence_length=16, global_batch_size=4, seed=3, packing="best_fit"
    )
    path = os.path.join(folder, Manifest.load(folder).splits["train"].shards[2].file)
    with open(path, "r+b") as file:
        file.seek(30)
        file.write(bytes(60))
    with pytest.raises(DataError, match="the shard .*part2.* could not be read"), data_errors():
        list(dataset.take(40))


def test_a_text_that_ends_within_a_document(tiny_data_dir, tmp_path):
    documents = [*DOCUMENTS, np.array([3, 4])]
    data = documented_data(tiny_data_dir, tmp_path / "data", documents, [sum(LENGTHS) + 2])
    with pytest.raises(DataError, match="part0.* ends within a document, not by the end token 256"):
        batches(data, 1)


def test_a_manifest_of_another_length(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    train = manifest["splits"]["train"]
    train["tokens"] += 1
    train["shards"][0]["tokens"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="has fewer than the 301 tokens of the manifest"):
        packed_plan(str(tmp_path / "data"), Manifest.load(str(tmp_path / "data")), 16, 4)
