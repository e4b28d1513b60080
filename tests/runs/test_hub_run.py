"""A preset of keras-hub from its folder to a trained, exported model."""

import json

import keras_hub
import numpy as np
import pytest
import sentencepiece
import tokenizers

import tfscale
from tfscale import cli
from tfscale.errors import ConfigError, TokenizerError
from tfscale.runs.hub import tokenizer_of
from tfscale.text.builtin import builtin_corpus
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer

TEXTS = [
    "def f(x):\n    return x + 1234",
    "  It's  naïve,\r\nisn't it? 🙂\t\0",
    "你好 <|endoftext|> ▁",
]
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def sample():
    return [
        file.text()
        for file in builtin_corpus("python-stdlib")
        if file.name in ("ast.py", "textwrap.py")
    ]


@pytest.fixture(scope="module")
def merges(sample):
    """Vocabulary and merges as GPT-2's files hold them."""
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        sample,
        tokenizers.trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, special_tokens=[END], show_progress=False
        ),
    )
    model = json.loads(library.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]], library


@pytest.fixture(scope="module")
def preset(merges, tmp_path_factory):
    """A GPT-2 in small, as `save_to_preset` leaves it on disk."""
    vocabulary, pairs, _ = merges
    tokenizer = keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=pairs)
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=0.0,
        max_sequence_length=48,
    )
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        weight.assign(weight + rng.normal(0, 0.1, weight.shape))
    model = keras_hub.models.GPT2CausalLM(
        backbone, keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, 48)
    )
    folder = tmp_path_factory.mktemp("preset") / "gpt2"
    model.save_to_preset(str(folder))
    return str(folder), model


def test_byte_pairs_are_those_of_the_libraries(merges):
    vocabulary, pairs, library = merges
    ours = BytePairTokenizer.from_merges(vocabulary, ["#version: 0.2", *pairs], END)
    theirs = keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=pairs)
    for text in TEXTS:
        assert (
            ours.encode(text) == library.encode(text, add_special_tokens=False).ids or END in text
        )
        assert ours.decode(ours.encode(text)) == text
        assert ours.end_id not in ours.encode(text)
    # keras-hub 0.32 does not cut a text into words when it is not in a graph: a single word is the same.
    plain = "textwrap"
    assert ours.encode(plain) == np.asarray(theirs(plain)).tolist()
    assert (ours.vocabulary_size, ours.end_id) == (400, vocabulary[END])
    with pytest.raises(TokenizerError, match="no entry for the byte 0x41"):
        BytePairTokenizer.from_merges(
            {k: v for k, v in vocabulary.items() if "A" not in k}, [], END
        )
    with pytest.raises(TokenizerError, match=r"no entry for the end token '</s>'"):
        BytePairTokenizer.from_merges(vocabulary, pairs, "</s>")
    with pytest.raises(TokenizerError, match="vocabulary and merges do not belong together"):
        BytePairTokenizer.from_merges(vocabulary, ["zz qq"], END)


def test_words_of_llama_3(merges):
    """Numbers of at most three digits, and a sign with the word behind it: not as in GPT-2. Cut by hand here."""
    vocabulary, pairs, _ = merges
    special = ("begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id")
    added = {f"<|{name}|>": 400 + number for number, name in enumerate(special)}
    ours = tokenizer_of(
        keras_hub.models.Llama3Tokenizer(vocabulary=vocabulary | added, merges=pairs)
    )
    assert ours.piece(ours.end_id) in ("<|end_of_text|>", "<|eot_id|>")
    whole = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[tuple(p.split(" ")) for p in pairs])
    )
    whole.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    for words in (
        ["def", " f", "(x", "):\n", "   ", " return", " x", " +", " ", "123", "4"],
        [" ", " It", "'S", " ", " naïve", ",\r\n", "isn", "'t", " it", "?", " 🙂", "\t", "\0"],
    ):
        text = "".join(words)
        assert ours.decode(ours.encode(text)) == text
        assert ours.encode(text) == [id for word in words for id in whole.encode(word).ids], words


