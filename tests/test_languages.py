"""Text in other scripts through all steps: Chinese, Arabic and Hebrew (right to left), Hindi, and mixtures of them."""

import json
import os

import pytest

from tfscale import cli
from tfscale.device import load
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.training import train_tokenizer

TEXTS = {
    "chinese": [
        "今天天气很好，我们去公园散步。",
        "猫坐在窗台上看着外面的鸟。",
        "他每天早上喝一杯热茶。",
        "北京的冬天又冷又干燥。",
        "学生们在图书馆里安静地读书。",
        "妈妈做的饺子最好吃。",
    ],
    "arabic": [
        "ذهبت إلى السوق في الصباح الباكر.",
        "القطة تنام على الكرسي القديم.",
        "نحن نقرأ الكتب في المكتبة كل يوم.",
        "الشتاء بارد والصيف حار جدا.",
    ],
    "hebrew": [
        "החתול ישן על הכיסא ליד החלון.",
        "הלכנו לשוק בבוקר וקנינו לחם.",
        "הילדים קוראים ספרים בספרייה.",
    ],
    "hindi": ["बिल्ली खिड़की के पास सो रही है।", "हम हर सुबह चाय पीते हैं।", "बच्चे पुस्तकालय में पढ़ते हैं।"],
    "mixed": [
        "The cat 猫 sat — القطة جلست.",
        "Preis: 12 € oder ¥1500 😀👍🏽",
        "naïve café, Ünïcödé и кириллица",
        "שלום hello 你好 नमस्ते مرحبا",
    ],
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """SentencePiece on all of the texts."""
    folder = tmp_path_factory.mktemp("all")
    found = train_tokenizer(
        "sentencepiece", [text for texts in TEXTS.values() for text in texts] * 10, 440
    )
    found.save(str(folder))
    return str(folder)


@pytest.fixture(scope="module", params=list(TEXTS))
def prepared(request, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("text", "again"):
        (folder / f"{name}.txt").write_text("\n".join(TEXTS[request.param] * 30), encoding="utf-8")
    words = [
        "prepare",
        "--text",
        str(folder / "text.txt"),
        "--documents",
        "line",
        "--tokenizer-from",
        tokenizer,
        "--validation-text",
        str(folder / "again.txt"),
        "--test-fraction",
        "0",
        "--output",
        str(folder / "data"),
    ]
    assert cli.main(words) == 0
    return request.param, str(folder)


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_every_text_comes_back_to_the_letter(prepared):
    name, folder = prepared
    tokenizer = load_tokenizer(os.path.join(folder, "data"))
    for text in [*TEXTS[name], *TEXTS["mixed"]]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_counted_model_writes_what_it_has_read(prepared, capsys):
    name, folder = prepared
    run = os.path.join(folder, "run")
    words = [
        "train",
        "--model.family",
        "ngram",
        # Two sentences have four tokens in common, after which they differ.
        "--model.order",
        "8",
        "--data",
        os.path.join(folder, "data"),
        "--output",
        run,
        "--json",
    ]
    assert cli.main(words) == 0
    summary = last_json(capsys)
    assert summary["validation"]["bits_per_byte"] < 1.0
    assert summary["validation"]["bytes"] == 30 * sum(len(line.encode()) for line in TEXTS[name])
    first = TEXTS[name][0]
    assert (
        cli.main(
            ["generate", run, "--prompt", first[: len(first) // 2], "--max-tokens", "80", "--json"]
        )
        == 0
    )
    assert first[: len(first) // 2] + last_json(capsys)["text"] == first
    arpa = os.path.join(folder, "arpa")
    assert cli.main(["export", run, "--output", arpa, "--format", "arpa"]) == 0


@pytest.mark.slow
def test_a_network_learns_chinese_and_its_file_writes_the_same(tmp_path, capsys):
    for name in ("text", "again"):
        (tmp_path / f"{name}.txt").write_text("\n".join(TEXTS["chinese"] * 30), encoding="utf-8")
    data, run, export = (str(tmp_path / name) for name in ("data", "run", "export"))
    assert (
        cli.main(
            [
                "prepare",
                "--text",
                str(tmp_path / "text.txt"),
                "--documents",
                "line",
                "--tokenizer",
                "char",
                "--validation-text",
                str(tmp_path / "again.txt"),
                "--test-fraction",
                "0",
                "--output",
                data,
            ]
        )
        == 0
    )
    assert (
        cli.main(
            [
                "train",
                "--data",
                data,
                "--output",
                run,
                "--model.family",
                "gru",
                "--model.sequence_length",
                "32",
                "--model.embedding_dim",
                "32",
                "--model.hidden_dim",
                "64",
                "--train.steps",
                "150",
                "--train.global_batch_size",
                "8",
                "--train.learning_rate",
                "1e-2",
                "--train.tensorboard",
                "false",
                "--train.xla",
                "off",
                "--json",
            ]
        )
        == 0
    )
    assert last_json(capsys)["validation"]["perplexity"] < 1.6
    assert cli.main(["export", run, "--output", export, "--quantize", "int8"]) == 0
    text = load(export).generate("今天天气", max_tokens=30).text
    assert "今天天气" + text == TEXTS["chinese"][0]
