import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers import (
    StreamDecoder,
    load_tokenizer,
    train_tokenizer,
)
from tfscale.text.tokenizers.cutting import split_long
from tfscale.text.tokenizers.kinds import sentencepiece
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.kinds.char import CharacterTokenizer
from tfscale.text.tokenizers.kinds.word import WordTokenizer

LOSSLESS = ("sentencepiece", "sentencepiece-bpe", "byte")
HARD_TEXTS = [
    "",
    " ",
    "  leading and trailing  ",
    "\n",
    "\r\n\r\n",
    "\tdef f(x):\r\n        return x\n\n\n",
    "\0",
    "a\0b\0",
    "🙂👩‍👩‍👧‍👦🇩🇪",
    "你好，世界。日本語のテキスト",
    "e\u0301 a\u0308\u0323 \u0301",
    "\u2581",
    "a\u2581b \u2581 \u2581\u2581",
    "\u2585 \ufffd \ufffe \uffff",
    "\ufeffBOM",
    "</s><s><unk><pad>",
    "<0x0A><0xE2> \\n",
    "## ###a a##b ####",
    "[UNK][CLS]",
    "\u00a0\u2003\u3000\u200b\u2028\u0085\x1c\x0b\x0c",
    "x" * 300,
    " " * 300 + "y",
    "\U0010ffff",
]

# Text of all sorts, and text of the pieces that tokenizers stumble over.
ANY_TEXT = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from([*HARD_TEXTS, "\n", " ", "#", "a", "def "]), max_size=8).map("".join),
)
PROPERTY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_lossless_tokenizers_bring_hard_texts_back(tokenizers, byte_pairs, text):
    for tokenizer in (*(tokenizers[name] for name in LOSSLESS), *byte_pairs.values()):
        assert tokenizer.lossless
        assert tokenizer.decode(tokenizer.encode(text)) == text, tokenizer.kind
        assert tokenizer.end_id not in tokenizer.encode(text)


@PROPERTY
@given(text=ANY_TEXT)
def test_lossless_tokenizers_bring_every_text_back(tokenizers, byte_pairs, text):
    for tokenizer in (*(tokenizers[name] for name in LOSSLESS), *byte_pairs.values()):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@PROPERTY
@given(text=ANY_TEXT)
def test_long_texts_of_byte_pairs_may_be_cut_before_a_space(byte_pairs, text):
    for tokenizer in byte_pairs.values():
        parts = tokenizer.encode_batch(list(split_long(text, 8)))
        assert [id for part in parts for id in part] == tokenizer.encode(text)


def test_saved_byte_pairs_are_the_same(byte_pairs, tmp_path):
    for name, tokenizer in byte_pairs.items():
        tokenizer.save(str(tmp_path / name))
        loaded = load_tokenizer(str(tmp_path / name))
        assert (loaded.digest, loaded.end_id) == (tokenizer.digest, tokenizer.end_id)
        assert loaded.encode(HARD_TEXTS[5]) == tokenizer.encode(HARD_TEXTS[5])


@PROPERTY
@given(data=st.data())
def test_wordpiece_and_characters_bring_texts_of_their_alphabet_back(tokenizers, data):
    wordpiece = tokenizers["wordpiece"]
    alphabet = [
        piece for piece in map(wordpiece.piece, range(wordpiece.vocabulary_size)) if len(piece) == 1
    ]
    assert {"#", " ", "\n", "a"} <= set(alphabet)
    text = data.draw(st.text(alphabet=alphabet, max_size=200))
    assert wordpiece.decode(wordpiece.encode(text)) == text
    characters = tokenizers["char"]
    text = data.draw(st.text(alphabet=characters.characters, max_size=50))
    assert characters.decode(characters.encode(text)) == text


@PROPERTY
@given(text=ANY_TEXT)
def test_decoding_is_idempotent(tokenizers, text):
    for name in ("word", "char"):
        tokenizer = tokenizers[name]
        once = tokenizer.decode(tokenizer.encode(text))
        assert tokenizer.decode(tokenizer.encode(once)) == once, name
    wordpiece = tokenizers["wordpiece"]
    ids = wordpiece.encode(text)
    if wordpiece.unknown_id not in ids:
        assert wordpiece.decode(ids) == text


@PROPERTY
@given(text=ANY_TEXT)
def test_no_text_spells_the_end_token_and_all_ids_are_in_the_vocabulary(tokenizers, text):
    for tokenizer in tokenizers.values():
        ids = tokenizer.encode(text)
        assert tokenizer.end_id not in ids
        assert all(0 <= id < tokenizer.vocabulary_size for id in ids)


