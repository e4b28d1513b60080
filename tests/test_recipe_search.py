"""The recorded search: what a trial measures, what is run again, and which rows are put side by side."""

import json
import math

import pytest
from rich.console import Console

import tfscale
from benchmarks import loss_curves, recipe_search, recipe_table
from benchmarks.recipe_trial import Meter
from tfscale.errors import ConfigError

MODEL = {"sequence_length": 16, "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
TRAIN = {"steps": 8, "global_batch_size": 4, "validate_every": 4, "log_every": 2, "xla": "off"}


def test_the_first_call_counts_at_the_rate_of_the_others_and_validation_does_not_count():
    # Calls of 20, 20, 10 and 20 steps; the first compiles for 9 s. Validations take 100 s.
    times = iter([0.0, 13.0, 13.0, 17.0, 117.0, 119.0, 119.0, 123.0, 223.0])
    meter = Meter(every=40, last=70, validate=lambda: 2.5, clock=lambda: next(times))
    meter.on_train_begin()
    for step in (20, 40, 50, 70):
        meter.after(step)
    assert meter.losses == [(40, 2.5), (70, 2.5)]
    assert meter.calls == [(20, 13.0), (40, 4.0), (50, 2.0), (70, 4.0)]
    assert meter.seconds_per_step() == pytest.approx(0.2)
    assert meter.seconds_until(40) == pytest.approx(8.0)
    assert meter.seconds_until(70) == pytest.approx(14.0)


def row(losses, seconds, seed=0, failed=None, tokens=64, **model):
    """A row of validations every 10 steps, of one second each 10 steps unless said otherwise."""
    checks = [
        {"step": 10 * n, "loss": loss, "cpu_seconds": seconds * n}
        for n, loss in enumerate(losses, start=1)
    ]
    return {
        "corpus": "text",
        "data": {"digest": "d1"},
        "model": model,
        "train": {"steps": 20},
        "seed": seed,
        "checks": checks,
        "failed": failed,
        "parameters": 1234,
        "steps": 10 * len(losses),
        "tokens_per_step": tokens,
        "cpu_seconds": seconds * len(losses),
    }


def test_losses_after_tokens_and_after_a_time():
    one = row([3.0, 2.0, 1.5], 2.0)
    assert recipe_table.loss_after(one, 20 * 64) == 2.0
    assert math.isnan(recipe_table.loss_after(one, 15 * 64))
    assert recipe_table.loss_at_time(one, 3.0) == 2.5
    assert recipe_table.loss_at_time(one, 6.0) == 1.5
    assert math.isnan(recipe_table.loss_at_time(one, 1.9))
    assert math.isnan(recipe_table.loss_at_time(one, 6.1))
    assert recipe_table.common_tokens([one, row([3.0, 2.0], 1.0)]) == 20 * 64
    # Half as large a batch has as many tokens after twice as many steps.
    assert recipe_table.common_tokens([one, row([3.0, 2.0], 1.0, tokens=32)]) == 10 * 64
    assert recipe_table.cell([2.0, 2.5, 2.1]) == "2.2000 +- 0.2500"
    assert recipe_table.cell([2.0]) == "2.0000" and recipe_table.cell([2.0, math.nan]) == ""


def test_the_table_sorts_by_loss_after_as_many_tokens_and_as_much_time(capsys):
    # b is better after as many steps, and slower: a is better after as much time.
    rows = [
        row([3.0, 2.0], 1.0, num_heads=4),
        row([3.2, 2.2], 1.0, seed=1, num_heads=4),
        row([2.9, 1.9], 4.0, num_heads=2, activation="relu_squared"),
        row([9.0], 1.0, failed="the loss is nan", num_heads=1),
    ]
    recipe_table.show(rows, 0.0, Console(width=160))
    by_tokens, _, by_time = capsys.readouterr().out.partition("loss after 2.0 CPU s of steps")
    assert by_tokens.index("relu_squared, model.num_heads=2") < by_tokens.index("model.num_heads=4")
    assert "2.1000 +- 0.1000" in by_tokens and "1.9000" in by_tokens
    assert by_tokens.startswith("text (d1); all trials: train.steps=20")
    # All have 2 s, which is before the first validation of b.
    assert by_time.index("model.num_heads=4") < by_time.index("relu_squared")
    assert "2.1000 +- 0.1000" in by_time and "1.9000" not in by_time
    assert "1 of 4 trials failed" in by_time and "model.num_heads=1" not in by_tokens + by_time


def trials_file(folder, *trials):
    path = folder / "trials.jsonl"
    path.write_text("".join(f"{json.dumps(trial)}\n\n" for trial in trials))
    return str(path)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"corpus": "boook"}, "line 1: no corpus 'boook'; there are python-stdlib, book"),
        (
            {"corpus": "book", "modle": {}},
            "line 1: a trial has corpus, model, seed, train; received",
        ),
        ({"corpus": "book", "model": {"num_hedas": 2}}, "line 1: .*num_hedas"),
        ({"corpus": "book", "train": {"steps": 0}}, "line 1: train.steps=0 is out of range"),
        ({"corpus": "book", "train": {"seed": 1}}, "line 1: the seed is the trial's own"),
        (
            {"corpus": "book", "train": {"minutes": 3}},
            "line 1: the steps of so many minutes depend",
        ),
        ({"corpus": "book", "model": {"family": "rnm"}}, "line 1: no family 'rnm'; there are"),
    ],
)
def test_a_trial_that_cannot_run_is_named_before_any_does(tmp_path, trial, message):
    with pytest.raises(ConfigError, match=message):
        recipe_search.read_trials(trials_file(tmp_path, trial), ["python-stdlib", "book"])


