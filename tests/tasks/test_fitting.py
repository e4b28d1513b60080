"""A fine-tuning that was stopped, at any place, ends as one that was not."""

import errno
import json
import os
import signal

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tfscale import cli
from tfscale.config import GRUConfig
from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, TfscaleError, TrainingError
from tfscale.files.run_lock import only_writer
from tfscale.models import build_network
from tfscale.tasks import fitting
from tfscale.tasks.finetune import finetune
from tfscale.tasks.model import load_task
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.training import loss_scale


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run, examples, and what an unbroken fine-tuning makes of them: 4 passes of 5 steps."""
    folder = tmp_path_factory.mktemp("fitting")
    config = GRUConfig(
        vocabulary_size=257, sequence_length=16, embedding_dim=8, hidden_dim=8, tie_embeddings=True
    )
    run = make_run(folder, build_network(config), ByteTokenizer())
    rng = np.random.default_rng(1)
    rows = [
        {"text": f"a {word} {i}", "label": word}
        for i, word in enumerate(rng.choice(["fine", "dull"], 24))
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:18]))
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[18:]))
    return folder, run, figures(folder, "unbroken", finetune(run, options(folder, "unbroken")))


def options(folder, output, **changed):
    given = {
        "task": "classify",
        "train": [str(folder / "train.jsonl")],
        "validation": [str(folder / "validation.jsonl")],
        "output": str(folder / output),
        "epochs": 4,
        "patience": 4,
        "global_batch_size": 4,
        "strategy": "single",
        "learning_rate": 3e-2,
    }
    return TaskConfig(**given | changed)


def figures(folder, output, summary):
    weights = [np.array(value) for value in load_task(str(folder / output)).network.get_weights()]
    return {
        name: value for name, value in summary.items() if name not in ("seconds", "output")
    }, weights


def assert_same(found, expected):
    assert found[0] == expected[0]
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_fine_tuning_that_was_stopped_goes_on_bit_for_bit(begun, monkeypatch):
    """Step 5 is the last of a pass, which is validated first; 13 is in the middle of one."""
    stops = [5, 13]
    folder, run, expected = begun
    monkeypatch.setattr(fitting, "STEPS_PER_CALL", 1)
    output = "stopped"
    left = list(stops)
    save = fitting._Keeper.on_train_batch_end

    def stopping(self, batch, logs=None):
        if left and self.step == left[0]:
            left.pop(0)
            os.kill(os.getpid(), signal.SIGHUP if len(left) == 1 else signal.SIGTERM)
        save(self, batch, logs)

    monkeypatch.setattr(fitting._Keeper, "on_train_batch_end", stopping)
    for step in stops:
        notes = []
        summary = finetune(run, options(folder, output), notes.append)
        assert summary["interrupted"] in ("SIGTERM", "SIGHUP") and summary["steps"] == step
        assert not (folder / output).exists()
    summary = finetune(run, options(folder, output), notes.append)
    assert f"going on at step {stops[-1]} of 20" in notes
    assert_same(figures(folder, output, summary), expected)
    assert not (folder / f"{output}.unfinished").exists()


def test_another_process_at_the_same_output_is_told(begun):
    folder, run, _ = begun
    with only_writer(str(folder / "twice.unfinished")):
        with pytest.raises(
            ConfigError, match=f"twice.unfinished is being written by process {os.getpid()} on "
        ):
            finetune(run, options(folder, "twice"))


@pytest.mark.parametrize(
    "earlier,anew", [({"options": 1}, False), ({"options": 2}, True), (None, True)]
)
def test_a_state_of_other_options_is_given_up(tmp_path, earlier, anew):
    (tmp_path / "begun.json").write_text("{" if earlier is None else json.dumps(earlier))
    (tmp_path / "checkpoints").mkdir()
    notes = []
    fitting._begin(str(tmp_path), {"options": 1}, notes.append)
    assert (tmp_path / "checkpoints").exists() != anew and len(notes) == anew
    assert json.loads((tmp_path / "begun.json").read_text()) == {"options": 1}


def test_a_full_disk_is_found_before_the_first_step(begun, monkeypatch):
    folder, run, _ = begun

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    notes = []
    with pytest.raises(
        TfscaleError,
        match="no space left while writing .*full.unfinished/checkpoints/step-00000000",
    ):
        finetune(run, options(folder, "full"), notes.append)
    assert not any(note.startswith("pass") for note in notes)


def test_the_command_ends_with_75_where_a_signal_stopped_it(begun, monkeypatch, capsys):
    folder, run, _ = begun
    stopped = {"interrupted": "SIGTERM", "steps": 7, "task": "classify", "output": "x"}
    monkeypatch.setattr("tfscale.tasks.finetune.finetune", lambda *_: stopped)
    words = [
        "finetune",
        str(folder / "run"),
        "--task",
        "classify",
        "--train",
        "t.csv",
        "--output",
        str(folder / "x"),
    ]
    assert cli.main(words) == 75
    assert (
        capsys.readouterr().out
        == "stopped by SIGTERM at step 7; the same command goes on from there\n"
    )


@pytest.mark.slow
def test_a_fine_tuning_that_has_diverged_in_its_last_step_is_refused(begun):
    """No later step shows it: the labels of weights without a loss had a score like any other."""
    folder, run, _ = begun
    changed = {"learning_rate": 1e30, "epochs": 1, "global_batch_size": 18}
    with pytest.raises(TrainingError, match="the validation loss after step 1 is nan"):
        finetune(run, options(folder, "diverged", **changed))
    assert not (folder / "diverged").exists()


@pytest.mark.slow
def test_a_pass_whose_steps_all_overflow_has_no_loss_to_say(begun, monkeypatch):
    folder, run, _ = begun
    monkeypatch.setattr(loss_scale, "FIRST_SCALE", 2.0**60)
    notes = []
    changed = {"epochs": 1, "global_batch_size": 18, "precision": "mixed_float16"}
    finetune(run, options(folder, "overflown", **changed), notes.append)
    assert any(note.startswith("pass 1: no loss, validation loss ") for note in notes)
