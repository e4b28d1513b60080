"""The tokenizer of a Hugging Face folder: whose reading of it the run gets."""

import json

import pytest

from tests.exporting.gguf_models import sentencepiece_file
from tests.text import theirs
from tests.text.hostile import HOSTILE
from tfscale.errors import ConfigError, TokenizerError
from tfscale.runs.hub_tokenizer import folder_tokenizer
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.kinds.sentencepiece import SentencePieceTokenizer
from tfscale.text.tokenizers.sentencepiece_json import as_tokenizer_json
from tfscale.text.tokenizers.sentencepiece_models import keeping_text

DOCUMENTS = ["the cats of house 12345 saw 123 birds and slept naïve café 你好 🙂\n" * 20]


def folder_of(path, digits):
    """Writes the files of a byte-level tokenizer whose digits stand alone, or do not."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    plain = theirs.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = theirs._byte_level(DOCUMENTS, plain, special=special)
    if digits:
        alone = theirs.pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = theirs.pre_tokenizers.Sequence([alone, plain])
    content = json.loads(theirs._json(tokenizer))
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(content))
    (path / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    ends = [tokenizer.token_to_id(text) for text in special if text != "<|im_start|>"]
    (path / "config.json").write_text(json.dumps({"eos_token_id": ends}))
    return str(path), tokenizer.get_vocab(), content["model"]["merges"]


def reader(vocabulary, merges, asked):
    """Stands for keras-hub, which cuts no digits apart; notes the stop tokens that it is given."""

    def read(stops):
        asked.append(list(stops))
        pairs = [" ".join(pair) for pair in merges]
        return BytePairTokenizer.from_merges(vocabulary, pairs, "<|im_end|>", "")

    return read


@pytest.mark.parametrize("digits, kind", [(True, "huggingface"), (False, "bpe")])
def test_ids_and_stop_tokens_are_those_of_the_folder(digits, kind, tmp_path):
    folder, vocabulary, merges = folder_of(tmp_path / "theirs", digits)
    found = folder_tokenizer(folder, len(vocabulary) + 5, [], reader(vocabulary, merges, []))
    own = load_tokenizer(folder)
    assert found.kind == kind and own.kind == "huggingface"
    assert [found.piece(id) for id in found.stop_ids] == ["<|im_end|>", "<|endoftext|>"]
    assert found.start_id == own.start_id and found.prompt_start == own.prompt_start
    for text in HOSTILE:
        assert found.encode(text) == own.encode(text), text


def test_tokens_that_texts_spell_are_those_of_the_folder(tmp_path):
    """Qwen 3's `<think>` is an added token that is no special one."""
    folder, _, merges = folder_of(tmp_path / "theirs", False)
    path = tmp_path / "theirs" / "tokenizer.json"
    whole = theirs.library.Tokenizer.from_file(str(path))
    whole.add_tokens([theirs.library.AddedToken("<think>", special=False, normalized=False)])
    whole.save(str(path))
    vocabulary = whole.get_vocab()
    found = folder_tokenizer(folder, len(vocabulary), [], reader(vocabulary, merges, []))
    assert found.kind == "huggingface" and found.found_texts() == ["<think>"]
    assert found.encode("<think>") == [vocabulary["<think>"]]
    assert found.decode([vocabulary["<think>"]]) == "<think>"
    assert "<think>" not in found.special_tokens


@pytest.mark.parametrize("taken_whole, kind", [(True, "huggingface"), (False, "bpe")])
def test_words_that_merges_do_not_reach(taken_whole, kind, tmp_path):
    """Llama 3's file takes a word that is a token as it is, whatever the merges make of it."""
    folder, vocabulary, merges = folder_of(tmp_path / "theirs", False)
    # Merges make "xz" first, and nothing of "q" and "xz".
    for text in ("qx", "xz", "qxz"):
        vocabulary[text] = len(vocabulary)
    merges = [*merges, ["x", "z"], ["q", "x"], ["qx", "z"]]
    path = tmp_path / "theirs" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] |= {"vocab": vocabulary, "merges": merges, "ignore_merges": taken_whole}
    path.write_text(json.dumps(content))
    found = folder_tokenizer(folder, len(vocabulary), [], reader(vocabulary, merges, []))
    own = load_tokenizer(folder)
    assert found.kind == kind
    assert found.encode("qxz") == own.encode("qxz")
    assert len(found.encode("qxz")) == (1 if taken_whole else 2)


def test_no_text_spells_a_special_token_that_a_model_finds(tmp_path):
    """keras-hub makes a model of Gemma 3's tokenizer.json in which texts spell every added token."""
    options = {"add_dummy_prefix": False, "user_defined_symbols": ["<mask>", "<table>"]}
    model = sentencepiece_file(**options)
    content = json.loads(as_tokenizer_json(model, False))
    content["added_tokens"][0]["special"] = True
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    theirs = SentencePieceTokenizer(keeping_text(model))
    assert len(theirs.encode("<mask>")) == 1
    size = theirs.vocabulary_size
    found = folder_tokenizer(str(tmp_path), size, [], lambda stops: theirs)
    own = load_tokenizer(str(tmp_path))
    assert found.kind == "sentencepiece" and found.special_tokens["<mask>"] == own.id_of("<mask>")
    for text in ("<mask>", "a <mask> <table>b", *HOSTILE):
        assert found.encode(text) == own.encode(text), text
    assert found.encode("<mask>", parse_special=True) == [own.id_of("<mask>")]
    assert len(found.encode("<table>")) == 1
    # Nothing is changed where nothing is found, and other kinds know their special tokens.
    assert found.spelling_none(["<mask>", "</s>"]) is found and own.spelling_none(["x"]) is own


def test_a_file_with_more_tokens_than_the_model_names_stop_tokens_alone(tmp_path):
    folder, vocabulary, merges = folder_of(tmp_path / "theirs", True)
    asked = []
    found = folder_tokenizer(folder, len(vocabulary) - 1, [], reader(vocabulary, merges, asked))
    assert found.kind == "bpe" and asked == [["<|endoftext|>"]]


def test_what_is_said_where_nobody_reads_it(tmp_path):
    def refuse(stops):
        raise ConfigError("keras-hub has none")

    folder, vocabulary, _ = folder_of(tmp_path / "theirs", False)
    assert folder_tokenizer(folder, len(vocabulary), [], refuse).kind == "huggingface"
    with pytest.raises(TokenizerError, match="'<x>' is not a special token"):
        folder_tokenizer(folder, len(vocabulary), ["<x>"], refuse)
    (tmp_path / "theirs" / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match="tokenizer.json is not taken"):
        folder_tokenizer(folder, 10, [], refuse)
    (tmp_path / "theirs" / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="keras-hub has none"):
        folder_tokenizer(folder, 10, [], refuse)
