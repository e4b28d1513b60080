"""Values that could be read in two ways, on the command line and in a file of options."""

import pytest

from tfscale.cli import COMMANDS
from tfscale.errors import ConfigError

TRAIN = ["--data", "d", "--output", "o"]


def from_file(tmp_path, text):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    return COMMANDS["train"].parse([*TRAIN, "--config", str(path)])


@pytest.mark.parametrize(
    "text,message",
    [
        ("train:\n  steps: 7\n  seed: 1\n  steps: 9\n", "steps is given twice, in lines 2 and 4"),
        (
            "train: {steps: 7}\nmodel: {}\ntrain: {seed: 9}\n",
            "train is given twice, in lines 1 and",
        ),
        (
            "train: {steps: 7}\ntrain.steps: 9\n",
            "train.steps is given twice, in a section and by its whole name",
        ),
        ("train: {minutes: 1:30}\n", "train.minutes: expected a number; received '1:30'"),
        ("train: {minutes: '1:30'}\n", "train.minutes: expected a number; received '1:30'"),
        ("train: {steps: 1:30:00}\n", "train.steps: expected a whole number; received '1:30:00'"),
        ("train: {steps: 0o10}\n", "train.steps: expected a whole number; received '0o10'"),
        ("train: {steps: 1e3}\n", "train.steps: expected a whole number; received 1000.0"),
        # No is a text in YAML 1.2, as on the command line: it was false.
        *(
            (
                f"train: {{document_mask: {word}}}\n",
                f"train.document_mask: expected true or false; received {word.strip(chr(39))!r}",
            )
            for word in ("yes", "No", "on", "'off'", "''")
        ),
        ("", "should hold options such as output: or sections such as train:; received nothing"),
        ("train: {optimizer: AdamW}\n", "did you mean adamw?"),
    ],
)
def test_a_file_says_one_thing(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "written,steps",
    [("010", 10), ("0x10", 16), ("0b11", 3), ("1_000", 1000), ("+7", 7), ("'5'", 5)],
)
def test_whole_numbers_of_a_file_are_those_of_the_command_line(tmp_path, written, steps):
    assert from_file(tmp_path, f"train: {{steps: {written}}}\n").train.steps == steps
    words = [*TRAIN, "--train.steps", written.strip("'")]
    assert COMMANDS["train"].parse(words).train.steps == steps


@pytest.mark.parametrize(
    "written,rate",
    [("1e-3", 1e-3), ("'1e-3'", 1e-3), (".5", 0.5), ("1.", 1.0), ("1E+1", 10.0), ("2", 2.0)],
)
def test_numbers_of_a_file(tmp_path, written, rate):
    assert from_file(tmp_path, f"train: {{learning_rate: {written}}}\n").train.learning_rate == rate


def test_a_later_merge_is_not_a_second_value(tmp_path):
    text = "train: {<<: {steps: 7, seed: 1}, seed: 3}\n"
    options = from_file(tmp_path, text)
    assert (options.train.steps, options.train.seed) == (7, 3)


@pytest.mark.parametrize(
    "words,message",
    [
        (["--train.minutes", "1:30"], "--train.minutes: expected a number; received '1:30'"),
        (["--train.steps=1:30:00"], "--train.steps: expected a whole number; received '1:30:00'"),
        (
            ["--train.document_mask", ""],
            "--train.document_mask: expected true or false; received ''",
        ),
        (
            ["--train.document_mask", "null"],
            "--train.document_mask: expected true or false; received 'null'",
        ),
        (
            ["--train.document_mask=yes"],
            "--train.document_mask: expected true or false; received 'yes'",
        ),
        (["--train.steps", "0o10"], "--train.steps: expected a whole number; received '0o10'"),
        (["--train.steps", "1e1"], "--train.steps: expected a whole number; received '1e1'"),
        (["--train.steps", "[1]"], "--train.steps: expected a whole number; received '[1]'"),
        (["--train.seed", "null"], "--train.seed: expected a whole number; received 'null'"),
        (["--train.optimizer", "AdamW"], "received 'AdamW'; did you mean adamw?"),
    ],
)
def test_words_that_are_no_value(words, message):
    with pytest.raises(ConfigError) as caught:
        COMMANDS["train"].parse([*TRAIN, *words])
    assert message in str(caught.value)
