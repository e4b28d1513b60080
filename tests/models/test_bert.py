"""Guessing hidden tokens: what is hidden, what is scored, and the family "bert" from text to a task's base."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.numpy_reference import softmax
from tfscale import api, cli
from tfscale.analysis.slicing import document_scores
from tfscale.config import BERTConfig, BiLSTMConfig, ExportConfig, TrainConfig
from tfscale.data.masking import hidden_in_turn, mask_tokens
from tfscale.data.pipeline import text_windows
from tfscale.data.tokens import split_stream
from tfscale.errors import ConfigError
from tfscale.exporting.export import export_run
from tfscale.models import build_network
from tfscale.runs.folder import load_run
from tfscale.runs.train import train
from tfscale.training.distillation import Teacher

V, MASK = 50, 50
CONFIG = BERTConfig(sequence_length=16, hidden_dim=32, num_layers=1, num_heads=2, positions="rope")


def hide(ids, step=3, seed=1):
    hidden, chosen = mask_tokens(
        tf.constant(ids), step, mask_id=MASK, vocabulary_size=V, rate=0.15, seed=seed
    )
    return hidden.numpy(), chosen.numpy()


def test_tokens_are_hidden_as_often_as_the_paper_says():
    ids = np.random.default_rng(0).integers(0, V, (400, 128)).astype(np.int32)
    hidden, chosen = hide(ids)
    count = chosen.sum()
    assert count / ids.size == pytest.approx(0.15, abs=0.005)
    assert (hidden == ids)[chosen == 0].all()
    of_chosen = hidden[chosen == 1]
    assert (of_chosen == MASK).mean() == pytest.approx(0.8, abs=0.02)
    others = (of_chosen != MASK) & (of_chosen != ids[chosen == 1])
    # A tenth is drawn, and one of V draws gives the token that was there.
    assert others.mean() == pytest.approx(0.1 * (1 - 1 / V), abs=0.015)
    assert np.ptp(np.bincount(of_chosen[others], minlength=V)[:V]) < 60
    # No place is preferred, and what is hidden of one window says nothing about the next.
    assert (
        chosen.mean(0).std() < 0.03
        and abs(np.corrcoef(chosen[:-1].ravel(), chosen[1:].ravel())[0, 1]) < 0.02
    )


def test_what_is_hidden_depends_on_window_step_and_seed_alone():
    ids = np.random.default_rng(0).integers(0, V, (6, 32)).astype(np.int32)
    hidden, chosen = hide(ids)
    order = [4, 0, 5, 2, 1, 3]
    np.testing.assert_array_equal(hide(ids[order])[0], hidden[order])
    for other in (hide(ids, step=4), hide(ids, seed=2), hide(ids[:, ::-1].copy())):
        assert 0.05 < (other[1] != chosen).mean() < 0.5


def test_every_token_is_guessed_once_in_a_score():
    ids = tf.reshape(tf.range(30), (2, 15))
    # The last three tokens of a row are padding.
    weights = np.ones((2, 15), np.float32)
    weights[1, 12:] = 0
    views = hidden_in_turn(ids, weights, MASK, 7)
    assert len(views) == 7
    np.testing.assert_array_equal(sum(chosen for _, chosen in views), weights)
    for hidden, chosen in views:
        np.testing.assert_array_equal(hidden, np.where(chosen == 1, MASK, ids))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Words of which the second letter tells the third, and both neighbours tell the letter between them."""
    folder = tmp_path_factory.mktemp("bert")
    rng = np.random.default_rng(0)
    words = ["abc", "dec", "afg", "dhg"]
    lines = [" ".join(rng.choice(words, 5)) for _ in range(1200)]
    (folder / "text.txt").write_text("\n".join(lines))
    data, run = str(folder / "data"), str(folder / "run")
    prepare = [
        "prepare",
        "--text",
        str(folder / "text.txt"),
        "--documents",
        "line",
        "--tokenizer",
        "char",
    ]
    assert cli.main([*prepare, "--validation-fraction", "0.05", "--output", data]) == 0
    options = TrainConfig(
        steps=200,
        global_batch_size=64,
        learning_rate=1e-2,
        warmup_steps=10,
        validate_every=200,
        checkpoint_every=200,
        tensorboard=False,
        xla="off",
    )
    return data, load_run(train(CONFIG, options, data=data, output=run, progress=False) and run)


