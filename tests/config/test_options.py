"""Options are checked where they are made, in Python as in the shell and in YAML."""

import pathlib

import numpy as np
import pytest

from tfscale import api, artifacts, cli
from tfscale.artifacts.exported import BundleArtifact
from tfscale.commands import train
from tfscale.commands.model_options import parse_model_options
from tfscale.config import (
    BERTConfig,
    ExportConfig,
    LSTMConfig,
    PrepareConfig,
    SamplingConfig,
    TrainConfig,
)
from tfscale.config.options import checked, checks_arguments
from tfscale.config.step import StepOptions
from tfscale.config.tasks import ExplainConfig, TaskConfig
from tfscale.errors import ConfigError

FILE = {"output": "d", "text": ["a.txt"]}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainConfig(schedule="lineal"),
            "train.schedule: expected one of constant, cosine, inverse_sqrt, linear, wsd; received"
            " 'lineal'",
        ),
        (
            lambda: TrainConfig(precision="bfloat16"),
            "train.precision: expected one of float32, mixed_float16, ",
        ),
        (
            lambda: TrainConfig(xla="false"),
            "train.xla: expected one of auto, on, off; received 'false'",
        ),
        (
            lambda: TrainConfig(result="lowest"),
            "train.result: expected one of best, last; received 'lowest'",
        ),
        (lambda: TrainConfig(strategy="ddp"), "train.strategy: expected one of auto, single, "),
        (lambda: TrainConfig(steps=5.5), "train.steps: expected a whole number; received 5.5"),
        (lambda: TrainConfig(steps="100"), "train.steps: expected a whole number; received '100'"),
        (lambda: TrainConfig(steps=True), "train.steps: expected a whole number; received True"),
        (
            lambda: TrainConfig(global_batch_size=8.0),
            "train.global_batch_size: expected a whole number; received 8.0",
        ),
        (lambda: TrainConfig(clip_norm=None), "train.clip_norm: expected a number; received None"),
        (lambda: TrainConfig(seed=2**70), "train.seed: expected a whole number below 2"),
        (
            lambda: TrainConfig(learning_rate=float("inf")),
            "train.learning_rate: expected a finite number; received inf",
        ),
        (
            lambda: TrainConfig(weight_decay=np.nan),
            "train.weight_decay: expected a finite number; received nan",
        ),
        (lambda: TrainConfig(remat=1), "train.remat: expected true or false; received 1"),
        (
            lambda: SamplingConfig(temperature=float("inf")),
            "temperature: expected a finite number; received inf",
        ),
        (
            lambda: SamplingConfig(repetition_penalty=10**400),
            "repetition_penalty: expected a finite number",
        ),
        (
            lambda: PrepareConfig(**FILE, documents="sentence"),
            "documents: expected one of file, paragraph, line",
        ),
        (
            lambda: PrepareConfig(**FILE, invalid_utf8="ignore"),
            "invalid_utf8: expected one of error, replace, skip",
        ),
        (
            lambda: PrepareConfig(**FILE, sentencepiece_model="word"),
            "sentencepiece_model: expected one of unigram, bpe",
        ),
        (
            lambda: PrepareConfig(**FILE, tokenizer="word", sentencepiece_model="bpe"),
            "sentencepiece_model='bpe' is for training a sentencepiece tokenizer",
        ),
        (
            lambda: PrepareConfig(**FILE, tokenizer_from="t", sentencepiece_model="bpe"),
            "sentencepiece_model='bpe' is for training a sentencepiece tokenizer",
        ),
        (
            lambda: ExplainConfig(text="a", samples=500),
            "samples=500 has no effect with method=integrated_gradients",
        ),
        (
            lambda: ExplainConfig(text="a", method="lime", steps=9),
            "steps=9 has no effect with method=lime",
        ),
        (
            lambda: PrepareConfig(**FILE, lowercase="false"),
            "lowercase: expected true or false; received 'false'",
        ),
        (
            lambda: PrepareConfig(**FILE, vocabulary_size="800"),
            "vocabulary_size: expected a whole number",
        ),
        (
            lambda: PrepareConfig(**FILE, unicode_normalization="nfkc"),
            "expected one of none, NFC, NFKC",
        ),
        (
            lambda: PrepareConfig(output="d", text=b"a.txt"),
            "text: expected text, once or more; received b'a.txt'",
        ),
        (lambda: PrepareConfig(output="d", text={"a.txt": 1}), "text: expected text, once or more"),
        (lambda: PrepareConfig(output="d", text=["a.txt", 3]), "text: expected text, once or more"),
        (
            lambda: ExportConfig(output="e", quantize=["int8"]),
            "quantize: expected one of float16, int4, int4_all, int8, none",
        ),
        (lambda: ExportConfig(output="e", quantize="int2"), "take int4_all"),
        (
            lambda: LSTMConfig(hidden_dim="3"),
            "model.hidden_dim: expected a whole number; received '3'",
        ),
        (lambda: BERTConfig(mask_rate=None), "model.mask_rate: expected a number; received None"),
        (
            lambda: StepOptions(micro_batches=2.5),
            "micro_batches: expected a whole number; received 2.5",
        ),
        (
            lambda: StepOptions(ema_decay=1.0),
            "ema_decay=1.0 is out of range; expected 0 to below 1",
        ),
    ],
)
def test_a_value_that_does_not_fit_its_option_is_one_line(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert (
        message in str(caught.value)
        and "\n" not in str(caught.value)
        and len(str(caught.value)) < 160
    )


def test_values_get_the_form_of_their_option():
    config = PrepareConfig(
        output=pathlib.Path("d"), text="a.txt", validation_text=pathlib.Path("v.txt")
    )
    assert (config.output, config.text, config.validation_text) == ("d", ["a.txt"], ["v.txt"])
    assert PrepareConfig(output="d", text=("a", pathlib.Path("b"))).text == ["a", "b"]
    assert TaskConfig(task="tag", output="t", train="x.conll").train == ["x.conll"]
    assert ExportConfig(output="e", prefill_lengths=8).prefill_lengths == [8]
    lengths = ExportConfig(output="e", prefill_lengths=np.array([8, 16])).prefill_lengths
    assert lengths == [8, 16] and all(type(length) is int for length in lengths)
    drawn = SamplingConfig(temperature=1, top_k=np.int64(3), top_p=np.float32(0.5))
    assert (drawn.temperature, drawn.top_k, drawn.top_p) == (1.0, 3, 0.5)
    assert [type(value) for value in (drawn.temperature, drawn.top_k, drawn.top_p)] == [
        float,
        int,
        float,
    ]
    assert checked("on", np.bool_(True), bool) is True


@pytest.mark.parametrize(
    ("name", "value", "in_shell"),
    [
        ("steps", 5.5, "5.5"),
        ("schedule", "lineal", "lineal"),
        ("learning_rate", float("inf"), ".inf"),
        ("clip_norm", None, "null"),
        ("tensorboard", "maybe", "maybe"),
        ("seed", 2**70, str(2**70)),
        ("steps", 0, "0"),
    ],
)
def test_python_shell_and_yaml_agree(name, value, in_shell, tmp_path, capsys):
    with pytest.raises(ConfigError):
        TrainConfig(**{name: value})
    words = ["train", "--data", str(tmp_path / "d"), "--output", str(tmp_path / "o")]
    assert cli.main([*words, f"--train.{name}={in_shell}"]) == 2
    assert f"train.{name}" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text(f"train:\n  {name}: {in_shell}\n")
    assert cli.main([*words, str(tmp_path / "config.yaml")]) == 2
    assert f"train.{name}" in capsys.readouterr().err


def test_a_string_in_yaml_is_one_entry(tmp_path):
    (tmp_path / "lstm.yaml").write_text("model:\n  family: ngram\n  min_counts: 1\n")
    assert parse_model_options(
        [str(tmp_path / "lstm.yaml")], train.build_parser, families=["transformer", "ngram"]
    ).model.min_counts == [1]


@checks_arguments
def opened(path: str, names: list[str], count: int = 1, config: TrainConfig | None = None, **rest):
    return path, names, count, config, rest


def test_arguments_are_checked_as_options_are():
    assert opened(pathlib.Path("run"), "a", other=object) == (
        "run",
        ["a"],
        1,
        None,
        {"other": object},
    )
    config = TrainConfig()
    assert opened("run", ["a"], config=config)[3] is config
    with pytest.raises(ConfigError, match="count: expected a whole number; received '2'"):
        opened("run", [], "2")
    with pytest.raises(ConfigError, match="config: expected TrainConfig; received 'fast'"):
        opened("run", [], config="fast")
    with pytest.raises(TypeError, match="missing a required argument: 'names'"):
        opened("run")


def test_generate_takes_one_text_to_stop_at_and_one_prompt(monkeypatch):
    calls = []

    class Bundle:
        def can(self, ability):
            return ability == "generate"

        def generate(self, prompt, **options):
            calls.append((prompt, *options.values()))
            return "done"

    monkeypatch.setattr(artifacts, "open", lambda path, threads=1: BundleArtifact(path, Bundle()))
    assert api.generate(pathlib.Path("run"), prompt="x", stop="END") == "done"
    assert calls == [("x", 64, SamplingConfig(), ["END"], None, False)]
    with pytest.raises(ConfigError, match=r"prompt: expected text; received \['a', 'b'\]"):
        api.generate("run", prompt=["a", "b"])
    with pytest.raises(ConfigError, match="temperature: expected a finite number"):
        api.generate("run", temperature=float("inf"))
