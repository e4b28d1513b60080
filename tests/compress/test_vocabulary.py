"""Fewer tokens: a text that only has kept ones is cut and predicted as before, and every other text comes back."""

import json
import shutil

import numpy as np
import pytest
import yaml

from tests.gpt2 import gpt2
from tfscale import cli
from tfscale.compress.vocabulary import trim, trim_network, trim_tokenizer
from tfscale.config import LSTMConfig, PrepareConfig, TrainConfig
from tfscale.data.prepare import prepare
from tfscale.errors import ConfigError, TokenizerError
from tfscale.models import build_network, parameter_count
from tfscale.runs.folder import load_run
from tfscale.runs.train import train
from tfscale.text.tokenizers import train_tokenizer

WORDS = "the red cat ran and the old dog sat under a big blue mat while seven grey birds watched quietly".split()


def sentences(seed, words, count=300):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, 7)) + ".\n" for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("sentencepiece", ["".join(sentences(0, WORDS))], 315)


def test_a_text_of_kept_tokens_is_cut_as_before(tokenizer):
    sample = "".join(sentences(1, WORDS[:8], 40))
    ids = tokenizer.encode(sample)
    small, kept = trim_tokenizer(tokenizer, sorted(set(ids)))
    assert small.vocabulary_size == len(kept) < tokenizer.vocabulary_size
    assert [kept[id] for id in small.encode(sample)] == ids
    assert small.end_id == kept.index(tokenizer.end_id)
    for text in ("".join(sentences(2, WORDS, 20)), "狐 naïve\n\t▁ x", ""):
        assert small.decode(small.encode(text)) == text


@pytest.mark.parametrize(
    "config",
    [
        gpt2(sequence_length=8, hidden_dim=8, num_layers=1, num_heads=2),
        gpt2(sequence_length=8, hidden_dim=8, num_layers=1, num_heads=2, tie_embeddings=False),
        LSTMConfig(embedding_dim=8, hidden_dim=8),
        LSTMConfig(embedding_dim=6, hidden_dim=8, tie_embeddings=True),
        LSTMConfig(embedding_dim=6, hidden_dim=8, output_rank=3),
    ],
)
def test_the_logits_of_kept_tokens_are_what_they_were(config):
    network = build_network(type(config)(**{**vars(config), "vocabulary_size": 20}), seed=1)
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    kept = [0, 3, 4, 9, 17]
    small = trim_network(network, kept)
    ids = rng.integers(0, 5, (2, 8))
    np.testing.assert_allclose(
        small(ids), np.asarray(network(np.array(kept)[ids]))[..., kept], atol=1e-5
    )
    assert small.count_params() == parameter_count(small.config) < network.count_params()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("vocabulary")
    (root / "text.txt").write_text("".join(sentences(0, WORDS, 400)))
    (root / "mine.txt").write_text("".join(sentences(1, WORDS[:8], 60)))
    config = PrepareConfig(
        text=[str(root / "text.txt")],
        documents="line",
        vocabulary_size=315,
        output=str(root / "data"),
    )
    prepare(config, progress=False)
    model = gpt2(sequence_length=16, hidden_dim=16, num_layers=1, num_heads=2)
    options = TrainConfig(
        steps=20, global_batch_size=8, warmup_steps=2, tensorboard=False, xla="off"
    )
    train(model, options, data=str(root / "data"), output=str(root / "run"), progress=False)
    return root


@pytest.mark.slow
def test_by_the_command_and_then_trained_on(folder, capsys):
    words = [
        "trim",
        str(folder / "run"),
        "--text",
        str(folder / "mine.txt"),
        "--output",
        str(folder / "small"),
        "--json",
    ]
    assert cli.main(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["vocabulary"] < result["vocabulary_before"] == 315
    assert result["sample_tokens"] == result["sample_tokens_before"]
    small = load_run(str(folder / "small"))
    assert (
        small.network.config.vocabulary_size
        == small.tokenizer.vocabulary_size
        == result["vocabulary"]
    )
    for which in ("run", "small"):
        assert (
            cli.main(
                ["evaluate", str(folder / which), "--text", str(folder / "mine.txt"), "--json"]
            )
            == 0
        )
    before, after = (json.loads(line) for line in capsys.readouterr().out.splitlines()[-2:])
    # The same tokens, and no probability for those that never come.
    assert after["tokens"] == before["tokens"] and after["nll_per_token"] < before["nll_per_token"]
    assert (
        cli.main(
            [
                "prepare",
                "--text",
                str(folder / "text.txt"),
                "--documents",
                "line",
                "--tokenizer-from",
                str(folder / "small"),
                "--output",
                str(folder / "data2"),
            ]
        )
        == 0
    )
    assert (
        cli.main(
            [
                "compress",
                str(folder / "small"),
                "--data",
                str(folder / "data2"),
                "--output",
                str(folder / "tuned"),
                "--steps",
                "5",
                "--quantize",
                "int8",
            ]
        )
        == 0
    )
    recorded = yaml.safe_load((folder / "tuned" / "config.yaml").read_text())
    assert recorded["model"]["vocabulary_size"] == result["vocabulary"]


def test_a_trained_run_is_not_replaced(folder, capsys):
    words = ["trim", str(folder / "run"), "--text", str(folder / "mine.txt"), "--output"]
    before = sorted(path.name for path in (folder / "run").iterdir())
    assert cli.main([*words, str(folder / "run")]) == 2
    assert "is the run itself, which is left as it is" in capsys.readouterr().err
    shutil.copytree(folder / "run", folder / "another")
    assert cli.main([*words, str(folder / "another")]) == 2
    assert "holds checkpoints, which would be lost" in capsys.readouterr().err
    for name in ("run", "another"):
        assert sorted(path.name for path in (folder / name).iterdir()) == before


def test_mistakes(folder, tokenizer, capsys):
    with pytest.raises(
        TokenizerError, match="the vocabulary of a byte tokenizer cannot be trimmed"
    ):
        trim_tokenizer(train_tokenizer("byte", [], 257), [1])
    bpe = train_tokenizer(
        "sentencepiece", ["".join(sentences(0, WORDS))], 315, sentencepiece_model="bpe"
    )
    with pytest.raises(TokenizerError, match="only SentencePiece's unigram"):
        trim_tokenizer(bpe, [1])
    with pytest.raises(ConfigError, match="every token of the vocabulary occurs"):
        trim_tokenizer(tokenizer, range(tokenizer.vocabulary_size))
    with pytest.raises(ConfigError, match="min_count=0 is out of range"):
        trim("run", ["x"], "y", 0)
    words = [
        "trim",
        str(folder / "run"),
        "--text",
        str(folder / "none.txt"),
        "--output",
        str(folder / "no"),
    ]
    assert cli.main(words) == 2 and "none.txt" in capsys.readouterr().err
    assert not (folder / "no").exists()
