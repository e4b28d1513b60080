"""How long a training is and what its schedule reads: checked before anything is done."""

import pytest

from tfscale import cli
from tfscale.commands import train
from tfscale.config import TrainConfig
from tfscale.errors import ConfigError


@pytest.mark.parametrize(
    "options,message",
    [
        (
            {"steps": 10, "epochs": 2},
            "give one of train.steps, train.epochs and train.minutes; received steps=10 and"
            " epochs=2.0",
        ),
        (
            {"epochs": 0.5, "minutes": 3},
            "give one of train.steps, train.epochs and train.minutes; received epochs=0.5 and"
            " minutes=3.0",
        ),
        (
            {"learning_rate": 1e39},
            "train.learning_rate=1e+39 is out of range; expected 0 (the family's) to 3.40282e+38,"
            " the largest number of float32",
        ),
        ({"steps": 0}, "train.steps=0 is out of range; expected 1 or more"),
        ({"epochs": 0}, "train.epochs=0.0 is out of range; expected more than 0"),
        ({"minutes": -1}, "train.minutes=-1.0 is out of range; expected more than 0"),
        (
            {"schedule": "constant", "final_learning_rate_fraction": 0.1},
            "train.final_learning_rate_fraction=0.1 has no effect with train.schedule=constant;"
            " leave it out, or take one of cosine, linear, wsd",
        ),
        (
            {"decay_steps": 10},
            "train.decay_steps=10 has no effect with train.schedule=cosine; leave it out, or take"
            " one of wsd",
        ),
        (
            {"schedule": "inverse_sqrt", "decay_fraction": 0.5},
            "train.decay_fraction=0.5 has no effect with train.schedule=inverse_sqrt; leave it out,"
            " or take one of wsd",
        ),
        (
            {"schedule": "wsd", "decay_fraction": 0.5, "decay_steps": 9},
            "give either train.decay_fraction or train.decay_steps; received 0.5 and 9",
        ),
        (
            {"schedule": "wsd", "decay_steps": 9, "minutes": 2},
            "train.decay_steps=9 needs to know where the steps end, and train.minutes does not say;"
            " give train.decay_fraction",
        ),
        (
            {"schedule": "wsd", "decay_fraction": 1.5},
            "train.decay_fraction=1.5 is out of range; expected above 0 to 1",
        ),
        (
            {"final_learning_rate_fraction": 2},
            "train.final_learning_rate_fraction=2.0 is out of range; expected 0 to 1",
        ),
    ],
)
def test_contradictions_are_one_line_in_python_on_the_command_line_and_in_yaml(
    options, message, tmp_path, capsys
):
    with pytest.raises(ConfigError) as error:
        TrainConfig(**options)
    assert str(error.value) == message
    words = ["train", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "run")]
    given = [f"--train.{name}={value}" for name, value in options.items()]
    assert cli.main([*words, *given]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    lines = [f"  {name}: {value}\n" for name, value in options.items()]
    (tmp_path / "run.yaml").write_text("train:\n" + "".join(lines))
    assert cli.main([*words, str(tmp_path / "run.yaml")]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "run").exists()


def test_a_thousand_steps_where_no_length_is_given():
    assert TrainConfig().total_steps == 1000
    assert TrainConfig(steps=7).total_steps == 7
    for options in ({"epochs": 1}, {"minutes": 1}):
        with pytest.raises(ConfigError, match="is given, from which the number of steps does not"):
            TrainConfig(**options).total_steps  # noqa: B018
        assert TrainConfig(**options).of_steps(9) == TrainConfig(steps=9)
    words = [TrainConfig(**o).length_in_words for o in ({}, {"epochs": 0.5}, {"minutes": 2})]
    assert words == ["1,000 steps", "0.5 epochs", "2 minutes"]


def test_the_command_line_and_yaml_take_each_of_them(tmp_path):
    (tmp_path / "run.yaml").write_text("train:\n  epochs: 2\n  schedule: wsd\n  decay_steps: 5\n")
    words = ["--data", "d", "--output", "o"]
    options = train.COMMAND.parse([*words, str(tmp_path / "run.yaml")])
    chosen = train.training_of(options)
    assert chosen == TrainConfig(epochs=2.0, schedule="wsd", decay_steps=5)
    options = train.COMMAND.parse([*words, "--train.minutes", "1.5", "--train.schedule", "linear"])
    assert train.training_of(options) == TrainConfig(minutes=1.5, schedule="linear")


def test_the_help_says_what_each_schedule_does(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "cosine: half a cosine down to the last step; inverse_sqrt: falls with " in text
    assert "--train.steps N" in text and "--train.epochs X" in text and "--train.minutes X" in text
