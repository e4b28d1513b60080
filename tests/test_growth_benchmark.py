"""The growth of a corpus: the text that is made up, the memory of processes, the table and the picture."""

import os
import sys

import numpy as np
import pytest

from benchmarks import corpus_growth, growth_picture, made_text, process_tree
from benchmarks.rounds import ROOT, BenchmarkError
from tfscale.cli import main as tfscale_main


def test_made_up_text_is_a_walk_through_the_words_of_another():
    chain = made_text.chain_of("a b a c\na b")
    assert chain.words.tolist() == ["a ", "b ", "c "]
    # After a come b, c and b; after b a, and a again, with which the text begins; after c a.
    assert [sorted(part) for part in np.split(chain.followers, chain.first[1:-1])] == [
        [1, 1, 2],
        [0, 0],
        [0],
    ]
    first, second = ([next(made_text.documents(seed, chain)) for _ in "ab"] for seed in (0, 1))
    assert first[0] == first[1] != second[0]
    words = first[0].split(" ")
    assert 70 <= len(words) <= 210
    pairs = set(zip(words, words[1:], strict=False))
    assert pairs == {("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")}


def test_a_larger_text_begins_with_the_smaller(tmp_path):
    counts = [made_text.write_text(tmp_path / str(size), size) for size in (5000, 50_000)]
    small, large = ((tmp_path / str(size)).read_bytes() for size in (5000, 50_000))
    assert large.startswith(small) and 5000 <= len(small) < 8000
    assert [text.count(b"\n") for text in (small, large)] == counts


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_all_processes_is_added_up(tmp_path):
    """A process of 100 MB starts another one, while it lasts."""
    touch = "import time; data = b'x' * 100_000_000; time.sleep(1)"
    both = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {touch!r}]); {touch}"
    )
    alone, together = (
        process_tree.watch([sys.executable, "-c", code], tmp_path / "log").peak_bytes
        for code in (touch, both + "; p.wait()")
    )
    assert 100e6 < alone < 130e6
    assert 200e6 < together < 250e6
    with pytest.raises(BenchmarkError, match=r"(?s)exit code 3:.*so it is"):
        code = "import sys; print('so it is', file=sys.stderr); sys.exit(3)"
        process_tree.watch([sys.executable, "-c", code], tmp_path / "log")


def grown(tmp_path, *arguments):
    given = ["--folder", str(tmp_path / "made"), "--table", str(tmp_path / "growth.jsonl")]
    return corpus_growth.main([*given, "--picture", str(tmp_path / "growth.svg"), *arguments])


def test_the_growth_of_tiny_texts(tmp_path, capsys, monkeypatch):
    (tmp_path / "made").mkdir()
    watched = process_tree.Watched(20.0, 30.0, 1_600_000_000)

    def prepared(command, log):
        assert command[1:3] == ["-m", "tfscale"] and tfscale_main(command[3:]) == 0
        return watched

    monkeypatch.setattr(corpus_growth, "watch", prepared)
    assert grown(tmp_path, "--sizes", "30kB", "20kB", "--near-duplicates", "200") == 1
    assert os.listdir(tmp_path / "made") == []
    rows = corpus_growth.read_rows(tmp_path / "growth.jsonl")
    assert [row["name"] for row in rows] == ["20kB", "30kB", "near duplicates of 200 documents"]
    assert [corpus_growth.is_within(row) for row in rows] == [False, False, True]
    small, large, near = rows
    assert small["kept_documents"] == small["documents"] < large["documents"]
    assert near["kept_documents"] < near["documents"] == 200
    assert 20_000 <= small["text_bytes"] < 23_000
    # A row that is measured again takes the place of the first.
    watched = process_tree.Watched(1.0, 2.0, 3_000_000)
    assert grown(tmp_path, "--sizes", "20kB", "--near-duplicates", "0", "--keep") == 0
    rows = corpus_growth.read_rows(tmp_path / "growth.jsonl")
    assert [row["peak_bytes"] for row in rows] == [3_000_000, *2 * [1_600_000_000]]
    [kept] = (tmp_path / "made").iterdir()
    assert sorted(path.name for path in kept.iterdir()) == ["data", "text.txt"]
    picture = (tmp_path / "growth.svg").read_text()
    assert "20 kB" in picture and "3 MB" in picture and "1,600 MB" in picture
    printed = capsys.readouterr().out
    assert "1,500 MB: NO" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "10mb"], "'10mb' is not a size such as 10MB or 4GB"),
        (["--sizes", "999999GB"], "GB free for 999999GB of text and its data"),
    ],
)
def test_sizes_that_cannot_be_measured(tmp_path, capsys, arguments, message):
    (tmp_path / "made").mkdir()
    assert grown(tmp_path, *arguments) == 2
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error
    assert os.listdir(tmp_path) == ["made"]


def test_the_table_of_growth_and_its_picture_belong_together(tmp_path):
    rows = corpus_growth.read_rows(ROOT / "benchmarks/growth.jsonl")
    growth_picture.draw(rows, str(tmp_path / "growth.svg"))
    kept = ROOT / "docs/images/growth.svg"
    assert (tmp_path / "growth.svg").read_bytes() == kept.read_bytes()
