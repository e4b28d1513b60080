"""Tokenizers as Hugging Face's library reads them: equal ids on hostile texts, and originals unchanged."""

import json

import pytest
import tokenizers

from tests.exporting.hub_tokenizers import KINDS, TEXTS, WORDS, tokenizer_of
from tests.text.hostile import HOSTILE
from tfscale.errors import ExportError, TokenizerError
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.hub_files import hub_files, original_files

ORIGINAL = {
    "tokenizer.json": b'{"model": {}}\n\n ',
    "tokenizer_config.json": b'{"chat_template": "{{ x }}"}',
    "special_tokens_map.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_equal_on_hostile_texts(kind):
    ours = tokenizer_of(kind)
    theirs = tokenizers.Tokenizer.from_str(hub_files(ours, 64)["tokenizer.json"].decode())
    theirs.encode_special_tokens = True
    assert theirs.get_vocab_size() == ours.vocabulary_size
    for text in [*HOSTILE, WORDS, *TEXTS[:2]]:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ids == ours.encode(text), text
        if ours.lossless:
            assert theirs.decode(ids) == text, text


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_token_and_special_tokens_are_found(kind):
    ours = tokenizer_of(kind)
    files = hub_files(ours, 64)
    theirs = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
    assert theirs.encode("the fox").ids == ours.prompt_ids(ours.encode("the fox"))
    end = ours.piece(ours.end_id)
    assert theirs.encode(f"the{end}", add_special_tokens=False).ids[-1] == ours.end_id
    assert theirs.decode([*ours.encode("the"), ours.end_id]) == "the"
    config = json.loads(files["tokenizer_config.json"])
    assert config["eos_token"] == end and config["model_max_length"] == 64


def test_the_mark_of_a_space_is_the_one_difference():
    ours = tokenizer_of("sentencepiece")
    theirs = tokenizers.Tokenizer.from_str(hub_files(ours, 64)["tokenizer.json"].decode())
    marked = theirs.encode("a\u2581b", add_special_tokens=False).ids
    assert marked == ours.encode("a b") != ours.encode("a\u2581b")


def hub_folder(path):
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    for name, content in ORIGINAL.items():
        (path / name).write_bytes(content)
    return str(path)


def test_the_files_of_a_folder_come_back_as_they_were(tmp_path):
    tokenizer = train_tokenizer("byte", [], 257)
    digest = tokenizer.digest
    tokenizer.original = original_files(hub_folder(tmp_path / "theirs"))
    tokenizer.save(str(tmp_path / "run"))
    loaded = load_tokenizer(str(tmp_path / "run"))
    assert hub_files(loaded, 64) == ORIGINAL
    assert loaded.digest == digest
    tokenizer.save(str(tmp_path / "device"), originals=False)
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["tokenizer_config.json"]
    assert not load_tokenizer(str(tmp_path / "device")).original
    (tmp_path / "run" / "original" / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(TokenizerError, match="tokenizer.json was changed after it was saved"):
        load_tokenizer(str(tmp_path / "run"))


def test_other_folders_have_no_originals(tmp_path):
    assert original_files(str(tmp_path)) == {}
    (tmp_path / "config.json").write_text('{"class_name": "LlamaBackbone"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    assert original_files(str(tmp_path)) == {}


def test_a_tokenizer_of_words_has_no_form():
    with pytest.raises(ExportError, match="no form for a word tokenizer"):
        hub_files(train_tokenizer("word", ["the fox"], 5), 64)


def written(kind, path, stops=None):
    """Writes the files of a tokenizer as a folder of somebody else."""
    path.mkdir()
    files = hub_files(tokenizer_of(kind), 64)
    if kind.startswith("bpe"):
        # As Llama 3 and Qwen have it: special tokens beside the vocabulary.
        content = json.loads(files["tokenizer.json"])
        for token in content["added_tokens"]:
            del content["model"]["vocab"][token["content"]]
        files = {**files, "tokenizer.json": json.dumps(content).encode()}
    for name, content in files.items():
        (path / name).write_bytes(content)
    if stops:
        (path / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    return files


@pytest.mark.parametrize(
    "kind", ["bpe_gpt2", "bpe_llama3", "sentencepiece_bpe_leading", "sentencepiece"]
)
def test_a_folder_of_hugging_face_is_read_and_comes_back(kind, tmp_path):
    ours = tokenizer_of(kind)
    files = written(kind, tmp_path / "theirs", list(ours.stop_ids))
    loaded = load_tokenizer(str(tmp_path / "theirs"))
    assert (loaded.kind, loaded.vocabulary_size) == (ours.kind, ours.vocabulary_size)
    assert (loaded.end_id, loaded.stop_ids) == (ours.end_id, ours.stop_ids)
    assert loaded.prompt_start == ours.prompt_start
    for text in [*HOSTILE, WORDS]:
        assert loaded.encode(text) == ours.encode(text), text
    loaded.save(str(tmp_path / "run"))
    assert hub_files(load_tokenizer(str(tmp_path / "run")), 64) == files


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"tokenizer_config.json": b"{}"}, "names no eos_token"),
        ({"tokenizer_config.json": b"[]"}, "is not a tokenizer's configuration"),
        ({"tokenizer.json": b'{"model": {}}'}, "is not a tokenizer of Hugging Face's library"),
        ({"tokenizer.json": None}, "has no tokenizer|is not a tokenizer's configuration"),
    ],
)
def test_a_damaged_folder_is_one_line(changes, says, tmp_path):
    written("bpe_gpt2", tmp_path / "theirs")
    for name, content in changes.items():
        if content is None:
            (tmp_path / "theirs" / name).unlink()
        else:
            (tmp_path / "theirs" / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=says) as raised:
        load_tokenizer(str(tmp_path / "theirs"))
    assert "\n" not in str(raised.value)


def test_other_kinds_of_a_folder_are_refused(tmp_path):
    written("wordpiece", tmp_path / "theirs")
    with pytest.raises(TokenizerError, match="kind WordPiece, not byte-pair encoding over bytes"):
        load_tokenizer(str(tmp_path / "theirs"))
