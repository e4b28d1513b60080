"""Tokenizers as Hugging Face's library reads them: equal ids on hostile texts, and originals unchanged."""

import json

import pytest
import tokenizers

from tests.exporting.hub_tokenizers import KINDS, TEXTS, WORDS, tokenizer_of
from tests.text.hostile import HOSTILE
from tfscale.errors import ExportError, TokenizerError
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.text.tokenizers.hub_files import chat_templates, hub_files, original_files

ORIGINAL = {
    "tokenizer.json": b'{"model": {}}\n\n ',
    "tokenizer_config.json": b'{"chat_template": "{{ x }}"}',
    "special_tokens_map.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "additional_chat_templates/tool_use.jinja": b"{{ tools }}\r\n",
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
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    (path / "additional_chat_templates" / "notes.txt").write_text("no template")
    return str(path)


def test_the_files_of_a_folder_come_back_as_they_were(tmp_path):
    tokenizer = train_tokenizer("byte", [], 257)
    digest = tokenizer.digest
    tokenizer.original = original_files(hub_folder(tmp_path / "theirs"))
    tokenizer.save(str(tmp_path / "run"))
    loaded = load_tokenizer(str(tmp_path / "run"))
    assert hub_files(loaded, 64) == ORIGINAL
    assert loaded.digest == digest
    # Both are preferred to tokenizer_config.json, as in transformers.
    assert chat_templates(loaded) == {"default": "{{ messages }}", "tool_use": "{{ tools }}\r\n"}
    tokenizer.save(str(tmp_path / "device"), originals=False)
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["tokenizer_config.json"]
    assert not load_tokenizer(str(tmp_path / "device")).original
    (tmp_path / "run" / "original" / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(TokenizerError, match="tokenizer.json was changed after it was saved"):
        load_tokenizer(str(tmp_path / "run"))


@pytest.mark.parametrize("stray", ["../x", "additional_chat_templates/..", "other/x.jinja"])
def test_a_file_elsewhere_is_no_original(stray, tmp_path):
    tokenizer = train_tokenizer("byte", [], 257)
    tokenizer.save(str(tmp_path))
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "original": {stray: "0"}}))
    with pytest.raises(TokenizerError, match="names the file '.*', which is not in its folder"):
        load_tokenizer(str(tmp_path))


def test_other_folders_have_no_originals(tmp_path):
    assert original_files(str(tmp_path)) == {}
    (tmp_path / "config.json").write_text('{"class_name": "LlamaBackbone"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    assert original_files(str(tmp_path)) == {}
    # A folder of Hugging Face has them, whatever else it lacks.
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert original_files(str(tmp_path)) == {"tokenizer.json": b"{}"}


def test_a_tokenizer_of_words_has_no_form():
    with pytest.raises(ExportError, match="no form for a word tokenizer"):
        hub_files(train_tokenizer("word", ["the fox"], 5), 64)


def test_a_folder_that_was_taken_comes_back(tmp_path):
    ours, theirs = tokenizer_of("bpe_gpt2"), tmp_path / "theirs"
    theirs.mkdir()
    files = hub_files(ours, 64)
    for name, content in files.items():
        (theirs / name).write_bytes(content)
    loaded = load_tokenizer(str(theirs))
    assert (loaded.vocabulary_size, loaded.end_id) == (ours.vocabulary_size, ours.end_id)
    for text in [*HOSTILE, WORDS]:
        assert loaded.encode(text) == ours.encode(text), text
    loaded.save(str(tmp_path / "run"))
    assert hub_files(load_tokenizer(str(tmp_path / "run")), 64) == files
