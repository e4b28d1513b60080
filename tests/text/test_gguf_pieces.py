"""Vocabularies of GGUF files in SentencePiece's manner, read by llama.cpp's rules in Python."""

import random

import pytest

from tests.exporting.gguf_models import (
    GEMMA_FILE,
    TABLE,
    TOKENIZERS,
    json_file,
    json_of_pieces,
    qwen_file,
    sentencepiece_file,
)
from tests.text import theirs
from tests.text.hostile import HOSTILE
from tfscale.errors import ExportError
from tfscale.text.tokenizers.gguf_pieces import in_that_manner
from tfscale.text.tokenizers.gguf_types import USER_DEFINED, check_apart
from tfscale.text.tokenizers.kinds.huggingface import HuggingFaceFile
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile

PARTS = [" ", "  ", "a", "the", "\n", "é", "狐", "==", "<", "s", ">", "/s", "1", "def", "<table>"]


def ids_by_score(entries, text):
    """The ids of a text: found tokens first, the longest; then the best pair of neighbours."""
    tokens, types = entries["tokens"], entries["token_type"]
    ids = {token: id for id, token in enumerate(tokens)}
    parts = [text] if text else []
    found = [token for token, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    for token in sorted(found, key=len, reverse=True):
        cut = []
        for part in parts:
            pieces = part.split(token) if isinstance(part, str) else [part]
            for number, piece in enumerate(pieces):
                cut += [ids[token]] if number else []
                cut += [piece] if piece != "" else []
        parts = cut
    result = []
    for number, part in enumerate(parts):
        if isinstance(part, int):
            result.append(part)
            continue
        before = entries["add_space_prefix"] and (not number or isinstance(parts[number - 1], int))
        symbols = list((" " * before + part).replace(" ", "\u2581"))
        while True:
            pairs = [
                (-entries["scores"][ids[a + b]], place)
                for place, (a, b) in enumerate(zip(symbols, symbols[1:], strict=False))
                if a + b in ids
            ]
            if not pairs:
                break
            place = min(pairs)[1]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        for symbol in symbols:
            names = [symbol] if symbol in ids else [f"<0x{byte:02X}>" for byte in symbol.encode()]
            result += [ids[name] for name in names]
    return result


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name.startswith("default, ")])
def test_scores_make_the_same_tokens_as_merges(name):
    tokenizer = TOKENIZERS[name]()
    entries = tokenizer.gguf_vocabulary()
    rng = random.Random(0)
    mixed = ["".join(rng.choices(PARTS, k=rng.randint(1, 25))) for _ in range(100)]
    for text in [*HOSTILE, *mixed, "x     y\n  z", "a\n\n\n\nb"]:
        assert ids_by_score(entries, text) == tokenizer.encode(text), text


def test_the_entries_of_a_file_by_hand():
    entries = json_file(json_of_pieces(False, TABLE)).gguf_vocabulary()
    kinds = dict(zip(entries["tokens"], entries["token_type"], strict=True))
    assert [kinds[text] for text in ("<unk>", "<s>", "</s>", "<0x0A>", "e")] == [2, 3, 3, 6, 1]
    assert [kinds[text] for text in TABLE] == [4, 4, 4]
    assert not entries["add_space_prefix"]
    assert json_file(json_of_pieces()).gguf_vocabulary()["add_space_prefix"] is True
    # Qwen's tokens are found in any text, too, and its normalizer composes characters alone.
    entries = qwen_file().gguf_vocabulary()
    assert qwen_file().composes and not json_file(json_of_pieces()).composes
    assert entries["pre"] == "qwen2" and entries["token_type"][-2:] == [4, 4]


def test_a_character_may_stand_for_its_byte():
    """Gemma 1 and 2 have the tabulator itself; a letter that is not ASCII is no byte."""
    content = json_of_pieces(False)
    vocabulary = content["model"]["vocab"]
    assert "\t" not in vocabulary
    vocabulary["\t"] = vocabulary.pop("<0x09>")
    tokenizer = json_file(content)
    entries = tokenizer.gguf_vocabulary()
    assert entries["token_type"][vocabulary["\t"]] == 1
    for text in ("a\tb", "\t\t狐"):
        assert ids_by_score(entries, text) == tokenizer.encode(text)
    assert in_that_manner(content)
    del vocabulary["<0xE7>"]
    assert not in_that_manner(content)


def test_runs_of_spaces_are_spelled_with_spaces():
    """llama.cpp writes such a token as it is spelled in the file."""
    entries = SentencePieceFile(sentencepiece_file(**GEMMA_FILE)).gguf_vocabulary()
    kinds = dict(zip(entries["tokens"], entries["token_type"], strict=True))
    assert kinds["  "] == kinds["     "] == 4 and "\u2581\u2581" not in kinds
    # Spaces themselves are in no text when SentencePiece looks for them.
    options = {"add_dummy_prefix": False, "user_defined_symbols": ["  "]}
    entries = SentencePieceFile(sentencepiece_file(**options)).gguf_vocabulary()
    assert dict(zip(entries["tokens"], entries["token_type"], strict=True))["  "] == 5


def changed(change, plain=()):
    content = json_of_pieces(not plain, plain)
    change(content)
    return json_file(content)


def drop_a_merge(content):
    del content["model"]["merges"][3]


def mix(content):
    merges = content["model"]["merges"]
    ways = {}
    for place, (first, second) in enumerate(merges):
        ways.setdefault(first + second, []).append(place)
    place = next(places[0] for places in ways.values() if len(places) > 1)
    merges.append(merges.pop(place))


def metaspace(content):
    first = {"prepend_scheme": "first", "split": False}
    content["normalizer"] = None
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", **first}


def strip(content):
    content["added_tokens"][-1]["rstrip"] = True


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: changed(drop_a_merge), "has no merge of .* which llama.cpp would join to"),
        (lambda: changed(mix), "makes .* by several merges with those of another token"),
        (lambda: changed(metaspace), "but for those that begin with one, and llama.cpp before all"),
        (lambda: changed(strip, TABLE), "the added token .* with rstrip, which llama.cpp would"),
        (
            lambda: changed(lambda content: content.update(normalizer={"type": "NFKC"})),
            "changes or cuts texts in another way than Llama 2, Mistral and Gemma do",
        ),
        (lambda: HuggingFaceFile(theirs.llama2(["the cat sat " * 9]), "</s>"), "has no merge of"),
        (
            lambda: SentencePieceFile(sentencepiece_file(normalization_rule_name="nmt_nfkc")),
            "changes texts .nmt_nfkc. before it cuts them",
        ),
        (lambda: SentencePieceFile(sentencepiece_file(byte_fallback=False)), "token for each byte"),
        (
            lambda: SentencePieceFile(sentencepiece_file(user_defined_symbols=["<table>"])),
            "finds '<table>' in any text and puts a space before texts",
        ),
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused(make, message):
    with pytest.raises(ExportError, match=message):
        make().gguf_vocabulary()


def test_tokens_that_overlap():
    check_apart(["<think>", "</think>", "\n\n", "\n\n\n"])
    with pytest.raises(ExportError, match="'ab' and 'bc' may overlap"):
        check_apart(["ab", "bc"])
