"""Chinese words: those that jieba finds, the same in every process, without its cache, its log and its warnings."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfscale import cli
from tfscale.config import PrepareConfig
from tfscale.data.splits import Borders, Part
from tfscale.data.spool import SpoolWriter
from tfscale.data.tokenizing import encode_batches
from tfscale.errors import ConfigError, TokenizerError
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.cutting import split_long
from tfscale.text.tokenizers.kinds.word import WordTokenizer, split_words
from tfscale.text.tokenizers.segmenting import jieba_words

LINES = [
    "我来到北京清华大学。",
    "今天的天气很好，我们去公园散步。",
    "她在图书馆里读一本有意思的书。",
    "我用 Python 写程序，他喜欢喝茶。",
    "上海的夏天很热，北京的冬天很冷。",
]
TEXT = "\n".join(LINES)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("word", [TEXT], 200, word_segmenter="jieba")


def test_words_are_those_of_jieba(tokenizer, tmp_path):
    import jieba

    assert split_words(LINES[0], "jieba") == ["我", "来到", "北京", "清华大学", "。"]
    library = jieba.Tokenizer()
    library.tmp_dir = str(tmp_path)
    for line in LINES:
        assert [tokenizer.piece(id) for id in tokenizer.encode(line)] == library.lcut(line)
    assert {"北京", "天气", "图书馆", "Python", " "} <= set(tokenizer.words)


def test_the_round_trip_loses_white_space_alone(tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert tokenizer.decode(tokenizer.encode("我用 \tPython\n\u3000他  ")) == "我用 Python\n 他 "
    assert tokenizer.decode(tokenizer.encode("公园，学校。")) == "公园，<unk>。"
    assert not tokenizer.lossless


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from([*LINES, "北京", "a b", "3.5%", " ", "\t", "#x-1", "é🙂", "\r", "，"]),
        max_size=8,
    ).map("".join)
)
def test_nothing_gets_lost_between_words(text):
    words = split_words(text, "jieba")
    assert "".join(words) == re.sub(r"\s+", " ", text)
    assert [word for part in split_long(text, 3) for word in split_words(part, "jieba")] == words


def test_it_is_saved_with_the_tokenizer(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(str(tmp_path))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT) and loaded.digest == tokenizer.digest
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["segmenter"] == "jieba"
    # Those that split at white space have the digest that they always had.
    assert (
        WordTokenizer(["the", "cat"]).digest
        == "877adc4f94eb2b455698d752d59075348c3b4966f492916aa2c8929c530395fc"
    )
    monkeypatch.setitem(sys.modules, "jieba", None)
    jieba_words.cache_clear()
    with pytest.raises(
        TokenizerError, match=r"cannot be loaded: .* found by jieba: pip install jieba"
    ):
        load_tokenizer(str(tmp_path))
    monkeypatch.undo()
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"segmenter": "jieba"', '"segmenter": "mecab"'))
    with pytest.raises(TokenizerError, match="damaged .*unknown segmenter 'mecab'"):
        load_tokenizer(str(tmp_path))


def test_a_new_process_gives_the_same_and_no_word_more(tokenizer, tmp_path):
    code = f"""
from tfscale.text.tokenizers.segmenting import jieba_words
jieba_words.__wrapped__()
import jieba
jieba.dt.FREQ, jieba.dt.total, jieba.dt.initialized = {{"我来": 10**9}}, 10**9, True
assert "lib" in jieba.__file__
print(*jieba_words()({"".join(LINES)!r}), sep="|")
"""
    # A copy that is not compiled yet, with warnings as errors; after its first import it is given a word.
    import jieba

    ignored = shutil.ignore_patterns("__pycache__", "lac_small", "analyse", "posseg")
    shutil.copytree(os.path.dirname(jieba.__file__), tmp_path / "lib" / "jieba", ignore=ignored)
    path = os.pathsep.join([str(tmp_path / "lib"), os.getcwd()])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "TMPDIR": str(tmp_path / "t"),
        "PYTHONIOENCODING": "utf-8",
    }
    (tmp_path / "t").mkdir()
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.strip().split("|") == split_words("".join(LINES), "jieba")
    assert os.listdir(tmp_path / "t") == []


def test_several_processes_give_the_same_tokens(tokenizer, tmp_path):
    with SpoolWriter(str(tmp_path / "spool")) as writer:
        for number in range(40):
            writer.add(LINES[number % len(LINES)] * 50, 99)
    tokenizer.save(str(tmp_path / "tokenizer"))
    arguments = (
        tokenizer,
        str(tmp_path / "tokenizer"),
        writer.spool(Borders(test=10, validation=20)),
    )
    [alone] = encode_batches(*arguments, processes=1)
    [together] = encode_batches(*arguments, processes=2, small=0)
    assert alone[Part("train")].content == together[Part("train")].content
    first = np.frombuffer(alone[Part("train")].content, "<u2")[:5].tolist()
    assert first == tokenizer.encode(LINES[0])


def test_from_text_to_a_score(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    (tmp_path / "text.txt").write_text("\n".join(LINES * 20), encoding="utf-8")
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    words = [
        "prepare",
        "--text",
        str(tmp_path / "text.txt"),
        "--documents",
        "line",
        "--output",
        data,
        "--tokenizer",
        "word",
        "--word-segmenter",
        "jieba",
        "--validation-fraction",
        "0.2",
    ]
    jieba_words.cache_clear()
    assert cli.main(words) == 0
    assert (
        cli.main(
            [
                "train",
                "--model.family",
                "ngram",
                "--model.order",
                "3",
                "--data",
                data,
                "--output",
                run,
            ]
        )
        == 0
    )
    assert "jieba" not in capsys.readouterr().err
    (tmp_path / "seen.txt").write_text("今天的天气很好，我们去公园散步。", encoding="utf-8")
    (tmp_path / "mixed.txt").write_text("散步公园去我们，好很天气的今天。", encoding="utf-8")
    scores = []
    for name in ("seen.txt", "mixed.txt"):
        assert cli.main(["evaluate", run, "--text", str(tmp_path / name), "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out.splitlines()[-1])["perplexity"])
    assert scores[0] < 3 < 5 < scores[1]
    assert cli.main(["generate", run, "--prompt", "今天的天气", "--max-tokens", "7"]) == 0
    assert "很好，我们去公园散步" in capsys.readouterr().out
    assert not [name for name in os.listdir(tmp_path / "t") if "jieba" in name]


@pytest.mark.parametrize(
    "options", [{}, {"tokenizer": "word", "tokenizer_from": "data"}], ids=["other_kind", "given"]
)
def test_a_segmenter_without_words_to_find_is_refused(options):
    with pytest.raises(
        ConfigError, match="word_segmenter='jieba' is for training a word tokenizer"
    ):
        PrepareConfig(output="o", text=["a"], word_segmenter="jieba", **options)


def test_a_missing_library_is_told_before_the_text_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jieba", None)
    jieba_words.cache_clear()
    words = [
        "prepare",
        "--text",
        str(tmp_path / "text.txt"),
        "--output",
        str(tmp_path / "data"),
        "--tokenizer",
        "word",
        "--word-segmenter",
        "jieba",
    ]
    (tmp_path / "text.txt").write_text("北京")
    assert cli.main(words) == 2
    assert (
        capsys.readouterr().err
        == "error: the words of this tokenizer are found by jieba: pip install jieba\n"
    )