@PROPERTY
@given(texts=st.lists(ANY_TEXT, max_size=4))
def test_batches_and_arrays_equal_single_encoding(tokenizers, texts):
    for tokenizer in tokenizers.values():
        single = [tokenizer.encode(text) for text in texts]
        assert tokenizer.encode_batch(texts) == single
        joined, counts = tokenizer.encode_joined(texts)
        assert (joined.dtype, joined.tolist()) == (
            np.int32,
            list(itertools.chain.from_iterable(single)),
        )
        assert counts.tolist() == [len(ids) for ids in single]


@pytest.mark.parametrize("length", [3, 300])
def test_many_texts_are_joined_as_they_are_encoded_alone(tokenizers, sample_documents, length):
    """Short texts and long ones take other ways through SentencePiece, and groups are of 256."""
    sample = "".join(sample_documents)
    texts = [sample[at : at + length] for at in range(600)]
    for kind in ("byte", "sentencepiece"):
        for batch in (texts, [*texts, "a\u2581b"]):
            ids, counts = tokenizers[kind].encode_joined(batch)
            single = [tokenizers[kind].encode(text) for text in batch]
            assert ids.tolist() == list(itertools.chain.from_iterable(single))
            assert counts.tolist() == [len(ids) for ids in single]


@PROPERTY
@given(data=st.data())
def test_streamed_pieces_join_to_the_decoded_text(tokenizers, data):
    for name, tokenizer in tokenizers.items():
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocabulary_size - 1), max_size=40))
        decoder = StreamDecoder(tokenizer)
        pieces = [decoder.push(id) for id in ids] + [decoder.flush()]
        assert "".join(pieces) == tokenizer.decode(ids)
        if name == "byte":
            assert tokenizer.decode(ids) == bytes(id for id in ids if id < 256).decode(
                "utf-8", "replace"
            )
        if name == "wordpiece":
            parts = (
                "\ufffd" if id == tokenizer.unknown_id else tokenizer.piece(id).removeprefix("##")
                for id in ids
                if id != tokenizer.end_id
            )
            assert tokenizer.decode(ids) == "".join(parts)


@PROPERTY
@given(data=st.data())
def test_sentencepiece_decodes_as_its_own_library_does(tokenizers, data):
    for name in ("sentencepiece", "sentencepiece-bpe"):
        tokenizer = tokenizers[name]
        # Without byte pieces: for invalid UTF-8 the library writes another number of U+FFFD.
        normal = [
            id for id in range(tokenizer.vocabulary_size) if not tokenizer.piece(id).startswith("<")
        ]
        ids = data.draw(st.lists(st.sampled_from(normal), max_size=40))
        assert tokenizer.decode(ids) == tokenizer._processor.decode(ids)


@PROPERTY
@given(text=ANY_TEXT, limit=st.integers(1, 30))
def test_long_texts_are_cut_where_no_token_lies(tokenizers, text, limit):
    parts = list(split_long(text, limit))
    assert "".join(parts) == text
    for name, tokenizer in tokenizers.items():
        assert [id for part in parts for id in tokenizer.encode(part)] == tokenizer.encode(text), (
            name
        )


def test_long_code_is_cut_near_the_limit_and_tokenized_alike(tokenizer, sample_documents):
    text = "".join(sample_documents) + sample_documents[0]
    parts = list(split_long(text, 1000))
    assert len(parts) > len(text) // 2000
    assert max(map(len, parts)) < 1500
    parts = list(split_long(text))
    assert len(parts) == 3
    assert [part for whole in parts for part in split_long(whole)] == parts
    assert [id for part in parts for id in tokenizer.encode(part)] == tokenizer.encode(text)


def test_sums_over_a_long_text_do_not_change_its_tokens(tokenizers, sample_documents, monkeypatch):
    """SentencePiece adds up scores in float32, so that what is far away decides between almost equal pieces."""
    monkeypatch.setattr(sentencepiece, "LONG_TEXT", 1000)
    tokenizer = tokenizers["sentencepiece"]
    text = "".join(sample_documents)
    expected = [id for part in split_long(text, 1000) for id in tokenizer._processor.encode(part)]
    lengths = []
    encode = tokenizer._encode_batch
    monkeypatch.setattr(
        tokenizer,
        "_encode_batch",
        lambda texts: (lengths.extend(map(len, texts)), encode(texts))[1],
    )
    assert tokenizer.encode(text) == expected
    assert sum(lengths) == len(text)
    assert max(lengths) < 1500
    assert tokenizer.encode_joined([text])[0].tolist() == expected
    assert [id for part in split_long(text, 1000) for id in tokenizer.encode(part)] == expected


