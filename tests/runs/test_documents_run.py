"""A run with documents kept apart: its validation, `evaluate`, and the file that is made of it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.gpt2 import gpt2
from tests.lines import prepared_lines
from tfscale.config import BERTConfig, ExportConfig, LSTMConfig, TrainConfig
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError
from tfscale.evaluation.evaluate import evaluate_file, evaluate_run
from tfscale.exporting.export import export_run
from tfscale.files.description import read_description
from tfscale.models import build_network
from tfscale.runs.folder import load_run
from tfscale.runs.save import save_run
from tfscale.runs.train import train
from tfscale.text.score import reading_starts, token_nll
from tfscale.text.tokenizers import load_tokenizer
from tfscale.training.language_model import LanguageModel

pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
LENGTH = 32
MODELS = {
    "transformer": gpt2(sequence_length=LENGTH, hidden_dim=16, num_layers=1, num_heads=2),
    "lstm": LSTMConfig(sequence_length=LENGTH, hidden_dim=16, embedding_dim=8, stateful=True),
}
TRAIN = TrainConfig(
    optimizer="adamw",
    steps=8,
    global_batch_size=4,
    warmup_steps=1,
    validate_every=8,
    log_every=8,
    learning_rate=3e-2,
    xla="off",
    tensorboard=False,
    document_mask=True,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Lines of 4 to 60 bytes, some of which are longer than a window."""
    return prepared_lines(tmp_path_factory.mktemp("apart"))


@pytest.fixture(scope="module", params=MODELS)
def trained(request, data, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("apart") / "run")
    summary = train(MODELS[request.param], TRAIN, data=data, output=output, progress=False)
    return output, summary


def nats(run, stream, starts):
    """The summed loss of a stream, each piece of it read by itself."""
    inputs = run.tokenizer.as_inputs([run.tokenizer.end_id, *stream[:-1]])
    total = 0.0
    for start, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        logits = np.asarray(run.network(inputs[None, start:end]))[0]
        total += token_nll(logits, np.asarray(stream[start:end], np.int64)).sum()
    return total


def test_places_at_which_reading_begins_anew_by_hand():
    inputs = [1, 5, 6, 1, 7, 8, 9, 1, 4]
    assert reading_starts(inputs, 4) == [0, 4, 8]
    assert reading_starts(inputs, 4, document_start=1) == [0, 3, 4, 7, 8]
    assert reading_starts(inputs, 4, carries=True, document_start=1) == [0, 3, 7]


def test_each_document_is_scored_by_itself(trained, data, tmp_path):
    output, summary = trained
    run = load_run(output)
    stream = split_stream(data, "validation")
    inputs = run.tokenizer.as_inputs([run.tokenizer.end_id, *stream[:-1]])
    starts = reading_starts(
        inputs.tolist(),
        LENGTH,
        carries=run.model_config.stateful,
        document_start=run.tokenizer.end_id,
    )
    assert len(starts) >= 8
    expected = nats(run, stream, starts) / len(stream)
    assert summary["validation"]["nll_per_token"] == pytest.approx(expected, abs=1e-5)
    assert evaluate_run(run)["nll_per_token"] == pytest.approx(expected, abs=1e-5)
    # The same weights, read on from document to document.
    reading_on = dataclasses.replace(run.train_config, document_mask=False)
    other = evaluate_run(dataclasses.replace(run, train_config=reading_on))["nll_per_token"]
    assert abs(other - expected) > 1e-4

    files = []
    for number, text in enumerate(("red cat", "old mat", "new")):
        (tmp_path / f"{number}.txt").write_text(text)
        files.append(str(tmp_path / f"{number}.txt"))
    together = evaluate_run(run, text_files=files)
    each = [evaluate_run(run, text_files=[file]) for file in files]
    assert together["tokens"] == sum(score["tokens"] for score in each)
    summed = sum(score["nll_per_token"] * score["tokens"] for score in each)
    assert together["nll_per_token"] * together["tokens"] == pytest.approx(summed, abs=1e-4)


def test_a_file_scores_as_its_run(trained, data, tmp_path):
    run = load_run(trained[0])
    folder = str(tmp_path / "export")
    config = ExportConfig(output=folder, parity_tokens=96, prefill_lengths=[8])
    report = export_run(run, config)
    assert read_description(folder).document_mask
    expected = evaluate_run(run)["nll_per_token"]
    found = evaluate_file(load(folder), data, progress=False)["nll_per_token"]
    assert found == pytest.approx(expected, abs=1e-5)
    # The comparison with the network reads documents as they are scored.
    stream = split_stream(data, "validation")[:96].tolist()
    inputs = run.tokenizer.as_inputs([run.tokenizer.end_id, *stream[:-1]]).tolist()
    starts = reading_starts(inputs, LENGTH, document_start=run.tokenizer.end_id)
    perplexity = math.exp(nats(run, stream, starts) / 96)
    for value in report["perplexity"].values():
        assert value == pytest.approx(perplexity, rel=1e-4)


def test_a_run_keeps_its_option(trained, data):
    output, _ = trained
    run = load_run(output)
    assert yaml.safe_load(Path(output, "config.yaml").read_text())["train"]["document_mask"] is True
    family = MODELS[run.model_config.family]
    for changed, message in (
        ({"document_mask": False}, "was begun with train.document_mask=True, now it is False"),
        ({"document_positions": "continue"}, "train.document_positions='restart', now it is"),
    ):
        options = dataclasses.replace(TRAIN, **changed)
        with pytest.raises(ConfigError, match=message):
            train(family, options, data=data, output=output, progress=False)


def test_a_model_that_fit_trained_is_scored_so(data, tmp_path):
    config = dataclasses.replace(MODELS["transformer"], vocabulary_size=257)
    for name, options in (("plain", {}), ("apart", {"document_mask": True, "document_start": 256})):
        model = LanguageModel(build_network(config))
        model.compile("sgd", xla=False, **options)
        save_run(model, load_tokenizer(data), str(tmp_path / name), data=data)
        run = load_run(str(tmp_path / name))
        assert run.train_config.document_mask is (name == "apart")
        assert run.tokenizer.start_id == 256


def test_a_model_that_reads_both_sides_is_refused_before_anything_is_written(data, tmp_path):
    model = BERTConfig(sequence_length=LENGTH, hidden_dim=16, num_layers=1, num_heads=2)
    with pytest.raises(ConfigError, match="document_mask=True keeps.*BERT 'bert' reads both sides"):
        train(model, TRAIN, data=data, output=str(tmp_path / "run"), progress=False)
    assert not (tmp_path / "run" / "config.yaml").exists()