@pytest.mark.slow
def test_it_learns_and_its_score_is_the_sum_over_all_tokens(trained):
    data, run = trained
    found = api.evaluate(run.directory)
    assert found["pseudo_perplexity"] == pytest.approx(
        run.summary["validation"]["pseudo_perplexity"], rel=1e-5
    )
    assert "perplexity" not in found and "bits_per_byte" not in found
    stream = split_stream(data, "validation")
    _, targets, weights = text_windows(stream, 16, run.tokenizer.end_id)
    assert found["tokens"] == weights.sum() == len(stream)
    nats = 0.0
    for part in range(7):
        hidden = np.where((np.arange(16) % 7 == part) & (weights > 0), run.network.mask_id, targets)
        chances = softmax(np.asarray(run.network(hidden), np.float64))
        likely = np.take_along_axis(chances, targets[..., None], -1)[..., 0]
        nats -= (np.log(likely) * weights)[:, np.arange(16) % 7 == part].sum()
    assert found["cloze_nll_per_token"] == pytest.approx(nats / len(stream), rel=1e-4)
    # Letters are told by their neighbours; by their place in the word alone it is 2.3.
    assert found["pseudo_perplexity"] < 1.6


def test_the_score_of_a_text_is_that_of_the_split(trained, tmp_path):
    _, run = trained
    (tmp_path / "one.txt").write_text("abc dec afg dhg abc")
    whole = api.evaluate(run.directory, text=[str(tmp_path / "one.txt")])
    [(nll, tokens)] = document_scores(run, ["abc dec afg dhg abc"])
    assert (nll, tokens) == (
        pytest.approx(whole["cloze_nll_per_token"] * whole["tokens"], rel=1e-5),
        whole["tokens"],
    )


def test_a_short_text_is_scored_as_long_as_it_is(trained, tmp_path):
    """Padding up to the context would be attended to."""
    _, run = trained
    (tmp_path / "one.txt").write_text("abc dec")
    ids = np.array([[*run.tokenizer.encode("abc dec"), run.tokenizer.end_id]])
    nats = 0.0
    for part in range(7):
        chosen = np.arange(8) % 7 == part
        chances = softmax(
            np.asarray(run.network(np.where(chosen, run.network.mask_id, ids)), np.float64)
        )
        nats -= np.log(chances[0, np.arange(8), ids[0]])[chosen].sum()
    assert document_scores(run, ["abc dec"]) == [(pytest.approx(nats, rel=1e-4), 8)]
    found = api.evaluate(run.directory, text=[str(tmp_path / "one.txt")])
    assert found["cloze_nll_per_token"] == pytest.approx(nats / 8, rel=1e-4)


def test_gaps_are_filled_from_both_sides(trained, monkeypatch):
    _, run = trained
    for text, letter in (("abc a___g abc", "f"), ("abc a___c abc", "b"), ("abc d___c abc", "e")):
        best = api.fill(run.directory, text=text)[0]
        assert best.text == letter and best.probability > 0.8
    why = api.explain(run.directory, text="abc dec")
    assert (why["target_token"], max(why["parts"], key=lambda part: part["weight"])["text"]) == (
        "c",
        "e",
    )
    assert why["probability"] > 0.8
    ids = np.arange(5, 15, dtype=np.int32) % run.tokenizer.vocabulary_size
    logits = run.network.cloze_logits(ids)
    monkeypatch.setattr("tfscale.models.bert._TOKENS_AT_ONCE", 30)
    np.testing.assert_allclose(run.network.cloze_logits(ids), logits, atol=1e-5)
    for place in (0, 4, 8):
        hidden = ids.copy()
        hidden[place + 1] = run.network.mask_id
        np.testing.assert_allclose(
            logits[place], np.asarray(run.network(hidden[None]))[0, place + 1], atol=1e-5
        )
    other = ids.copy()
    other[4] = (other[4] + 1) % run.tokenizer.vocabulary_size
    # The logits for a token do not depend on it, and those for all others do.
    changed = np.abs(run.network.cloze_logits(other) - logits).max(-1)
    assert changed[3] < 1e-5 < changed[[0, 1, 2, 4, 5, 8]].min()


def test_what_it_cannot_do_is_told(trained, tmp_path):
    _, run = trained
    for call, message in (
        (
            lambda: export_run(run, ExportConfig(output=str(tmp_path / "e"))),
            "a start for tasks: fine-tune it",
        ),
        (
            lambda: api.generate(run.directory, prompt="a"),
            "BERT does not write text: it fills gaps",
        ),
        (
            lambda: Teacher(
                build_network(BiLSTMConfig(vocabulary_size=run.tokenizer.vocabulary_size))
            ).check_fits(run.network),
            "a BERT and a BiLSTMLM predict other tokens",
        ),
        (lambda: BERTConfig(attention_window=4), "bert sees all of both sides"),
        (
            lambda: BERTConfig(mask_rate=0.0),
            "model.mask_rate=0.0 is out of range; expected above 0 to 0.5",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            call()
    assert (
        cli.main(
            ["compress", run.directory, "--target-size", "1MB", "--output", str(tmp_path / "s")]
        )
        == 2
    )
