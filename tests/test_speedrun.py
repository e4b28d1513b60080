"""The games of `make speedrun`: what is run, and what the bounds say of it."""

import json
import time

import pytest

from benchmarks import speedrun
from benchmarks.recipe_search import configs


class Sides:
    """Stands in for the processes: a step of the other side takes 0.1 s, one of ours 0.2 s."""

    def __init__(self, loss):
        self.loss, self.given = loss, []

    def __call__(self, module, *arguments):
        if module == "corpus":
            return {}
        if module == "torch_side":
            return {"loss": 2.0, "seconds": 200.0, "ended": time.time() + 210}
        options = json.loads(arguments[0])
        self.given.append(options)
        steps = options["train"]["steps"]
        return {"loss": self.loss, "seconds": 0.2 * steps, "ended": time.time() + 0.2 * steps + 10}


def rows_of(monkeypatch, tmp_path, loss, steps):
    sides = Sides(loss)
    monkeypatch.setattr(speedrun, "measure", sides)
    game = speedrun.GAMES["characters"]
    changed = speedrun.Game(game.peer, game.model, game.batch_size, steps, 2.5, 1.8)
    monkeypatch.setitem(speedrun.GAMES, "characters", changed)
    return sides, list(speedrun.play("characters", "text.txt", tmp_path, [7]))


def test_ours_runs_once_for_the_loss_and_once_for_the_time(monkeypatch, tmp_path):
    sides, rows = rows_of(monkeypatch, tmp_path, loss=1.87, steps=400)
    assert [given["train"]["steps"] for given in sides.given] == [400, 1000]
    assert all(given["seed"] == 7 for given in sides.given)
    # 400 steps are 80 s: 200 / 80 = 2.5 times sooner; whole: 90 of 210 s.
    assert [row.ours for row in rows[:2]] == [1.87, pytest.approx(80)]
    assert rows[2].ours == pytest.approx(90, abs=1) and rows[2].peer == pytest.approx(210, abs=1)
    assert [row.ok for row in rows] == [True, True, True, True]


@pytest.mark.parametrize(
    ("loss", "steps", "ok"),
    [
        (1.89, 400, [True, True, True, False]),
        (2.01, 400, [False, True, True, False]),
        (1.87, 500, [True, False, True, True]),
        (1.87, 600, [True, False, False, True]),
    ],
)
def test_each_bound_can_be_missed(monkeypatch, tmp_path, loss, steps, ok):
    assert [row.ok for row in rows_of(monkeypatch, tmp_path, loss, steps)[1]] == ok


def test_the_training_to_beat_names_all_its_parts(monkeypatch, tmp_path):
    sides = Sides(2.0)
    monkeypatch.setattr(speedrun, "measure", sides)
    speedrun.theirs("pieces", "data", tmp_path, 0)
    (given,) = sides.given
    assert given["model"] == {**speedrun.PIECES, **speedrun.GPT2_PARTS}
    model, train = configs(given)
    assert (model.positions, model.normalization, model.activation) == ("learned", "layer", "gelu")
    assert (train.optimizer, train.learning_rate, train.steps) == ("adamw", 1e-3, 600)


def test_a_game_that_lacks_its_text_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        speedrun.main(["--game", "characters"])
    assert stopped.value.code == 2
    assert "needs --text FILE" in capsys.readouterr().err
