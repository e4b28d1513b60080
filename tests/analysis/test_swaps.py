"""Counterfactual swaps: words in their case, ratios that are summed by hand, and a model that has a leaning."""

import json

import numpy as np
import pytest

from tests.exporting.exported import make_run
from tfscale import api, cli
from tfscale.analysis.slicing import document_scores
from tfscale.analysis.swapping import read_swap_files
from tfscale.analysis.swaps import counterfactuals, read_pairs, swap_ratios
from tfscale.artifacts.run import RunArtifact
from tfscale.artifacts.task import ExportedTask
from tfscale.config import BiLSTMConfig, GRUConfig
from tfscale.config.tasks import SwapConfig
from tfscale.errors import ConfigError, DataError
from tfscale.models import build_network
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer


@pytest.mark.parametrize(
    ("text", "pair", "expected"),
    [
        ("he left", ("he", "she"), ("he left", "she left")),
        (
            "She said SHE would, he would not.",
            ("he", "she"),
            ("He said HE would, he would not.", "She said SHE would, she would not."),
        ),
        ("the heat, then they", ("he", "she"), None),
        ("(he)", ("he", "she"), ("(he)", "(she)")),
        (
            "in Paris and in paris",
            ("London", "Paris"),
            ("in London and in london", "in Paris and in paris"),
        ),
        ("Mr. Lee", ("Mr.", "Ms."), ("Mr. Lee", "Ms. Lee")),
        ("a man a woman", ("man", "woman"), ("a man a man", "a woman a woman")),
        ("an old man", ("old man", "man"), ("an old man", "an man")),
        ("I am", ("i", "you"), ("I am", "You am")),
        ("его дом", ("его", "её"), ("его дом", "её дом")),
    ],
    ids=[
        "plain",
        "case",
        "parts_of_words",
        "punctuation",
        "names",
        "dot",
        "both",
        "one_holds_the_other",
        "one_letter",
        "cyrillic",
    ],
)
def test_whole_words_are_swapped_in_their_case(text, pair, expected):
    assert counterfactuals(text, pair) == expected


def test_ratios_by_hand():
    asked = []

    def score(texts):
        asked.append(list(texts))
        return [-0.5 * text.count("x") for text in texts]

    found = swap_ratios(
        ["queenx and king", "a kingx", "king", "no word"],
        [("king", "queenxx"), ("up", "down")],
        score,
    )
    assert len(asked) == 1 and found["texts"] == 4
    king, up = found["pairs"]
    assert (up["texts"], up["mean"], up["low"], up["high"], up["largest"]) == (
        0,
        None,
        None,
        None,
        [],
    )
    # "queenx" and "kingx" are other words: two texts hold "king", and each is likelier with it by 2 x of half a nat.
    assert (king["texts"], king["mean"], king["low"], king["high"]) == (2, 1.0, 1.0, 1.0)
    assert king["largest"] == [
        {"text": "queenx and king", "ratio": 1.0},
        {"text": "king", "ratio": 1.0},
    ]
    other = swap_ratios(["queenxx", "KING king"], [("queenxx", "king")], score)["pairs"][0]
    # Upper case has no x: in the second text one of the two words differs.
    assert other["mean"] == pytest.approx((-1.0 - 1.0) / 2)


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(3).normal(0.5, 1.0, 100)
    ratio = {f"he {number}": value for number, value in enumerate(values)}
    found = swap_ratios(
        list(ratio), [("he", "she")], lambda texts: [ratio.get(text, 0.0) for text in texts]
    )["pairs"][0]
    assert found["mean"] == pytest.approx(values.mean())
    # 1.96 standard errors on either side, as far as 1,000 samples tell.
    error = values.std() / 10
    assert found["mean"] - found["low"] == pytest.approx(1.96 * error, rel=0.15)
    assert found["high"] - found["mean"] == pytest.approx(1.96 * error, rel=0.15)
    assert [one["ratio"] for one in found["largest"]] == sorted(values, key=abs)[:-4:-1]