def test_a_sentencepiece_model_keeps_the_text(sample, tmp_path):
    """As Llama's: a space before the first word, spaces joined; every text comes back, cut as theirs."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("\n".join(sample).splitlines()),
        model_prefix=str(tmp_path / "m"),
        vocab_size=500,
        byte_fallback=True,
        model_type="bpe",
        minloglevel=2,
    )
    theirs = keras_hub.models.LlamaTokenizer(proto=(tmp_path / "m.model").read_bytes())
    ours = tokenizer_of(theirs)
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == text
    line = "return self.text"
    assert ours.encode(line) == np.asarray(theirs(line)).tolist()
    assert ours.end_id == 2


def test_from_the_preset_to_a_file(preset, tmp_path):
    folder, original = preset
    base, data, run, export = (str(tmp_path / name) for name in ("base", "data", "run", "export"))
    assert cli.main(["import", folder, "--output", base, "--sequence-length", "32"]) == 0
    loaded = tfscale.open(base)
    prompt = "def f(x):"
    ids = np.array([[loaded.tokenizer.end_id, *loaded.tokenizer.encode(prompt)]], np.int32)
    expected = original.backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    np.testing.assert_allclose(
        np.asarray(loaded.network(ids)),
        np.asarray(original.backbone.token_embedding(expected, reverse=True)),
        atol=1e-4,
    )
    assert tfscale.generate(base, prompt=prompt, max_tokens=8).text == _greedy(
        original, loaded.tokenizer, ids, 8
    )

    (tmp_path / "text.txt").write_text(
        "\n".join(f"def f{i}(x):\n    return x + {i}" for i in range(150))
    )
    words = [
        "prepare",
        "--text",
        str(tmp_path / "text.txt"),
        "--documents",
        "line",
        "--tokenizer-from",
        base,
    ]
    assert cli.main([*words, "--output", data]) == 0
    train = [
        "train",
        "--start",
        base,
        "--data",
        data,
        "--output",
        run,
        "--train.steps",
        "12",
        "--train.global_batch_size",
        "4",
        "--train.warmup_steps",
        "2",
        "--train.xla",
        "off",
    ]
    assert cli.main(train) == 0
    before = tfscale.evaluate(base, data=data)["perplexity"]
    assert tfscale.evaluate(run)["perplexity"] < 0.7 * before
    assert (
        cli.main(["export", run, "--output", export, "--quantize", "int8", "--parity-tokens", "64"])
        == 0
    )
    report = json.loads((tmp_path / "export" / "parity.json").read_text())
    assert report["passed"] and "decode" in report["operations"]
    assert tfscale.device.load(export).generate(prompt, 8).text

    other = [
        "prepare",
        "--text",
        str(tmp_path / "text.txt"),
        "--tokenizer",
        "byte",
        "--documents",
        "line",
    ]
    assert cli.main([*other, "--output", str(tmp_path / "other")]) == 0
    with pytest.raises(
        TokenizerError, match="tokenized by another tokenizer than that of .*--tokenizer-from"
    ):
        tfscale.train(start=base, data=str(tmp_path / "other"), output=str(tmp_path / "no"))


def _greedy(original, tokenizer, ids, count):
    """Without a cache: each token from all before it."""
    found = ids[0].tolist()
    for _ in range(count):
        row = np.array([found], np.int32)
        hidden = original.backbone({"token_ids": row, "padding_mask": np.ones_like(row)})
        found.append(
            int(np.asarray(original.backbone.token_embedding(hidden, reverse=True))[0, -1].argmax())
        )
        if found[-1] == tokenizer.end_id:
            break
    return tokenizer.decode(found[ids.shape[1] :])


def test_mistakes_are_told_in_one_line(preset, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, message in (
        (
            ["import", str(tmp_path / "empty"), "--output", str(tmp_path / "o")],
            "is not a preset of keras-hub on this disk",
        ),
        (
            ["import", "gpt2_base_on", "--output", str(tmp_path / "o")],
            "on this disk (Unknown preset identifier); give the folder of one. Where there is a network: keras_hub.models."
            'CausalLM.from_preset("gpt2_base_en").save_to_preset("FOLDER")',
        ),
        (
            ["import", "a", "--output", "o", "--precision", "float16"],
            "--precision: expected one of float32",
        ),
        (
            ["import", "a", "--output", "o", "--sequence-length", "-1"],
            "sequence_length=-1 is out of range; expected 0",
        ),
        (
            ["train", "--start", "r", "--model.hidden_dim", "8", "--data", "d", "--output", "o"],
            "--start takes the model of that run; leave --model.hidden_dim out",
        ),
        (
            ["train", "--start", "r", "--vectors", "v", "--data", "d", "--output", "o"],
            "give either vectors or start",
        ),
    ):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert not (tmp_path / "o").exists()
    with pytest.raises(ConfigError, match="GPT2Backbone has no tokenizer; give tokenizer="):
        tfscale.import_(preset[1].backbone, str(tmp_path / "o"))
    summary = tfscale.import_(preset[1], str(tmp_path / "o"))
    assert summary["context"] == 48 and summary["architecture"] == "GPT2"


def test_a_given_tokenizer_is_kept_as_it_is(preset, merges, tmp_path, capsys):
    vocabulary, pairs, _ = merges
    library = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=[tuple(pair.split(" ")) for pair in pairs])
    )
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    library.add_special_tokens([END])
    path = tmp_path / "tokenizer.json"
    path.write_text(library.to_str(pretty=True))
    words = ["import", preset[0], "--tokenizer-from", str(path), "--output", str(tmp_path / "run")]
    assert cli.main(words) == 0
    assert (tmp_path / "run" / "tokenizer" / "tokenizer.json").read_bytes() == path.read_bytes()
    run = tfscale.open(str(tmp_path / "run"))
    assert run.tokenizer.kind == "huggingface" and run.tokenizer.end_token == END
    assert run.tokenizer.encode("def main(") == library.encode("def main(").ids
    # It is read before the weights, and is the only one.
    assert cli.main(["import", "nothing", *words[2:3], "no", "--output", str(tmp_path / "o")]) == 2
    assert "no has no tokenizer" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="tokenizer and tokenizer_from both name a tokenizer"):
        tfscale.import_(preset[1], "o", tokenizer=object(), tokenizer_from=str(path))
    # A token that the vocabulary lacks, and a vocabulary that the model's tables do not hold.
    assert cli.main([*words[:-1], str(tmp_path / "o"), "--stop-token", "<|eot_id|>"]) == 2
    assert "'<|eot_id|>' is not a special token of" in capsys.readouterr().err
    library.add_special_tokens([f"<|extra_{n}|>" for n in range(3)])
    path.write_text(library.to_str())
    assert cli.main([*words[:-1], str(tmp_path / "o")]) == 2
    size = len(vocabulary)
    assert f"vocabulary_size={size + 3}, and the model has {size} ent" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
