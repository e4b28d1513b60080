"""Text of named sources, from the options to the shards and the manifest."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tfscale.commands.prepare import COMMAND
from tfscale.config import PrepareConfig
from tfscale.data.index import read_index
from tfscale.data.manifest import Manifest, SourceCounts
from tfscale.data.prepare import prepare
from tfscale.data.retokenize import retokenize
from tfscale.data.tokens import token_blocks
from tfscale.data.window_plan import window_plan
from tfscale.errors import ConfigError, DataError
from tfscale.text.tokenizers import train_tokenizer

WEB = [f"web page {number} of some words" for number in range(40)]
CODE = [f"x{number} = {number} * {number}" for number in range(30)]
MORE = [f"def f{number}(): pass" for number in range(20)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for name, lines in (("web", WEB), ("code", CODE), ("more", MORE)):
        (folder / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def options(texts, output, **given):
    return {
        "source": {
            "web": str(texts / "web.txt"),
            "code": [str(texts / "code.txt"), str(texts / "more.txt")],
        },
        "documents": "line",
        "tokenizer": "byte",
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "output": str(output),
    } | given


@pytest.fixture(scope="module")
def data(texts, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "data"
    prepare(PrepareConfig(**options(texts, output)), progress=False)
    return str(output)


def documents(data, manifest, split, source):
    stream = b"".join(
        bytes(token if token < 256 else 10 for token in block)
        for block in token_blocks(data, manifest, split, source)
    )
    return stream.decode().splitlines()


def test_the_documents_of_each_source_are_in_shards_of_their_own(data):
    manifest = Manifest.load(data, verify="sha256")
    found = {}
    for split, described in manifest.splits.items():
        total = SourceCounts(0, 0, 0)
        for source, counts in described.sources.items():
            texts = documents(data, manifest, split, source)
            found.setdefault(source, []).extend(texts)
            # Bytes are tokens, and an end token follows each document.
            size = sum(map(len, texts))
            assert counts == SourceCounts(len(texts), size + len(texts), size)
            total = SourceCounts(
                *np.add([*vars(total).values()], [*vars(counts).values()]).tolist()
            )
        assert total == SourceCounts(described.documents, described.tokens, described.utf8_bytes)
        for shard in described.shards:
            assert shard.file.startswith(f"{split}.{shard.source}-0000")
    assert {source: sorted(texts) for source, texts in found.items()} == {
        "web": sorted(WEB),
        "code": sorted(CODE + MORE),
    }
    # The order of the documents is that of the files.
    train = documents(data, manifest, "train", "code")
    assert train == [text for text in CODE + MORE if text in train]
    assert window_plan(manifest, 8, 4, {"web": 1, "code": 1}).groups == 1
    assert read_index(data, manifest).first.tolist() == [0, 2]


def test_the_command_line_says_the_same(texts, data, tmp_path, capsys):
    words = ["--documents", "line", "--tokenizer", "byte", "--processes", "1"]
    words += ["--validation-fraction", "0.1", "--test-fraction", "0.1"]
    words += ["--source", f"web={texts / 'web.txt'}", f"code={texts / 'code.txt'}"]
    words += ["--source", f"code={texts / 'more.txt'}", "--output", str(tmp_path / "data")]
    result = COMMAND.run(COMMAND.parse(words))
    manifest = Manifest.load(data)
    assert result["splits"]["train"]["sources"]["code"] == {
        "documents": manifest.splits["train"].sources["code"].documents,
        "tokens": manifest.splits["train"].sources["code"].tokens,
        "bytes": manifest.splits["train"].sources["code"].utf8_bytes,
    }
    for name in sorted(os.listdir(data)):
        if os.path.isfile(f"{data}/{name}"):
            with open(f"{data}/{name}", "rb") as one, open(tmp_path / "data" / name, "rb") as other:
                assert one.read() == other.read(), name
    capsys.readouterr()
    COMMAND.show(result)
    assert "  code " in capsys.readouterr().out


def test_another_tokenizer_keeps_the_sources_apart(data, tmp_path):
    tokenizer = train_tokenizer("byte", [], 300)
    new = retokenize(data, tokenizer, str(tmp_path / "new"), progress=False)
    old = Manifest.load(data)
    assert [shard.sha256 for shard in new.splits["train"].shards] == [
        shard.sha256 for shard in old.splits["train"].shards
    ]
    assert new.splits["validation"].sources == old.splits["validation"].sources


def test_held_out_text_of_its_own_belongs_to_no_source(texts, tmp_path):
    (tmp_path / "held.txt").write_text("held out\nby name")
    held = {"validation_text": [str(tmp_path / "held.txt")], "test_fraction": 0}
    manifest = prepare(PrepareConfig(**options(texts, tmp_path / "data", **held)), progress=False)
    assert manifest.splits["validation"].sources == {}
    assert manifest.splits["train"].sources["web"].documents == len(WEB)
    assert Manifest.load(str(tmp_path / "data")) == manifest


def test_counts_that_contradict_the_shards(data, tmp_path):
    manifest = json.loads(Path(f"{data}/manifest.json").read_text())
    manifest["splits"]["train"]["sources"]["web"]["tokens"] += 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="the shards of train have other sources than it counts"):
        Manifest.load(str(tmp_path))


def test_a_file_of_two_sources(texts, tmp_path):
    both = {"a": str(texts / "web.txt"), "b": str(texts)}
    with pytest.raises(DataError, match=r"web\.txt is in the a text and in the b text; leave it"):
        prepare(PrepareConfig(**options(texts, tmp_path / "data", source=both)), progress=False)


def test_an_empty_source(texts, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    empty = {"web": str(texts / "web.txt"), "code": str(tmp_path / "empty.txt")}
    with pytest.raises(DataError, match=r"the text of the source code is empty: .*empty\.txt"):
        prepare(PrepareConfig(**options(texts, tmp_path / "data", source=empty)), progress=False)
    assert not (tmp_path / "data").exists()


def test_sources_of_too_few_documents_are_not_cut(texts, tmp_path):
    few = options(texts, tmp_path / "data", documents="file")
    few["source"] = {"web": str(texts / "web.txt"), "code": str(texts / "code.txt")}
    with pytest.raises(DataError, match="2 different documents cannot make 3 splits"):
        prepare(PrepareConfig(**few), progress=False)


def test_a_source_that_is_all_held_out(texts, tmp_path):
    (tmp_path / "one.txt").write_text(WEB[0])
    # One document is left to train on, so that one of the two sources has none.
    source = {"code": [str(texts / "code.txt")], "one": [str(tmp_path / "one.txt")]}
    given = {"source": source, "validation_fraction": 0.5, "test_fraction": 0.5}
    with pytest.raises(DataError, match=r"all documents of the source \w+ are held out; give"):
        prepare(PrepareConfig(**options(texts, tmp_path / "data", **given)), progress=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ["a.txt"]}, "give one of text, source and corpus; received source="),
        ({"source": {}}, "give either text or corpus"),
        ({"source": {"a.b": "x"}}, "the name 'a.b' becomes a part of names of files"),
        ({"source": {"../a": "x"}}, "the name '../a' becomes a part of names of files"),
        ({"source": ["web=x"]}, r"source: expected NAME=VALUE, once or more; received \['web=x'\]"),
    ],
)
def test_options_that_name_no_sources(texts, given, message):
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**options(texts, "data", **given))