@pytest.mark.slow
def test_two_trials_run_once_and_have_the_losses_of_the_command(tmp_path, capsys):
    words = "the quick brown fox jumps over the lazy dog and runs into a deep wood . \n"
    (tmp_path / "book.txt").write_text(words * 60)
    options = [{"query_key_norm": False}, {}]
    trials = [
        {"corpus": "book", "model": MODEL | changes, "train": TRAIN, "seed": [3]}
        for changes in options
    ]
    table = tmp_path / "table.jsonl"
    arguments = ["run", "--trials", trials_file(tmp_path, *trials), "--table", str(table)]
    arguments += ["--folder", str(tmp_path), "--characters", f"book={tmp_path / 'book.txt'}"]
    assert recipe_search.main(arguments) == 0
    first = capsys.readouterr()
    assert "2 trials, 2 to run" in first.err and "model.query_key_norm=False" in first.out
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert [row["model"] for row in rows] == [MODEL | changes for changes in options]
    for found in rows:
        assert found["failed"] is None and found["seed"] == 3 and found["steps"] == 8
        assert [check["step"] for check in found["checks"]] == [4, 8]
        assert 0 < found["checks"][0]["cpu_seconds"] < found["checks"][1]["cpu_seconds"]
        assert found["checks"][1]["cpu_seconds"] == found["cpu_seconds"]
        assert found["tokens_per_step"] == 64 and found["data"]["tokenizer"] == "char"
    # Query and key have a scale for each of the 8 numbers of a head.
    assert rows[1]["parameters"] == rows[0]["parameters"] + 16
    [data] = tmp_path.glob("book-char-*")
    train = tfscale.TrainConfig(**TRAIN, seed=3, strategy="single", tensorboard=False)
    run = tmp_path / "run"
    tfscale.train(tfscale.TransformerConfig(**MODEL), train, data=str(data), output=str(run))
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    losses = [line["val_loss"] for line in lines if "val_loss" in line]
    assert [check["loss"] for check in rows[1]["checks"]] == pytest.approx(losses, rel=1e-5)
    # A second call has nothing to do, and shows the same.
    capsys.readouterr()
    assert recipe_search.main(arguments) == 0
    again = capsys.readouterr()
    assert "2 trials, 0 to run" in again.err and len(table.read_text().splitlines()) == 2
    assert again.out == first.out


def test_a_curve_has_the_losses_of_all_seeds():
    model = {"positions": "learned", **loss_curves.SIZE}

    def trial(losses, **other):
        checks = [{"step": 10 * n, "loss": loss} for n, loss in enumerate(losses, 1)]
        return {"corpus": "kept", "model": model, "train": {"optimizer": "adamw"}} | {
            "checks": checks,
            **other,
        }

    one, two = trial([5, 4, 3, 2, 1]), trial([6, 5, 4, 3, 2])
    others = [
        trial([1] * 4),
        trial([1] * 5, corpus="other"),
        trial([1] * 5, model={**model, "hidden_dim": 256}),
        trial([1] * 5, train={"optimizer": "muon"}),
    ]
    wanted, _ = loss_curves.RECIPES["GPT-2's parts, AdamW"]
    found = loss_curves.of_recipe([one, *others, two], "kept", wanted)
    assert found == [one, two]
    steps, losses = loss_curves.curve(found)
    assert (steps.tolist(), losses.tolist()) == (
        [10, 20, 30, 40, 50],
        [[5, 4, 3, 2, 1], [6, 5, 4, 3, 2]],
    )
    with pytest.raises(ValueError, match="other steps"):
        loss_curves.curve([one, trial([1] * 6)])


def test_the_picture_has_a_curve_of_each_recipe_on_each_text(tmp_path):
    loss_curves.draw("benchmarks/curves.jsonl", str(tmp_path / "losses.svg"))
    drawn = (tmp_path / "losses.svg").read_text()
    lines = len(loss_curves.RECIPES) * len(loss_curves.TITLES)
    # Those of the legend are as thick.
    assert drawn.count("stroke-width: 2;") == lines + len(loss_curves.RECIPES)
    assert all(f">{name}<" in drawn for name in loss_curves.TITLES.values())