def test_the_stream_holds_back_half_of_a_character():
    words = train_tokenizer("word", ["the cat sat"], 20)
    the, cat = words.encode("the cat")
    assert StreamDecoder(words).push(cat) == "cat" and StreamDecoder(words, the).push(cat) == " cat"
    decoder = StreamDecoder(ByteTokenizer())
    assert [decoder.push(byte) for byte in "é!".encode()] == ["", "é", "!"]
    assert decoder.push(0xE2) == ""
    assert decoder.flush() == "\ufffd"
    assert decoder.push(ord("a")) == "a"


def test_end_tokens_decode_to_nothing(tokenizer):
    ids = tokenizer.encode("a b")
    end = tokenizer.end_id
    assert tokenizer.decode([end, *ids, end, end]) == tokenizer.decode(ids)


def test_ids_outside_the_vocabulary_are_refused(tokenizer):
    for id in (-1, tokenizer.vocabulary_size):
        with pytest.raises(TokenizerError, match=f"token id {id} is not in the vocabulary of"):
            tokenizer.decode([id])
        with pytest.raises(TokenizerError, match=f"token id {id} is not in the vocabulary of"):
            tokenizer.piece(id)


def test_pieces_are_distinct(tokenizer):
    pieces = [tokenizer.piece(id) for id in range(tokenizer.vocabulary_size)]
    assert len(set(pieces)) == tokenizer.vocabulary_size


def test_lone_surrogates_are_refused(tokenizer):
    with pytest.raises(TokenizerError, match=r"lone surrogate \(U\+D83D\) at character 2"):
        tokenizer.encode("ab\ud83d")


def test_bytes():
    tokenizer = ByteTokenizer()
    assert tokenizer.encode("aé\n") == [97, 195, 169, 10]
    assert (tokenizer.vocabulary_size, tokenizer.end_id, tokenizer.unknown_id) == (257, 256, None)
    assert [tokenizer.piece(id) for id in (65, 10, 32, 255, 256)] == [
        "A",
        "<0x0A>",
        "<0x20>",
        "<0xFF>",
        "</s>",
    ]


def test_characters():
    tokenizer = CharacterTokenizer("ab\n")
    assert tokenizer.encode("ba\nc") == [3, 2, 4, 0]
    assert tokenizer.decode([3, 1, 2, 4, 0]) == "ba\n\ufffd"
    assert (tokenizer.vocabulary_size, tokenizer.end_id, tokenizer.unknown_id) == (5, 1, 0)


def test_words_are_scored_like_wikitext():
    tokenizer = WordTokenizer(["the", "cat"])
    assert tokenizer.encode(" the  cat \n\n<unk> the dog </s> <eos>") == [3, 4, 2, 2, 0, 3, 0, 0, 0]
    assert tokenizer.decode([3, 4, 2, 2, 0, 3]) == "the cat\n\n<unk> the"
    assert tokenizer.decode([3, 1, 4]) == "the cat"
    assert (tokenizer.vocabulary_size, tokenizer.end_id, tokenizer.unknown_id) == (5, 1, 0)


def test_wordpiece_marks_continuations_and_keeps_white_space(tokenizers):
    tokenizer = tokenizers["wordpiece"]
    pieces = [tokenizer.piece(id) for id in tokenizer.encode("        return returns ## x")]
    assert pieces[0].isspace()
    assert " return" in pieces
    assert [piece for piece in pieces if piece.endswith("#")] == [" #", "#"]
    assert pieces[pieces.index("##s") - 1] == " return"


def test_sentencepiece_puts_line_ends_and_indentation_into_pieces(tokenizers):
    pieces = {tokenizers["sentencepiece"].piece(id) for id in range(700)}
    assert any(re.fullmatch("[):]+\n", piece) for piece in pieces)
    assert "\u2581" * 8 in pieces or "\u2581" * 7 in pieces


def test_importing_tokenizers_loads_no_framework():
    code = (
        "import sys, tfscale, tfscale.text.tokenizers\n"
        "print(sorted({'tensorflow', 'keras', 'tokenizers'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
