"""What a trial chose for a run is kept in its folder, and taken again when the run goes on."""

import pytest
import yaml

from tfscale.config import PrepareConfig, TrainConfig, TransformerConfig
from tfscale.data.prepare import prepare
from tfscale.runs import compiled
from tfscale.runs.train import train
from tfscale.training.xla import Way, chosen_way

MODEL = TransformerConfig(sequence_length=8, hidden_dim=8, num_layers=1, num_heads=2)
TRAIN = {
    "global_batch_size": 2,
    "warmup_steps": 0,
    "schedule": "constant",
    "precision": "mixed_bfloat16",
    "strategy": "single",
    "tensorboard": False,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("way")
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 40)
    options = PrepareConfig(
        text=[str(folder / "text.txt")],
        documents="line",
        tokenizer="byte",
        output=str(folder / "data"),
        validation_fraction=0.0,
        test_fraction=0.0,
    )
    prepare(options, progress=False)
    return str(folder / "data")


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_way(data, tmp_path, monkeypatch, capsys):
    output, calls = str(tmp_path / "run"), []

    def says(config, model, replicas):
        if config.xla != "auto":
            return chosen_way(config, model, replicas)
        calls.append((config.precision, model.vocabulary_size, replicas))
        return Way(xla=False, notes=("without XLA: by oneDNN",), tried=True)

    models = []
    make = compiled.LanguageModel
    monkeypatch.setattr(compiled, "LanguageModel", lambda n: models.append(make(n)) or models[-1])
    monkeypatch.setattr(compiled, "chosen_way", says)
    train(MODEL, TrainConfig(steps=2, **TRAIN), data=data, output=output)
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert kept["used_xla"] is False and len(calls) == 1
    assert "without XLA: by oneDNN" in capsys.readouterr().err
    train(MODEL, TrainConfig(steps=3, **TRAIN), data=data, output=output, progress=False)
    assert len(calls) == 1
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert kept["used_xla"] is False
    # What the user says is done.
    asked = TrainConfig(steps=4, xla="on", **TRAIN)
    train(MODEL, asked, data=data, output=output, progress=False)
    used = [model.train_step_runner.options.xla for model in models]
    assert used == [False, False, True]
