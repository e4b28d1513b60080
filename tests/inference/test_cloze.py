"""Filling gaps and correcting words: by a table whose probabilities are known, and by a network and its file."""

import json

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tests.slow import slow_but
from tfscale import artifacts, cli
from tfscale.analysis.slicing import document_scores
from tfscale.artifacts.run import RunArtifact
from tfscale.config import BiLSTMConfig, ExportConfig
from tfscale.device import load
from tfscale.errors import ConfigError, PromptError
from tfscale.evaluation.evaluate import evaluate_run
from tfscale.exporting.export import export_run
from tfscale.inference.cloze import correct, fill, words_of
from tfscale.models import build_network
from tfscale.text.score import Score
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.training import train_tokenizer

TEXT = "the cat sat on the mat\nthe dog sat on the hat\nthe rat saw the cot\n"


@pytest.fixture(scope="module")
def words():
    return train_tokenizer("word", [TEXT * 20], 40)


class Neighbours:
    """A cloze by counting: a token is as likely as it stood between these neighbours, or beside one of them."""

    def __init__(self, tokenizer):
        ids = [tokenizer.end_id]
        for line in TEXT.splitlines():
            ids += [*tokenizer.encode(line), tokenizer.end_id]
        self.size = tokenizer.vocabulary_size
        self.left, self.right = (
            np.full((self.size, self.size), 0.01),
            np.full((self.size, self.size), 0.01),
        )
        for before, token, after in zip(ids, ids[1:], ids[2:], strict=False):
            self.left[before, token] += 1
            self.right[after, token] += 1

    def __call__(self, ids):
        ids = np.asarray(ids)
        after = np.concatenate([ids[2:], ids[-1:], ids[-1:]])
        return np.log(self.left[ids]) + np.log(self.right[after])


def test_a_gap_is_filled_by_what_stands_between_its_neighbours(words):
    model = Neighbours(words)
    found = fill(model, words, "the dog___ on the mat", 16, count=3)
    assert found[0].text == " sat" and found[0].probability > 0.5
    row = model.left[words.encode("the dog")[-1]] * model.right[words.encode("on")[0]]
    assert found[0].probability == pytest.approx((row / row.sum()).max(), rel=1e-6)
    assert len(found) == 3 and found[0].probability > found[1].probability >= found[2].probability


def test_words_are_corrected_where_that_makes_the_text_likelier(words):
    model = Neighbours(words)
    [one] = correct(model, words, "the dog saw on the mat", 16, edit_cost=1.0)
    assert (one.start, one.word, one.replacement) == (8, "saw", "sat") and one.gain > 0
    # Two in one text: the second is judged after the first was corrected, and is found at its place in the given text.
    found = correct(model, words, "thhe dog saw on the mat", 16, edit_cost=1.0)
    assert [(c.start, c.word, c.replacement) for c in found] == [
        (0, "thhe", "the"),
        (9, "saw", "sat"),
    ]
    assert correct(model, words, "the cat sat on the mat", 16, edit_cost=1.0) == []
    assert correct(model, words, "the dog saw on the mat", 16, edit_cost=50.0) == []
    assert {"cat", "sat", "the"} <= words_of(words)


