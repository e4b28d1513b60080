"""Texts that spell special tokens of tokenizers that are taken: they stay texts."""

import json
import unicodedata

import pytest
import sentencepiece
import tokenizers as library

from tests.text.hostile import HOSTILE
from tests.text.theirs import HUGGING_FACE, SENTENCEPIECE, prepared, sentencepiece_model
from tfscale.data.tokens import split_stream
from tfscale.errors import TokenizerError
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.sentencepiece_models import parse_model

DOCUMENTS = ["the cats of house 7 saw 123 birds </s> and slept [EOS] naïve café 你好 🙂\n" * 20]
WIDE = "＜/s＞"
"""Normalized it is `</s>`."""


def t5(folder, change=lambda content: None):
    content = json.loads(HUGGING_FACE["t5"](DOCUMENTS))
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return load_tokenizer(str(folder))


@pytest.mark.parametrize(
    "text",
    [
        WIDE,
        f"a {WIDE} b",
        f"ﬁ{WIDE}{WIDE}ﬁ",
        f"</s>{WIDE}</s>",
        "＜/s>x</s＞",
        "x  ﷺ  </s>",
        f"{WIDE} " * 50,
    ],
)
def test_a_text_that_is_normalized_to_a_special_token(tmp_path, text):
    tokenizer = t5(tmp_path)
    theirs = library.Tokenizer.from_str((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    theirs.encode_special_tokens = True
    assert tokenizer.end_id in theirs.encode(text, add_special_tokens=False).ids
    ids = tokenizer.encode(text)
    assert tokenizer.end_id not in [*ids, *tokenizer.encode_continued(text)]
    # The text is the same, in other tokens.
    meant = unicodedata.normalize("NFKC", text).count("</s>")
    assert tokenizer.decode(ids).count("</s>") == meant > 0


def test_data_of_such_a_text(tmp_path):
    tokenizer = t5(tmp_path)
    texts = [f"the cats {WIDE} of house", "saw </s> birds"]
    stream = split_stream(prepared(tmp_path, texts), "train").tolist()
    end = [tokenizer.end_id]
    assert stream == [*tokenizer.encode(texts[0]), *end, *tokenizer.encode(texts[1]), *end]
    assert stream.count(tokenizer.end_id) == 2


def test_one_character_that_is_normalized_to_a_special_token(tmp_path):
    """`…` is `...` there; it becomes unknown."""

    def ends_with_dots(content):
        assert content["model"]["vocab"][1][0] == "</s>"
        content["model"]["vocab"][1][0] = content["added_tokens"][1]["content"] = "..."
        content["post_processor"] = None

    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "..."}')
    tokenizer = t5(tmp_path, ends_with_dots)
    ids = tokenizer.encode("the…cats")
    assert tokenizer.end_id not in ids and tokenizer.unknown_id in ids
    assert tokenizer.end_id not in tokenizer.encode("the...cats")


def model_with(name, piece, kind):
    """A SentencePiece model with one more piece, or with another type of one that it has."""
    proto = parse_model(sentencepiece_model(DOCUMENTS, name))
    for found in [found for found in proto.pieces if found.piece == piece]:
        found.type = getattr(found, kind)
        return proto.SerializeToString()
    added = proto.pieces.add(piece=piece, score=-0.5)
    added.type = getattr(added, kind)
    return proto.SerializeToString()


@pytest.mark.parametrize("kind", ["NORMAL", "USER_DEFINED"])
@pytest.mark.parametrize("piece", ["</s>", "[EOS]"])
@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_no_text_makes_the_end_token_of_a_sentencepiece_model(tmp_path, name, piece, kind):
    content = model_with(name, piece, kind)
    (tmp_path / "tokenizer.model").write_bytes(content)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": piece}))
    tokenizer = load_tokenizer(str(tmp_path))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert tokenizer.piece(tokenizer.end_id) == piece
    for text in [piece, f"a{piece}b", f" {piece} {piece}\n", *HOSTILE]:
        ids = tokenizer.encode(text)
        assert tokenizer.end_id not in [*ids, *tokenizer.encode_continued(text)]
        if tokenizer.end_id not in (expected := theirs.encode(text)) and "_turn>" not in text:
            assert ids == expected
    assert tokenizer.end_id in tokenizer.encode(f"a{piece}b", parse_special=True)
    again = load_tokenizer(str(tmp_path))
    again.save(str(tmp_path / "ours"))
    assert load_tokenizer(str(tmp_path / "ours")).encode(f"a{piece}b") == again.encode(f"a{piece}b")


def test_start_and_stop_tokens_are_spelled_by_no_text_either(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(model_with("bytes", "[EOS]", "USER_DEFINED"))
    last = len(parse_model((tmp_path / "tokenizer.model").read_bytes()).pieces) - 1
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, last]}))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<sep>"}')
    tokenizer = load_tokenizer(str(tmp_path))
    assert [tokenizer.piece(id) for id in tokenizer.stop_ids] == ["</s>", "[EOS]"]
    found = tokenizer.encode("a [EOS] <sep>b<sep>")
    assert {*tokenizer.stop_ids, tokenizer.start_id}.isdisjoint(found)


@pytest.mark.parametrize(
    ("name", "piece", "message"),
    [
        ("llama2", "a", "its special token 'a' is one that texts spell"),
        ("llama2", "<0x0A>", "its special token '<0x0A>' is one that texts spell"),
        ("bytes", "<unk>", "'<unk>', which ends a text, also stands for what is not"),
    ],
)
def test_an_end_token_that_texts_spell_in_any_case_is_refused(tmp_path, name, piece, message):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(DOCUMENTS, name))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": piece}))
    with pytest.raises(TokenizerError, match=message) as error:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(error.value)


def test_an_unknown_token_that_ends_a_text_is_refused(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model(DOCUMENTS, "llama2"))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    with pytest.raises(TokenizerError, match="'<unk>', which ends a text, also stands for"):
        load_tokenizer(str(tmp_path))


def test_an_end_token_of_one_character_of_a_tokenizer_json_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(HUGGING_FACE["gpt2"](DOCUMENTS))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "a"}')
    with pytest.raises(TokenizerError, match="the text spells the special token 'a'"):
        load_tokenizer(str(tmp_path))


def test_the_end_token_is_not_the_unknown_one_where_all_bytes_are_known(tmp_path):
    """As OPT's file has it."""
    content = json.loads(HUGGING_FACE["gpt2"](DOCUMENTS))
    content["model"]["unk_token"] = "<|endoftext|>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.unknown_id is None and tokenizer.lossless
    assert tokenizer.end_id not in tokenizer.encode("a<|endoftext|>b")


def test_an_end_token_that_the_library_does_not_find_is_parsed(tmp_path):
    """The files beside tokenizer.json name it, and it is a piece like any other there."""
    content = json.loads(HUGGING_FACE["gpt2"](DOCUMENTS))
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "he"}')
    tokenizer = load_tokenizer(str(tmp_path))
    ids = tokenizer.encode("athe b<|endoftext|>", parse_special=True)
    last = tokenizer.special_tokens["<|endoftext|>"]
    assert ids == [*tokenizer.encode("at"), tokenizer.end_id, *tokenizer.encode(" b"), last]
    assert tokenizer.end_id not in tokenizer.encode("athe b")
