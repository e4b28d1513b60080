"""Which earlier state of a run folder is one of the same run."""

import copy

import pytest
import yaml

from tfscale.config import LSTMConfig, TrainConfig, to_dict
from tfscale.errors import ConfigError, DataError
from tfscale.runs.folder import check_same_run, named

NOW = {
    "model": named(LSTMConfig(vocabulary_size=9)),
    "train": to_dict(TrainConfig()),
    "data": "d",
    "data_digest": "a",
    "tokenizer_digest": "t",
}


def begun(folder, **changes):
    described = copy.deepcopy(NOW) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(described))
    return described


def test_options_that_came_later_had_their_default(tmp_path):
    earlier = begun(tmp_path)
    for section, name in (("model", "output_rank"), ("train", "remat"), ("train", "ema_decay")):
        del earlier[section][name]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
    check_same_run(str(tmp_path), NOW)
    compressed = NOW | {"quantize": {"recipe": "none"}, "prune": {}, "shrink": {"by": "magnitude"}}
    check_same_run(str(tmp_path), compressed)
    later = copy.deepcopy(NOW)
    later["train"]["ema_decay"] = 0.9
    with pytest.raises(ConfigError, match="was begun with train.ema_decay=0.0, now it is 0.9"):
        check_same_run(str(tmp_path), later)
    with pytest.raises(
        ConfigError, match="was begun with quantize.recipe='none', now it is 'int4'"
    ):
        check_same_run(str(tmp_path), NOW | {"quantize": {"recipe": "int4"}})


def test_a_finished_run_is_trained_further_by_start(tmp_path):
    begun(tmp_path)
    later = copy.deepcopy(NOW)
    later["train"]["steps"] = 2000
    for files, ending in (
        ((), ", or another --output$"),
        (("model.keras",), f"another --output with --start {tmp_path}"),
    ):
        for name in files:
            (tmp_path / name).touch()
        with pytest.raises(
            ConfigError,
            match=f"begun with train.steps=1000, now it is 2000; give the same.*{ending}",
        ):
            check_same_run(str(tmp_path), later)


def test_what_makes_it_another_run(tmp_path):
    begun(tmp_path, started_from="x", teacher_digest="y")
    with pytest.raises(ConfigError, match="was begun with other weights;"):
        check_same_run(str(tmp_path), NOW | {"teacher_digest": "y"})
    with pytest.raises(ConfigError, match="was begun with other weights of the teacher"):
        check_same_run(str(tmp_path), NOW | {"started_from": "x", "teacher_digest": "z"})
    with pytest.raises(DataError, match="was begun on other data"):
        check_same_run(
            str(tmp_path), NOW | {"started_from": "x", "teacher_digest": "y", "data_digest": "b"}
        )
    moved = copy.deepcopy(NOW) | {"started_from": "x", "teacher_digest": "y"}
    moved["distill"] = {"teacher": "elsewhere"}
    moved["train"]["log_every"] = 7
    check_same_run(str(tmp_path), moved)