@pytest.mark.parametrize(
    ("text", "length", "message"),
    [
        ("no gap", 16, "has 0 gaps; give one, as ___"),
        ("___ and ___", 16, "has 2 gaps"),
        ("the cat___ on the mat", 5, "the model reads at most 5"),
    ],
)
def test_gaps_that_cannot_be_filled(text, length, message, words):
    with pytest.raises(PromptError, match=message):
        fill(Neighbours(words), words, text, length)
    with pytest.raises(ConfigError, match="count=0"):
        fill(Neighbours(words), words, "a___b", 16, count=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network = build_network(
        BiLSTMConfig(vocabulary_size=257, sequence_length=24, embedding_dim=24, hidden_dim=32)
    )
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    return make_run(tmp_path_factory.mktemp("bilstm"), network, ByteTokenizer())


@pytest.mark.parametrize("quantize", slow_but(["none", "float16", "int8"], "int8"))
def test_the_file_fills_and_scores_like_the_network(run, quantize, tmp_path, monkeypatch, capsys):
    output = str(tmp_path / "export")
    report = export_run(
        run, ExportConfig(output=output, quantize=quantize), run.tokenizer.encode(TEXT)
    )
    assert report["passed"] and "perplexity" not in report
    assert {row["name"].partition(" ")[0] for row in report["checks"]} >= {
        "pseudo_perplexity_change"
    }
    model = load(output)
    expected = fill(lambda ids: run.network(ids[None])[0], run.tokenizer, "the c___t sat", 24)
    found = model.fill("the c___t sat")
    tolerance = {"none": 1e-4, "float16": 5e-3, "int8": 0.15}[quantize]
    assert [f.probability for f in found] == pytest.approx(
        [f.probability for f in expected], rel=tolerance
    )
    # The second text is shorter than the context: what stands behind it is read by the backward layers of both.
    for text in (TEXT, "the cat"):
        (tmp_path / "text.txt").write_text(text)
        ours = evaluate_run(run, text_files=[str(tmp_path / "text.txt")])
        assert cli.main(["evaluate", output, "--text", str(tmp_path / "text.txt"), "--json"]) == 0
        theirs = json.loads(capsys.readouterr().out.splitlines()[-1])
        names = {
            "cloze_nll_per_token",
            "pseudo_perplexity",
            "tokens",
            "bytes",
            "unknown_tokens",
            "unknown_share",
        }
        assert set(theirs) == {*names, "text", "cleaning"} == set(ours)
        assert theirs["pseudo_perplexity"] == pytest.approx(
            ours["pseudo_perplexity"], rel=max(1e-4, tolerance / 10)
        )
    [(nll, tokens)] = document_scores(run, ["the cat"])
    assert nll / tokens == pytest.approx(ours["cloze_nll_per_token"], rel=1e-5)
    if quantize == "none":
        monkeypatch.setattr(artifacts, "open", lambda path, threads=1: RunArtifact(run))
        assert cli.main(["fill", "RUN", "--text", "the c___t sat", "--json"]) == 0
        fillings = json.loads(capsys.readouterr().out.splitlines()[-1])["fillings"]
        assert fillings[0]["text"] == expected[0].text
        monkeypatch.undo()
        assert cli.main(["correct", output, "--text", "a b", "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
            "corrections": [],
            "corrected": "a b",
        }
        assert cli.main(["generate", output, "--prompt", "a"]) == 2
        assert "scores texts and does not write them" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_of_half_precision_is_exported_in_float32(run, tmp_path):
    half = build_network(run.network.config, "mixed_bfloat16")
    half.set_weights(run.network.get_weights())
    other = make_run(tmp_path / "run", half, run.tokenizer)
    output = str(tmp_path / "export")
    assert export_run(other, ExportConfig(output=output), run.tokenizer.encode(TEXT))["passed"]
    ids = run.tokenizer.encode("the cat")
    window = np.array([[*ids, *[run.tokenizer.end_id] * (24 - len(ids))]])
    np.testing.assert_allclose(
        load(output).logits(ids), np.asarray(run.network(window))[0, : len(ids)], atol=1e-4
    )


def test_what_a_cloze_cannot_do_is_said(run, tmp_path):
    with pytest.raises(ConfigError, match="give --format tflite for a bilstm"):
        export_run(run, ExportConfig(output=str(tmp_path / "x"), format="web"))
    with pytest.raises(
        ConfigError, match="quantize: expected one of none, float16, int8; received 'int4'"
    ):
        export_run(run, ExportConfig(output=str(tmp_path / "x"), quantize="int4"), [1, 2, 3])
    from tfscale.inference.keras_decoder import KerasDecoder

    with pytest.raises(ConfigError, match="it fills gaps"):
        KerasDecoder(run.network)
    total = Score(2.0, 1, 3, cloze=True) + Score(4.0, 2, 3, cloze=True)
    assert total.to_dict() == {
        "cloze_nll_per_token": 2.0,
        "pseudo_perplexity": pytest.approx(np.exp(2)),
        "tokens": 3,
        "bytes": 6,
        "unknown_tokens": None,
        "unknown_share": None,
    }
