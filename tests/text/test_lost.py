import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfscale.text.cleaning import Cleaner
from tfscale.text.scored import document_stream, read_stream
from tfscale.text.tokenizers.kinds.char import CharacterTokenizer
from tfscale.text.tokenizers.kinds.word import WordTokenizer
from tfscale.text.tokenizers.lost import gap_bits

USUAL = math.log2(256 / 255)


def lost(tokenizer, *texts):
    return document_stream(tokenizer, texts)[1].lost_bits


def test_an_unknown_character_costs_its_bytes():
    # Of one, two, three and four bytes.
    assert lost(CharacterTokenizer("ab"), "abcé€🙂ab") == 8 * (1 + 2 + 3 + 4)
    assert lost(CharacterTokenizer("ab"), "abba", "") == 0


def test_an_unknown_word_costs_its_bytes_and_its_end():
    tokenizer = WordTokenizer(["the", "cat"])
    text = document_stream(tokenizer, ["the cat sat\nthe ox"])[1]
    assert (text.utf8_bytes, text.unknown_tokens) == (18, 2)
    # Lines of three and two words have four and three gaps.
    assert text.lost_bits == pytest.approx(8 * (3 + 1) + 8 * (2 + 1) + 7 * USUAL)
    # What stands for unknown words in the Penn Treebank is spelled like any other word.
    assert lost(tokenizer, "<unk>") == pytest.approx(8 * 6 + 2 * USUAL)


@pytest.mark.parametrize(
    ("text", "usual", "other"),
    [
        ("a b", 3, []),
        ("", 1, []),
        ("a\n\nb", 5, []),
        ("a  b", 2, [2]),
        (" a b", 2, [1]),
        ("a\r\nb\r\n", 3, [1, 1]),
        ("a\u3000b ", 1, [3, 1]),
        ("\t", 0, [1]),
    ],
)
def test_white_space_that_decoding_would_not_write_is_spelled(text, usual, other):
    assert gap_bits(text) == pytest.approx(
        usual * USUAL + sum(8 + 8 * (size + 1) for size in other)
    )


def test_words_of_jieba_lose_the_length_of_white_space():
    pytest.importorskip("jieba")
    tokenizer = WordTokenizer(["我", "来到", " "], "jieba")
    text = document_stream(tokenizer, ["我来到 北京  a\n我"])[1]
    assert text.unknown_tokens == 2
    assert text.lost_bits == pytest.approx(8 * (6 + 1) + 8 * (1 + 1) + USUAL + 8 + 8 * (2 + 1))


def test_an_unknown_piece_costs_its_word(tokenizers):
    wordpiece = tokenizers["wordpiece"]
    ids, text = document_stream(wordpiece, ["def 名字(x):"])
    # The space before a word is a part of it.
    assert [wordpiece.piece(id) for id in ids].count("[UNK]") == text.unknown_tokens == 1
    assert text.lost_bits == 8 * (len(" 名字".encode()) + 1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(alphabet="ab \n\t\r\u3000é", max_size=30))
def test_the_text_is_its_tokens_and_what_was_lost(text):
    """Counts the price from the words themselves, which the tokenizer takes from sums of bytes."""
    known = {"a", "ab", "é"}
    bits = 0.0
    for line in text.split("\n"):
        bits += sum(8 * (len(word.encode()) + 1) for word in line.split() if word not in known)
        gaps = re.split(r"[^\s]+", line)
        for place, gap in enumerate(gaps):
            usual = "" if place in (0, len(gaps) - 1) else " "
            bits += USUAL if gap == usual else 8 + 8 * (len(gap.encode()) + 1)
    assert lost(WordTokenizer(sorted(known)), text) == pytest.approx(bits)


def test_tokenizers_that_lose_nothing_charge_nothing(tokenizers, byte_pairs):
    for tokenizer in (
        tokenizers["sentencepiece"],
        tokenizers["sentencepiece-bpe"],
        tokenizers["byte"],
    ):
        assert lost(tokenizer, "a\0  名字\r\n") == 0
    assert all(lost(tokenizer, "a\0  名字\r\n") == 0 for tokenizer in byte_pairs.values())


def test_a_smaller_vocabulary_is_never_cheaper(tokenizers):
    """The bits of a text under the best model of its single tokens grow with every word that leaves."""
    text = (
        "to be or not to be that is the question " * 3 + "whether tis nobler in the mind to suffer"
    )
    words = sorted(set(text.split()), key=lambda word: (-text.split().count(word), word))
    costs = []
    for size in range(len(words), -1, -3):
        ids, known = document_stream(WordTokenizer(words[:size]), [text])
        counts = np.bincount(ids)[ids]
        costs.append(float(-np.log2(counts / len(ids)).sum()) + known.lost_bits)
    assert costs == sorted(costs)


def test_documents_are_cleaned_and_end():
    tokenizer = CharacterTokenizer("ab")
    tokenizer.cleaner = Cleaner(lowercase=True)
    ids, text = document_stream(tokenizer, ["AB", "aC"])
    assert ids.tolist() == [2, 3, 1, 2, 0, 1]
    assert (text.utf8_bytes, text.unknown_tokens, text.lost_bits) == (4, 1, 8)
    assert read_stream(tokenizer, "AB")[0] == [2, 3, 1]
    stream, known = read_stream(tokenizer, [2, 0], utf8_bytes=2)
    assert (stream, known.utf8_bytes, known.unknown_tokens, known.lost_bits) == ([2, 0], 2, 1, None)


def test_long_texts_are_measured_in_the_parts_of_a_data_folder():
    tokenizer = WordTokenizer(["word"])
    text = "word " * 30_000 + "end"
    ids, known = document_stream(tokenizer, [text])
    assert len(ids) == 30_002
    # Two cuts, each before a space, which the part that follows begins with.
    assert known.lost_bits == pytest.approx(8 * 4 + (30_001 + 1) * USUAL + 2 * (8 + 8 * 2), abs=0.1)
