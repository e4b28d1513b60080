"""Explanations against what is known: linear networks by hand, completeness, and a word that alone decides."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.exporting.exported import make_run
from tests.gpt2 import gpt2
from tests.tasks.made import make_task
from tfscale import artifacts, cli
from tfscale.analysis.attribution import integrated_gradients, token_parts
from tfscale.analysis.explaining import explain_label, explain_last_token
from tfscale.artifacts.run import RunArtifact
from tfscale.config import BiLSTMConfig, LSTMConfig, NNLMConfig
from tfscale.config.tasks import ExplainConfig, TaskConfig
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.tasks.finetune import finetune
from tfscale.tasks.model import TaskModel, load_task
from tfscale.tasks.network import HeadOptions, TaskNetwork
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.kinds.word import WordTokenizer
from tfscale.ui.explanation import write_explanation

OTHERS = ["the", "film", "was", "a", "plot", "story", "with", "music"]
LABELS = {"good": "praise", "bad": "blame", "": "neither"}


def test_linear_and_quadratic_functions_by_hand():
    vectors, slope = (
        np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]),
        np.array([[2.0, 1.0], [-1.0, 1.0], [3.0, 3.0]]),
    )
    found = integrated_gradients(
        lambda x: tf.reduce_sum(x * tf.constant(slope, tf.float32), [1, 2]), vectors, [1, 1, 0], 1
    )
    np.testing.assert_allclose(found.weights, [4.0, -4.0, 0.0], atol=1e-6)
    assert (found.value, found.start) == pytest.approx((13.5, 13.5)) and found.error < 1e-5
    # f(x) = (sum of x) squared: the gradient at a part p of the way is 2 p S, its mean S.
    found = integrated_gradients(
        lambda x: tf.square(tf.reduce_sum(x, [1, 2])), vectors, [True] * 3, 40
    )
    np.testing.assert_allclose(found.weights, 9.5 * vectors.sum(1), rtol=1e-5)
    assert found.start == 0.0 and found.value == pytest.approx(9.5**2)


def test_a_coarse_integral_says_how_far_it_is_off():
    # One point in the middle: x times the gradient of x^4 there is 4 (x / 2)^3 x, half of x^4.
    found = integrated_gradients(lambda x: tf.reduce_sum(x**4, [1, 2]), [[2.0]], [True], 1)
    assert found.weights[0] == pytest.approx(8.0) and found.error == pytest.approx(8.0)


class Linear(keras.Model):
    """A base whose features are the embedded tokens themselves."""

    def __init__(self):
        super().__init__()
        self.token_embedding = keras.layers.ReversibleEmbedding(257, 4, name="token_embedding")

    output_variables, prediction_variables = (), ()

    def hidden_states(self, ids, training=False):
        return self.token_embedding(ids)

    def project(self, hidden):
        return self.token_embedding(hidden, reverse=True)

    features = hidden_states


@pytest.mark.parametrize("several", [False, True], ids=["one_label", "several_labels"])
def test_a_linear_classifier_by_hand(several):
    tokenizer, labels = ByteTokenizer(), ["no", "yes"]
    base = Linear()
    options = HeadOptions("classify", 2, tokenizer.end_id, several=several)
    network = TaskNetwork(base, options)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(size=weight.shape))
    task = make_task("classify", tokenizer, labels, labels_separator="," if several else "")
    model = TaskModel("-", network, task)
    found = explain_label(model, ExplainConfig(text="abc", label="yes", steps=3))
    kernel = network.head.kernel.numpy()[:4]
    direction = kernel[:, 1] if several else kernel[:, 1] - kernel[:, 0]
    # The mean is over the text and an end token on each side; the last token, also read, is an end token.
    expected = base.token_embedding.embeddings.numpy()[[97, 98, 99]] @ direction / 5
    assert [part["text"] for part in found["parts"]] == ["a", "b", "c"]
    np.testing.assert_allclose([part["weight"] for part in found["parts"]], expected, rtol=1e-5)
    assert found["completeness_error"] < 1e-5 and found["above_baseline"] == pytest.approx(
        expected.sum(), rel=1e-4
    )
    assert found["probability"] == pytest.approx(model.predict_text("abc")["probabilities"]["yes"])
    assert explain_label(model, ExplainConfig(text="abcdefgh", steps=3))["unread_tokens"] == 2
    with pytest.raises(ConfigError, match="label 'maybe' is none of the model's: no, yes"):
        explain_label(model, ExplainConfig(text="abc", label="maybe"))


SIZE = {"vocabulary_size": 257, "sequence_length": 8}
FAMILIES = {
    "nnlm": NNLMConfig(**SIZE, context_tokens=4, embedding_dim=8, hidden_dim=8),
    "lstm": LSTMConfig(**SIZE, embedding_dim=8, hidden_dim=8, tie_embeddings=True),
    "transformer": gpt2(**SIZE, hidden_dim=8, num_layers=1, num_heads=2, positions="rope"),
    "bilstm": BiLSTMConfig(**SIZE, embedding_dim=8, hidden_dim=8),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_token_of_every_family_completely(family, tmp_path):
    network = build_network(FAMILIES[family])
    rng = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.2))
    run = make_run(tmp_path, network, ByteTokenizer())
    found = explain_last_token(run.network, run.tokenizer, ExplainConfig(text="a cat é!"))
    # Nine bytes: the last is predicted, the eight before it fill the window, without the end token.
    logits = (
        network(np.array([list("a cat é".encode())], np.int32)[:, -8:]).numpy()[0, -1].astype(float)
    )
    assert found["target_token"] == "!" and found["unread_tokens"] == 0
    chances = np.exp(logits - logits.max())
    assert found["probability"] == pytest.approx(chances[ord("!")] / chances.sum(), rel=1e-4)
    assert "".join(part["text"] for part in found["parts"]) == "a cat é"
    total = sum(part["weight"] for part in found["parts"])
    assert abs(total - found["above_baseline"]) <= 1e-2 * abs(found["above_baseline"])
    assert found["completeness_error"] == pytest.approx(
        abs(total - found["above_baseline"]), abs=1e-6
    )
    assert "call" not in vars(network.token_embedding)
    longer = explain_last_token(
        run.network, run.tokenizer, ExplainConfig(text="0123456789", steps=1)
    )
    assert longer["unread_tokens"] == 1 and longer["parts"][0] == {"text": "0", "weight": 0.0}


def test_tokens_of_one_character_are_one_part():
    found = token_parts(ByteTokenizer(), [0xC3, 0xA9, 0x21, 0xC3], [0.5, 0.25, 1.0, 2.0])
    assert found == [
        {"text": "é", "weight": 0.75},
        {"text": "!", "weight": 1.0},
        {"text": "�", "weight": 2.0},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier of texts in which one word, or that there is none, decides."""
    path, rng = tmp_path_factory.mktemp("opinions"), np.random.default_rng(0)
    rows = []
    for _ in range(200):
        words = rng.choice(OTHERS, rng.integers(3, 7)).tolist()
        decides = rng.choice(list(LABELS))
        words[rng.integers(len(words))] = decides or "film"
        rows.append({"text": " ".join(words), "label": LABELS[decides]})
    (path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tokenizer = WordTokenizer([*OTHERS, "good", "bad"])
    size = {"vocabulary_size": tokenizer.vocabulary_size, "sequence_length": 12}
    run = make_run(
        path / "run",
        build_network(NNLMConfig(**size, context_tokens=2, embedding_dim=8, hidden_dim=16)),
        tokenizer,
    )
    config = TaskConfig(
        task="classify",
        output=str(path / "task"),
        train=[str(path / "train.jsonl")],
        epochs=8,
        learning_rate=2e-2,
        dropout=0.0,
    )
    assert finetune(run, config)["validation"]["f1"] > 0.9
    return str(path / "task")


def test_lime_leaves_out_chinese_words():
    tokenizer = WordTokenizer(["今天", "天气", "很", "好", "坏"], "jieba")
    network = TaskNetwork(Linear(), HeadOptions("classify", 2, tokenizer.end_id))
    good = tokenizer.encode("好")[0]
    for weight in network.weights:
        weight.assign(np.zeros(weight.shape))
    network.base.token_embedding.embeddings.assign(np.eye(257, 4, -good))
    network.head.kernel.assign(np.eye(8, 2)[:, ::-1] * 9)
    model = TaskModel("-", network, make_task("classify", tokenizer, ["other", "good"], 12))
    found = explain_label(model, ExplainConfig(text="今天，天气好。", method="lime", samples=50))
    assert [part["text"] for part in found["parts"]] == ["今天", "，天气", "好。"]
    assert max(found["parts"], key=lambda part: part["weight"])["text"] == "好。"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["integrated_gradients", "lime"])
