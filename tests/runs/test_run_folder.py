"""Which earlier state of a run folder is one of the same run."""

import copy
import json

import pytest
import yaml

from tfscale.config import LSTMConfig, TrainConfig, to_dict
from tfscale.errors import CheckpointError, ConfigError, DataError, TokenizerError
from tfscale.runs.folder import load_run, named
from tfscale.runs.same_run import check_checkpoint, check_same_run
from tfscale.tasks.model import load_task
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

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
    why = r" \(with train.schedule=cosine each step depends on their number; runs of constant,"
    for files, ending in (
        ((), f"or another --output{why}"),
        (("model.keras",), f"or another --output with --start {tmp_path} to train .* further{why}"),
    ):
        for name in files:
            (tmp_path / name).touch()
        with pytest.raises(
            ConfigError,
            match=f"begun with train.steps=1000, now it is 2000; give the same.*{ending}",
        ):
            check_same_run(str(tmp_path), later)


def test_a_run_of_another_length_is_the_same_where_its_schedule_allows_it(tmp_path):
    stable = copy.deepcopy(NOW)
    stable["train"]["schedule"] = "wsd"
    begun(tmp_path, train=stable["train"])
    for length in ({"steps": 2000}, {"steps": None, "epochs": 2.0}, {"minutes": 3.0}):
        longer = copy.deepcopy(stable)
        longer["train"] |= length
        assert check_same_run(str(tmp_path), longer)
        # The masks of a pruned run are chosen by step.
        with pytest.raises(ConfigError, match="pruning depends on the number of steps"):
            begun(tmp_path, train=stable["train"], prune={"sparsity": 0.5})
            check_same_run(str(tmp_path), longer | {"prune": {"sparsity": 0.5}})
        begun(tmp_path, train=stable["train"])
    assert not check_same_run(str(tmp_path), stable)
    long = stable["train"] | {"steps": 5000, "decay_steps": 1500}
    begun(tmp_path, train=long)
    assert check_same_run(str(tmp_path), stable | {"train": long | {"steps": 9000}})
    all_of_it = stable["train"] | {"decay_fraction": 1.0}
    begun(tmp_path, train=all_of_it)
    with pytest.raises(ConfigError, match="with train.schedule=wsd each step depends on their num"):
        check_same_run(str(tmp_path), stable | {"train": all_of_it | {"steps": 9000}})
    begun(tmp_path, train=stable["train"])
    # A thousand steps are what no length meant.
    assert not check_same_run(str(tmp_path), stable | {"train": stable["train"] | {"steps": 1000}})


@pytest.mark.parametrize("schedule", [["cosine"], None, "no such"], ids=repr)
def test_a_record_with_a_damaged_schedule_is_of_another_run(tmp_path, schedule):
    begun(tmp_path, train=NOW["train"] | {"schedule": schedule})
    with pytest.raises(ConfigError, match="was begun with train.schedule=.*, now it is 'cosine'"):
        check_same_run(str(tmp_path), NOW)


def test_what_an_earlier_version_wrote_down_without_effect_is_no_difference(tmp_path):
    constant = copy.deepcopy(NOW)
    constant["train"]["schedule"] = "constant"
    begun(tmp_path, train=constant["train"] | {"final_learning_rate_fraction": 0.1})
    assert not check_same_run(str(tmp_path), constant)
    begun(tmp_path, train=NOW["train"] | {"final_learning_rate_fraction": 0.1})
    assert not check_same_run(str(tmp_path), NOW)
    begun(tmp_path, train=NOW["train"] | {"final_learning_rate_fraction": 0.2})
    with pytest.raises(ConfigError, match="final_learning_rate_fraction=0.2, now it is 0.1; give"):
        check_same_run(str(tmp_path), NOW)


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


def test_what_makes_it_a_checkpoint_of_another_run():
    now = NOW | {"started_from": "x"}
    longer = copy.deepcopy(now)
    longer["train"] |= {"steps": 2000, "log_every": 7}
    for same in (now, longer, None, "damaged", {"model": 3}):
        check_checkpoint("c.npz", same, now)
    begun_with = {
        "other weights": {"started_from": "z"},
        "other data": {"data_digest": "b"},
        "train.clip_norm=9, this one": {"train": now["train"] | {"clip_norm": 9}},
        "prune.sparsity=0.5, this one": {"prune": {"sparsity": 0.5}},
    }
    for message, change in begun_with.items():
        with pytest.raises(CheckpointError, match=f"c.npz belongs to another run, with {message}"):
            check_checkpoint("c.npz", now | change, now)


HINT = "import the module that registers it, or give --plugins MODULE"


def test_a_family_that_is_not_registered_is_named_before_the_model_is_read(tmp_path):
    begun(tmp_path, model={"family": "gated_convolution", "hidden_dim": 8})
    (tmp_path / "model.keras").write_text("never read")
    with pytest.raises(CheckpointError) as error:
        load_run(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} was trained with the model family 'gated_convolution', which is not registered"
        f" here; {HINT}"
    )


def test_a_task_that_is_not_registered_is_named(tmp_path):
    ByteTokenizer().save(str(tmp_path / "tokenizer"))
    described = {"config": {"task": "sentiment"}, "labels": ["a", "b"], "sequence_length": 8}
    (tmp_path / "task.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError) as error:
        load_task(str(tmp_path))
    path = tmp_path / "task.json"
    assert str(error.value) == (
        f"{path} is of the task 'sentiment', which is not registered here; {HINT}"
    )


def test_a_tokenizer_that_is_not_registered_is_named(tmp_path):
    ByteTokenizer().save(str(tmp_path / "tokenizer"))
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kind": "nibble"}))
    with pytest.raises(TokenizerError, match="kind='nibble'; .* import the module that registers"):
        load_tokenizer(str(tmp_path))
