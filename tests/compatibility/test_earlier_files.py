"""Folders and files that earlier versions of tfscale wrote load, and give the numbers they gave then.

Each `files-COMMIT.tar.xz` holds data folders, runs (one of them stopped at step 10 of 20), a task, exports, and files
of Keras's own `save`; `expected.json` in it says what that version printed of them. `make_files.py` made them.

At 961e59d there were no optimizers by name, and norms of queries and keys came later. 38833a0 has these options, and is
the last commit at which a Transformer is GPT-2's by default.
"""

import json
import os
import shutil
import tarfile

import pytest

from tests.slow import slow_but

ARCHIVE = os.path.join(os.path.dirname(__file__), "files-{}.tar.xz")
SCORES = (
    "nll_per_token",
    "cloze_nll_per_token",
    "perplexity",
    "pseudo_perplexity",
    "tokens",
    "bytes",
)


@pytest.fixture(scope="module", params=slow_but(["961e59d", "38833a0"], "961e59d"))
def earlier(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE.format(request.param)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(earlier):
    return json.loads((earlier / "expected.json").read_text())


@pytest.mark.parametrize(
    "name",
    [
        "transformer",
        "lstm-stateful",
        "averaged",
        "bilstm",
        "ngram",
        "transformer-int8",
        "lstm-float",
        "ngram-export",
    ],
)
def test_scores_and_text(name, earlier, expected):
    import tfscale

    before = expected[name]["evaluate"]
    data = str(earlier / os.path.basename(before["data"]))
    found = tfscale.evaluate(str(earlier / name), data=data, split="test")
    assert {key: found[key] for key in SCORES if key in before} == pytest.approx(
        {key: before[key] for key in SCORES if key in before}, rel=1e-6
    )
    if "generate" in expected[name]:
        text = tfscale.generate(str(earlier / name), prompt="Chapter 1", max_tokens=12).text
        assert text == expected[name]["generate"]


def test_a_gap_is_filled_alike(earlier, expected):
    import tfscale

    found = tfscale.fill(str(earlier / "bilstm"), text="The ___ of house", count=3)
    for filling, (text, probability) in zip(found, expected["bilstm"]["fill"], strict=True):
        assert filling.text == text
        assert filling.probability == pytest.approx(probability, rel=1e-5)


@pytest.mark.parametrize("name", ["task", "task-export"])
def test_tasks_predict_alike(name, earlier, expected):
    import tfscale

    (found,) = tfscale.predict(str(earlier / name), text="a fine day")
    (before,) = expected[name]["predict"]
    assert found["label"] == before["label"]
    assert found["probabilities"] == pytest.approx(before["probabilities"], rel=1e-4)
    scores = tfscale.evaluate(str(earlier / name), text=[str(earlier / "labels-test.jsonl")])
    assert scores["accuracy"] == expected[name]["evaluate"]["accuracy"]


@pytest.fixture
def stopped(earlier, tmp_path):
    """A copy of the stopped run."""
    folder = str(tmp_path / "stopped")
    shutil.copytree(earlier / "transformer-stopped", folder)
    return folder


@pytest.mark.parametrize("by", slow_but(["python", "its own file"], "its own file"))
def test_a_stopped_run_goes_on_to_the_same_weights(by, stopped, earlier, expected):
    import tfscale
    from tfscale import cli
    from tfscale.runs.folder import load_run

    data = str(earlier / "data-sentencepiece")
    if by == "python":
        whole = load_run(str(earlier / "transformer"))
        model, train = whole.model_config, whole.train_config
        tfscale.train(model, train, data=data, output=stopped, progress=False)
    else:
        words = ["train", f"{stopped}/config.yaml", "--data", data, "--output", stopped]
        assert cli.main(words) == 0
    assert load_run(stopped).summary["steps"] == 20
    found = tfscale.evaluate(stopped, data=data, split="test")
    assert found["nll_per_token"] == pytest.approx(
        expected["transformer"]["evaluate"]["nll_per_token"], rel=1e-6
    )


@pytest.mark.slow
def test_a_teacher_of_an_earlier_version_teaches(earlier, tmp_path):
    import tfscale
    from tfscale.runs.folder import load_run

    teacher = load_run(str(earlier / "transformer"))
    student = tfscale.train(
        teacher.model_config,
        tfscale.TrainConfig(steps=2, global_batch_size=4, warmup_steps=1),
        distill=tfscale.DistillConfig(teacher=teacher.directory, weight=0.5),
        data=str(earlier / "data-sentencepiece"),
        output=str(tmp_path / "student"),
        progress=False,
    )
    assert student["teacher"]["validation"] == teacher.summary["validation"]
    assert load_run(str(tmp_path / "student")).model_config == teacher.model_config


@pytest.mark.parametrize("name", ["fitted.keras", "fitted.weights.h5"])
def test_models_saved_by_keras(name, earlier, expected):
    import keras
    import numpy as np

    import tfscale

    model = keras.models.load_model(str(earlier / "fitted.keras"), compile=False)
    if name.endswith(".h5"):
        model = tfscale.LanguageModel(keras.models.clone_model(model.network))
        model.compile(keras.optimizers.Adam(0.1))
        model.load_weights(str(earlier / name))
        assert int(model.optimizer.iterations.numpy()) == 6
    else:
        model.compile(keras.optimizers.Adam(0.1))
    ids = np.load(str(earlier / "fitted-ids.npy"))
    assert model.evaluate(ids[:, :-1], ids[:, 1:]) == pytest.approx(expected["fitted"], rel=1e-6)