def test_the_word_that_decides_weighs_most(method, folder):
    model = load_task(folder)
    for word in ("good", "bad"):
        text = f"the story was {word} with music"
        options = {"text": text, "method": method, "samples": 200, "steps": 16}
        found = explain_label(model, ExplainConfig(**options))
        assert found["label"] == LABELS[word] and found["method"] == method
        assert found["probability"] == pytest.approx(
            model.predict_text(text)["probabilities"][LABELS[word]]
        )
        assert "".join(part["text"] for part in found["parts"]) == text
        assert max(found["parts"], key=lambda part: part["weight"])["text"] == f" {word}"
        if method == "integrated_gradients":
            assert found["completeness_error"] <= 1e-2 * abs(found["above_baseline"])
    against = explain_label(model, ExplainConfig(**options, label=LABELS["good"]))
    assert min(against["parts"], key=lambda part: part["weight"])["text"] == f" {word}"
    if method == "lime":
        assert 0.5 < found["fit"] <= 1.0 and found == explain_label(model, ExplainConfig(**options))
        assert found["parts"] != explain_label(model, ExplainConfig(**options, seed=1))["parts"]


def test_from_the_command_line(folder, tmp_path, capsys):
    page = tmp_path / "why.html"
    words = [
        "explain",
        folder,
        "--text",
        "good <script>alert(1)</script> & film",
        "--output",
        str(page),
    ]
    assert cli.main([*words, "--method", "lime", "--samples", "100"]) == 0
    shown = capsys.readouterr().out
    assert "label praise" in shown and "strongest" in shown and "R2" in shown
    html = page.read_text(encoding="utf-8")
    assert "<script" not in html and "> &lt;script</span>" in html and "var(--first)" in html
    assert cli.main([*words, "--steps", "20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["completeness_error"] < 0.1
    assert "completeness error" in page.read_text(encoding="utf-8")


def test_a_page_is_escaped_and_marks_both_signs(tmp_path):
    parts = [{"text": "<i>a", "weight": 0.5}, {"text": "</p>", "weight": -1.0}]
    result = {
        "method": "integrated_gradients",
        "target_token": "<b>",
        "probability": 0.5,
        "parts": parts,
        "above_baseline": -0.5,
        "completeness_error": 0.0,
        "unread_tokens": 0,
    }
    write_explanation(str(tmp_path / "a.html"), result)
    html = (tmp_path / "a.html").read_text()
    assert (
        "<i>" not in html and "&lt;i&gt;a" in html and "&lt;/p&gt;" in html and "&lt;b&gt;" in html
    )
    assert "var(--first) 28%" in html and "var(--second) 55%" in html


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--text", "ab", "--method", "lime"],
            "lime explains classifiers; a language model takes --method integrated_gradients",
        ),
        (
            ["--text", "ab", "--label", "x"],
            "label='x' is for classifiers; of a language model the last token is explained",
        ),
        (
            ["--text", "a"],
            "the text is one token; give one that has others before the last, which they explain",
        ),
        (["--text", " "], "the text is empty; give one of a word or more"),
        (["--text", "ab", "--steps", "0"], "steps=0 is out of range; expected 1 or more"),
        (
            ["--text", "ab", "--output", "why.txt"],
            "output why.txt is no HTML file; name one such as report.html",
        ),
    ],
    ids=["lime", "label", "one_token", "empty", "steps", "output"],
)
def test_what_does_not_fit_a_language_model_is_told_in_one_line(
    words, message, tmp_path, monkeypatch, capsys
):
    run = make_run(tmp_path, build_network(FAMILIES["nnlm"]), ByteTokenizer())
    monkeypatch.setattr(artifacts, "open", lambda path, threads=1: RunArtifact(run))
    assert cli.main(["explain", "run", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
