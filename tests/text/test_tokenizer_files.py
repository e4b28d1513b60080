import copy
import json
import os
import shutil
import sys

import pytest

from tfscale.errors import TokenizerError
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.kinds.char import CharacterTokenizer

TEXT = "def f(x):\n    return x  # ▁ 🙂\r\n"


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "tokenizer"))
    for directory in (tmp_path / "tokenizer", tmp_path):
        loaded = load_tokenizer(str(directory))
        assert type(loaded) is type(tokenizer)
        assert loaded.digest == tokenizer.digest
        assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
        assert (loaded.vocabulary_size, loaded.end_id, loaded.unknown_id) == (
            tokenizer.vocabulary_size,
            tokenizer.end_id,
            tokenizer.unknown_id,
        )


def test_the_digest_depends_on_the_content_alone(tokenizer, tmp_path):
    tokenizer.save(str(tmp_path / "a"))
    config = json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())
    assert config["digest"] == tokenizer.digest
    assert len(tokenizer.digest) == 64
    assert sorted(os.listdir(tmp_path / "a")) == sorted([*config["files"], "tokenizer_config.json"])


def test_the_files_are_those_that_other_libraries_read(tokenizers, tmp_path):
    import sentencepiece
    import tokenizers as huggingface

    tokenizers["sentencepiece"].save(str(tmp_path))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert processor.encode("def f(x):\n") == tokenizers["sentencepiece"].encode("def f(x):\n")
    tokenizers["wordpiece"].save(str(tmp_path))
    other = huggingface.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert other.encode("def f(x):\n").ids == tokenizers["wordpiece"].encode("def f(x):\n")


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(
        TokenizerError, match="has no tokenizer: neither it nor its folder tokenizer/"
    ):
        load_tokenizer(str(tmp_path))
    with pytest.raises(TokenizerError, match="absent has no tokenizer"):
        load_tokenizer(str(tmp_path / "absent"))


@pytest.mark.parametrize("name", ["sentencepiece", "wordpiece", "word", "char"])
def test_missing_and_changed_files_are_named(tokenizers, tmp_path, name):
    tokenizers[name].save(str(tmp_path / "good"))
    (file,) = json.loads((tmp_path / "good" / "tokenizer_config.json").read_text())["files"]

    shutil.copytree(tmp_path / "good", tmp_path / "without")
    os.remove(tmp_path / "without" / file)
    with pytest.raises(TokenizerError, match=f"file is missing: .*{file}"):
        load_tokenizer(str(tmp_path / "without"))

    content = (tmp_path / "good" / file).read_bytes()
    (tmp_path / "good" / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(TokenizerError, match="the tokenizer in .*good"):
        load_tokenizer(str(tmp_path / "good"))


def test_a_changed_entry_is_found_by_the_digest(tokenizers, tmp_path):
    tokenizers["char"].save(str(tmp_path))
    path = tmp_path / "vocabulary.json"
    characters = json.loads(path.read_text())
    path.write_text(json.dumps([*characters[1:], characters[0]], ensure_ascii=False, indent=0))
    with pytest.raises(TokenizerError, match="was changed after it was saved"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "morpheme"},
            "kind='morpheme'; expected format_version=1 and one of bpe",
        ),
        ({"format_version": 9}, "format_version=9"),
        ({"files": None}, "not a tokenizer's configuration: files is missing"),
    ],
)
def test_a_configuration_of_another_version(tokenizers, tmp_path, change, message):
    tokenizers["byte"].save(str(tmp_path))
    path = tmp_path / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), **change}
    path.write_text(
        json.dumps({name: value for name, value in config.items() if value is not None})
    )
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(str(tmp_path))
    path.write_text("{")
    with pytest.raises(TokenizerError, match="not valid JSON"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "library"), [("sentencepiece", "sentencepiece"), ("wordpiece", "tokenizers")]
)
def test_a_missing_library_is_named_with_its_pip_line(
    tokenizers, tmp_path, monkeypatch, name, library
):
    tokenizers[name].save(str(tmp_path))
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(TokenizerError, match=f"pip install {library}"):
        load_tokenizer(str(tmp_path))


def test_remote_folders(tokenizers):
    import tensorflow as tf

    tf.io.gfile.makedirs("ram://tokenizer/")
    for name in ("sentencepiece", "byte"):
        tokenizers[name].save(f"ram://{name}/tokenizer")
        assert load_tokenizer(f"ram://{name}").encode(TEXT) == tokenizers[name].encode(TEXT)


def test_cleaning_is_saved_and_is_a_part_of_the_digest(tokenizer, tmp_path):
    cleaned = copy.copy(tokenizer)
    cleaned.__dict__.pop("digest", None)
    cleaned.cleaner = Cleaner(lowercase=True, unicode_normalization="NFKC")
    cleaned.save(str(tmp_path))
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    assert config["cleaning"] == {"lowercase": True, "unicode_normalization": "NFKC"}
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.cleaner == cleaned.cleaner and loaded.digest == cleaned.digest != tokenizer.digest
    for wrong, message in (
        ({"lowercase": True}, "was changed after it was saved"),
        ({"upper": 1}, "is damaged"),
    ):
        path.write_text(json.dumps(config | {"cleaning": wrong}))
        with pytest.raises(TokenizerError, match=message):
            load_tokenizer(str(tmp_path))


def test_digests_without_cleaning_are_what_they_were(tmp_path):
    CharacterTokenizer("ab").save(str(tmp_path))
    assert "cleaning" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (
        load_tokenizer(str(tmp_path)).digest
        == "f85bedc799cc3f86b9342a0e973cf69d3fd2f343af9327775aeead42150dc6cf"
    )