def test_pairs_are_read_line_by_line(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("\ufeffhe she\n\nhis,her\nan old man\ta young woman\n")
    assert read_pairs(str(path)) == [("he", "she"), ("his", "her"), ("an old man", "a young woman")]
    for text, message in (
        ("he she\nhe\n", "line 2: expected two words, such as he and she; received 'he'"),
        ("a b c", "line 1: expected two words"),
        ("he He", "line 1: expected two words"),
        ("he,", "line 1: expected two words"),
        ("he she\nshe he", "line 2: the pair she, he is there twice"),
        ("\n", "has no pairs of words"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_pairs(str(path))
    with pytest.raises(DataError, match="cannot read the pairs"):
        read_pairs(str(tmp_path / "none"))


def test_texts_of_another_kind_are_refused(files, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.7")
    with pytest.raises(
        DataError, match=r"a\.pdf: texts are read from \.txt, \.arrow, .*\.warc files"
    ):
        read_swap_files(SwapConfig(text=[str(path)], pairs=files["pairs"]))
    with pytest.raises(DataError, match="text file or folder does not exist: no.txt"):
        read_swap_files(SwapConfig(text=["no.txt"], pairs=files["pairs"]))


def test_no_word_in_any_text_is_refused():
    with pytest.raises(DataError, match=r"none of the 1 texts holds a word of a pair \(he/she\)"):
        swap_ratios(["nobody"], [("he", "she")], lambda texts: [])


@pytest.fixture
def files(tmp_path):
    (tmp_path / "texts.txt").write_text("she came late\n\nHe sat\n")
    (tmp_path / "more.jsonl").write_text(json.dumps({"body": "was he there"}))
    (tmp_path / "pairs.tsv").write_text("he\tshe\nking\tqueen\n")
    return {
        "text": [str(tmp_path / "texts.txt"), str(tmp_path / "more.jsonl")],
        "pairs": str(tmp_path / "pairs.tsv"),
        "text_field": "body",
    }


@pytest.mark.parametrize("family", [GRUConfig, BiLSTMConfig], ids=["gru", "bilstm"])
def test_a_runs_ratios_are_those_of_its_scores(family, files, tmp_path):
    network = build_network(
        family(vocabulary_size=257, sequence_length=8, embedding_dim=8, hidden_dim=8)
    )
    run = make_run(tmp_path / "run", network, ByteTokenizer())
    found = RunArtifact(run).swap(SwapConfig(**files))
    nats = [
        nll
        for nll, _ in document_scores(
            run,
            ["he came late", "she came late", "He sat", "She sat", "was he there", "was she there"],
        )
    ]
    assert found["pairs"][0]["mean"] == pytest.approx(
        np.mean([nats[1] - nats[0], nats[3] - nats[2], nats[5] - nats[4]]), rel=1e-4
    )
    assert [(pair["texts"], pair["unknown"]) for pair in found["pairs"]] == [(3, []), (0, [])]
    assert found["metric"] == ("pseudo_" if family is BiLSTMConfig else "") + "log_likelihood_ratio"
    with pytest.raises(ConfigError, match="swap is for language models"):
        ExportedTask("task", None).swap(SwapConfig(**files))


def test_a_trained_model_shows_its_leaning(tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the doctor said he came\nthe nurse said she came\n" * 40)
    data, run, page = tmp_path / "data", str(tmp_path / "run"), tmp_path / "swaps.html"
    words = f"prepare --text {corpus} --documents line --tokenizer word --output {data}"
    assert cli.main(f"{words} --validation-fraction 0 --test-fraction 0".split()) == 0
    words = f"train --model.family ngram --model.order 4 --data {data} --output {run}"
    assert cli.main(words.split()) == 0
    (tmp_path / "texts.csv").write_text(
        "text\nthe doctor said she came\nthe nurse said she came\nthe <b> said he came\n"
    )
    (tmp_path / "pairs.txt").write_text("he she\ndoctor nurse\nking queen\nhim he\n")
    texts, pairs = str(tmp_path / "texts.csv"), str(tmp_path / "pairs.txt")
    options = ["--text", texts, "--pairs", pairs, "--output", str(page)]
    capsys.readouterr()
    assert cli.main(["swap", run, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    he, doctor, king, him = found["pairs"]
    ratios = {text["text"]: text["ratio"] for text in he["largest"]}
    assert ratios["the doctor said she came"] > 1 > -1 > ratios["the nurse said she came"]
    assert [pair["texts"] for pair in (he, doctor, king)] == [3, 2, 0]
    assert king["unknown"] == ["king", "queen"] and him["unknown"] == ["him"]
    assert doctor["mean"] < -0.1
    assert api.swap(run, text=[texts], pairs=pairs) == found
    html = page.read_text(encoding="utf-8")
    assert "the &lt;b&gt; said he came" in html and "<svg" in html and "doctor / nurse" in html
    assert cli.main(["swap", run, *options]) == 0
    shown = capsys.readouterr().out
    assert "king / queen" in shown and "the doctor said she came" in shown
    (tmp_path / "texts.csv").write_text("text\nnothing\n")
    assert cli.main(["swap", run, *options]) == 2
    assert "none of the 1 texts holds a word of a pair" in capsys.readouterr().err
