"""A Keras language model of somebody's own to a file that writes what the model writes.

The reference is a loop over the model's whole forward pass in stock Keras."""

import contextlib
import io
import re

import keras
import numpy as np
import pytest
from keras import layers

import tfscale
import tfscale.device
from tests.models.stepping import user_models as models
from tests.models.stepping.user_models import C, V
from tests.slow import slow_but
from tfscale.config import SamplingConfig
from tfscale.errors import ConfigError, ExportError

GREEDY = SamplingConfig(temperature=0)
TEXT = "the cat sat on the mat and the dog sat on the log; "


@pytest.fixture(scope="module")
def stream(tokenizer):
    return tokenizer.encode(TEXT * 3)


def export(model, tmp_path, tokenizer, stream, **options):
    common = {
        "output": str(tmp_path / "export"),
        "sequence_length": C,
        "held_out": stream,
        "tokenizer": tokenizer,
    }
    return tfscale.export_keras(model, **(common | options))


def whole_window_greedy(model, ids, count):
    """Greedy tokens by the whole forward pass, one window for each."""
    ids = list(ids)
    for _ in range(count):
        logits = np.asarray(model(np.array([ids], "int32"), training=False))
        ids.append(int(logits[0, -1].argmax()))
    return ids[-count:]


def trained(model, stream, steps=80):
    """Enough to have an opinion; after a mistake the next token is not always the same."""
    rows = np.lib.stride_tricks.sliding_window_view(np.array(stream, "int32"), C + 1)
    model.compile(
        keras.optimizers.Adam(3e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    for _ in range(steps):
        model.train_on_batch(rows[::2, :-1], rows[::2, 1:])
    return model


FILES = {
    "stacked lstm": (models.BY_STATE["two lstm"], "none", []),
    "gru": (models.BY_STATE["gru"], "float16", []),
    "two blocks": (models.BY_CACHE["attention"], "none", [8]),
    "small gpt": (models.BY_CACHE["small gpt of any length"], "int8", [8]),
    "state beside a cache": (models.BY_CACHE["state beside a cache"], "int8", []),
    "convolutions": (models.BY_STATE["convolutions"], "int8", []),
}
LONGER = ("state beside a cache", "stacked lstm", "gru", "two blocks", "convolutions")
"""The others have a cache, and a state beside one; `test_the_readme_runs` has two LSTMs."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LONGER else ()) for name in FILES],
)
def test_the_file_writes_what_the_model_writes(name, tmp_path, tokenizer, stream):
    build, quantize, prefill_lengths = FILES[name]
    keras.utils.set_random_seed(0)
    model = trained(build(), stream)
    report = export(model, tmp_path, tokenizer, stream, quantize=quantize)
    assert report["passed"] and report["decodes"] and "why_it_scores" not in report
    device = tfscale.device.load(str(tmp_path / "export"))
    assert device.metadata["prefill_lengths"] == prefill_lengths
    prompt = tokenizer.prompt_ids(tokenizer.encode("the "))
    expected = whole_window_greedy(model, prompt, 8)
    assert len(set(expected)) > 1
    assert device.generate("the ", max_tokens=8, sampling=GREEDY).tokens == expected
    opened = tfscale.open(str(tmp_path / "export"))
    assert opened.generate("the ", max_tokens=8, sampling=GREEDY).tokens == expected
    assert device.score(TEXT).perplexity < 60


@pytest.mark.parametrize("name", slow_but(["two lstm", "state beside a cache"], "two lstm"))
def test_the_readme_runs(name, tmp_path, tokenizer, stream, monkeypatch):
    """States of different shapes, and a cache without prefill calls."""
    model = models.randomized((models.BY_STATE | models.BY_CACHE)[name]())
    export(model, tmp_path, tokenizer, stream)
    readme = (tmp_path / "export" / "README.md").read_text()
    assert "of the shapes in `model.json`" in readme and "prefill" not in readme
    code = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[-1]
    monkeypatch.chdir(tmp_path / "export")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    ids = [int(token) for token in re.findall(r"\d+", printed.getvalue())]
    prompt = [int(token) for token in re.search(r"ids = \[(.*?)\]", code)[1].split(",")]
    count = len(ids) - len(prompt)
    assert count > 2 and ids == prompt + whole_window_greedy(model, prompt, count)


def test_a_softmax_at_the_end_is_left_out(tmp_path, tokenizer, stream):
    model = models.randomized(models.sequential(models.lstm(), activation="softmax"))
    report = export(model, tmp_path, tokenizer, stream)
    assert report["decodes"] and report["softmax_left_out"]
    assert "ends in a softmax" in (tmp_path / "export" / "README.md").read_text()
    rows = np.array([tokenizer.end_id, *stream[: C - 1]])[None]
    probabilities = np.asarray(model(rows))[0]
    likelihood = np.log(probabilities[np.arange(C), stream[:C]]).sum()
    device = tfscale.device.load(str(tmp_path / "export"))
    assert device.score(stream[:C]).nll == pytest.approx(-likelihood, rel=1e-4)
    # The model itself is as it was.
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_what_cannot_generate_scores_and_says_why(tmp_path, tokenizer, stream):
    model = models.randomized(models.sequential(models.lstm(), models.RunningMean()))
    report = export(model, tmp_path, tokenizer, stream)
    assert report["passed"] and not report["decodes"]
    assert re.match(r"layer 'running_mean.*computes something else", report["why_it_scores"])
    readme = (tmp_path / "export" / "README.md").read_text()
    assert f"does not generate: {report['why_it_scores']}." in readme
    with pytest.raises(ConfigError, match="running_mean.* with cached=False it becomes a file"):
        export(model, tmp_path, tokenizer, stream, output=str(tmp_path / "x"), cached=True)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_whoever_does_not_ask_gets_a_file_that_scores(tmp_path, tokenizer, stream):
    model = models.randomized(models.sequential(models.lstm()))
    for options, why in (
        ({"cached": False}, "cached=False was given"),
        ({"tokenizer": None, "end_id": 0}, "no tokenizer was given"),
    ):
        report = export(model, tmp_path, stream=stream, **({"tokenizer": tokenizer} | options))
        assert not report["decodes"] and report["why_it_scores"] == why


def test_a_model_that_reads_both_sides_is_refused(tmp_path, tokenizer, stream):
    model = models.randomized(models.sequential(layers.Bidirectional(models.lstm())))
    with pytest.raises(ConfigError, match=r"sees the future.*'bidirectional.*' \(Bidirectional\)"):
        export(model, tmp_path, tokenizer, stream)
    model.cloze = True
    with pytest.raises(ConfigError, match="guesses tokens from both sides"):
        export(model, tmp_path, tokenizer, stream, cached=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", [tfscale.LanguageModel, tfscale.Model])
def test_the_network_of_a_model_that_trains_is_taken(wrap, tmp_path, tokenizer, stream):
    network = models.randomized(models.sequential(models.lstm()))
    report = export(wrap(network), tmp_path, tokenizer, stream)
    assert report["decodes"]


def test_mixed_precision_is_written_as_it_computes_in_float32(tmp_path, tokenizer, stream):
    policy = keras.dtype_policies.get("mixed_bfloat16")
    model = keras.Sequential(
        [
            models.ids(),
            layers.Embedding(V, 16, dtype=policy),
            layers.LSTM(16, return_sequences=True, dtype=policy),
            layers.Dense(V, dtype=policy),
        ]
    )
    report = export(models.randomized(model), tmp_path, tokenizer, stream)
    assert report["decodes"] and report["perplexity"]["file"] > 1


@pytest.mark.slow
def test_padding_that_occurs_in_the_text_is_refused(tmp_path, tokenizer, stream):
    """Keras hides id 0 from attention; a cache does not."""
    model = models.randomized(models.BY_CACHE["masked attention"]())
    assert export(model, tmp_path, tokenizer, stream)["decodes"]
    with pytest.raises(ExportError, match="parity check.* with cached=False"):
        export(model, tmp_path, tokenizer, [0, *stream[:20], 0, 0, *stream[20:]])
