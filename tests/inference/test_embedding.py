"""Vectors of texts: means of hidden states by hand, of any batch, and what has none."""

import json

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import make_run
from tests.slow import slow_but
from tfscale import cli
from tfscale.artifacts.exported import FileArtifact
from tfscale.artifacts.run import RunArtifact
from tfscale.config import BERTConfig, BiLSTMConfig, GRUConfig, TransformerConfig
from tfscale.device.scorer import ScoringModel
from tfscale.errors import ConfigError, DataError
from tfscale.inference import embedding
from tfscale.inference.embedding import embed_texts
from tfscale.models import build_network
from tfscale.runs.save import save_run
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens

SIZE = {"vocabulary_size": 257, "sequence_length": 8, "hidden_dim": 8}
NETWORKS = {
    "transformer": TransformerConfig(**SIZE, num_layers=1, num_heads=2),
    "gru": GRUConfig(**SIZE),
    "bilstm": BiLSTMConfig(**SIZE, embedding_dim=8),
    "bert": BERTConfig(**SIZE, num_layers=1, num_heads=2),
}
START = END = 256
TEXTS = ["ab", "a longer one", "c", "abcdefg", "xyz", "cd"]


def states(network, ids):
    return np.asarray(network.features(np.array([ids], np.int32)), np.float64)[0]


@pytest.mark.parametrize("family", NETWORKS)
def test_the_mean_and_the_last_state_by_hand(family):
    network = build_network(NETWORKS[family], seed=1)
    # What reads both sides sees the end of the text, too; neither end counts.
    after = [END] if family in ("bilstm", "bert") else []
    expected = states(network, [START, *b"abc", *after])[1:4]
    mean = embed_texts(network, ByteTokenizer(), ["abc"])
    last = embed_texts(network, ByteTokenizer(), ["abc"], "last")
    assert mean.dtype == np.float32 and mean.shape == (1, 16 if family == "bilstm" else 8)
    np.testing.assert_allclose(mean[0], expected.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(last[0], expected[-1], atol=1e-5)


@pytest.mark.parametrize(
    "family, pooling",
    slow_but(
        [(family, pooling) for family in NETWORKS for pooling in ("mean", "last")],
        ("transformer", "last"),
        ("bert", "mean"),
    ),
)
def test_neither_the_batch_nor_its_size_changes_a_vector(family, pooling, monkeypatch):
    network = build_network(NETWORKS[family], seed=1)
    together = embed_texts(network, ByteTokenizer(), TEXTS, pooling)
    alone = [embed_texts(network, ByteTokenizer(), [text], pooling)[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(embedding, "_TOKENS_PER_BATCH", 1)
    np.testing.assert_allclose(
        embed_texts(network, ByteTokenizer(), TEXTS[::-1], pooling)[::-1], together, atol=1e-5
    )
    assert np.abs(together[0] - together[2]).max() > 1e-3


def test_a_text_longer_than_the_context():
    network, notes = build_network(NETWORKS["transformer"], seed=1), []
    text = b"abcdefghij"
    # With the start token 7 tokens fit.
    parts = [states(network, [START, *part])[1:] for part in (text[:7], text[7:])]
    mean = embed_texts(network, ByteTokenizer(), [text.decode(), "a"], note=notes.append)
    np.testing.assert_allclose(mean[0], np.concatenate(parts).mean(axis=0), atol=1e-5)
    last = embed_texts(network, ByteTokenizer(), [text.decode()], "last", notes.append)
    np.testing.assert_allclose(last[0], states(network, [START, *text[3:]])[-1], atol=1e-5)
    assert notes == [
        "1 of 2 texts are longer than 7 tokens; their windows are averaged",
        "1 of 1 texts are longer than 7 tokens; their last tokens are read",
    ]
    # A state of fixed size reads on.
    network, notes = build_network(NETWORKS["gru"], seed=1), []
    mean = embed_texts(network, ByteTokenizer(), [text.decode()], note=notes.append)
    np.testing.assert_allclose(mean[0], states(network, [START, *text])[1:].mean(axis=0), atol=1e-5)
    assert not notes


def test_what_the_tokenizer_says_of_texts_is_followed():
    network = build_network(NETWORKS["transformer"], seed=1)
    tokenizer = ByteTokenizer().with_special(SpecialTokens(in_prompts=False))
    tokenizer.cleaner = Cleaner(lowercase=True)
    vector = embed_texts(network, tokenizer, ["ABC"])[0]
    np.testing.assert_allclose(vector, states(network, list(b"abc")).mean(axis=0), atol=1e-5)


def test_texts_that_are_missing():
    network = build_network(NETWORKS["gru"])
    with pytest.raises(DataError, match="there is no text to embed"):
        embed_texts(network, ByteTokenizer(), [])
    with pytest.raises(DataError, match="text 2 of 2 has no token: ''"):
        embed_texts(network, ByteTokenizer(), ["a", ""])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs") / "run")
    save_run(build_network(NETWORKS["gru"], seed=1), ByteTokenizer(), folder)
    return folder


def test_the_command_writes_a_file(run, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text("ab\n\nc\n")
    (tmp_path / "more.jsonl").write_text('{"body": "xyz"}\n')
    output = str(tmp_path / "vectors.npy")
    words = ["embed", run, "--output", output, "--text", str(tmp_path / "texts.txt")]
    assert cli.main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == {"output": output, "texts": 2, "width": 8, "pooling": "mean"}
    np.testing.assert_allclose(np.load(output), tfscale.embed(run, ["ab", "c"]), atol=1e-6)
    words = ["embed", run, "--output", output, "--text", str(tmp_path / "more.jsonl")]
    assert cli.main([*words, "--text-field", "body", "--pooling", "last"]) == 0
    assert f"{output}: float32 (1, 8)" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(output), tfscale.embed(run, "xyz", pooling="last"))


def test_what_cannot_be_asked(run, tmp_path):
    with pytest.raises(ConfigError, match="give either texts, or files of them by text"):
        tfscale.embed(run)
    with pytest.raises(DataError, match="output v.npz is no file of NumPy; name one such as"):
        tfscale.embed(run, ["a"], output="v.npz")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="empty.txt has no texts"):
        tfscale.embed(run, text=str(tmp_path / "empty.txt"))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": ""}\n')
    with pytest.raises(DataError, match="a.jsonl, line 2: text is empty"):
        tfscale.embed(run, text=str(tmp_path / "a.jsonl"))
    file = FileArtifact("export", object.__new__(ScoringModel))
    with pytest.raises(ConfigError, match="export gives no hidden states, .* give a run of a net"):
        tfscale.embed(file, ["a"])


def test_a_run_that_is_open_is_taken(tmp_path):
    made = make_run(tmp_path / "r", build_network(NETWORKS["gru"], seed=1), ByteTokenizer())
    assert tfscale.embed(RunArtifact(made), ["a", "b"]).shape == (2, 8)
