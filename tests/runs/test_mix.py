"""A run of several sources: its length, what it says, and what it refuses."""

import pytest

from tfscale.config import LSTMConfig, TrainConfig
from tfscale.data.manifest import Manifest, Shard, SourceCounts, Split
from tfscale.errors import ConfigError
from tfscale.runs.reading import Reading

MIX = {"web": 0.6, "code": 0.4}


def reading(stateful=False, **options):
    """Windows of 10: 9 of each of two shards of code, 49 of each of four of web."""
    shards = [Shard(f"code{n}", 100, "", 1, "code") for n in range(2)]
    shards += [Shard(f"web{n}", 500, "", 1, "web") for n in range(4)]
    sources = {"code": SourceCounts(1, 200, 1), "web": SourceCounts(1, 2000, 1)}
    train = Split(2, 2200, 2, shards, 0, 0.0, sources)
    manifest = Manifest("byte", "", 257, 256, "uint16", {"train": train}, {}, {})
    model = LSTMConfig(vocabulary_size=257, sequence_length=10, stateful=stateful)
    return Reading("data", manifest, model, TrainConfig(global_batch_size=4, mix=MIX, **options))


def test_an_epoch_has_as_many_windows_as_all_sources():
    assert reading().epoch_steps == (2 * 9 + 4 * 49) // 4 == 53
    found = reading(epochs=2)
    assert found.config.total_steps == 106
    # 106 batches of 4: 169.6 windows of 18, and 254.4 of 196.
    assert found.mix_note == "mix: code 0.4 (9.4 passes), web 0.6 (1.3 passes)"
    assert reading(minutes=3).mix_note.startswith("mix: code 0.4 (a pass is 11 steps), web 0.6")


def test_the_plan_of_the_workers_counts_the_shards_of_all_sources():
    # Two shards of code make two groups, each of which reads one of them and two of web.
    assert reading().describe(2) == (
        "input: 6 shards in 2 groups, each of which fills 2 of the 4 rows of every batch; worker 0"
        " reads 3; worker 1 reads 3"
    )
    assert reading().describe(1) == ""


def test_a_carried_state_takes_no_mix():
    with pytest.raises(ConfigError, match="train.mix={.*}, but model.stateful=True carries its"):
        reading(stateful=True)


def test_weights_are_checked_with_the_options():
    with pytest.raises(ConfigError, match="train.mix.web=-1.0 is out of range; expected 0 or more"):
        TrainConfig(mix={"web": -1})
    with pytest.raises(
        ConfigError, match=r"train.mix: expected NAME=VALUE, once or more; received"
    ):
        TrainConfig(mix=["web=1"])
