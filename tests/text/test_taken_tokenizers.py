"""Tokenizers of other libraries: ids and texts as their own library has them, files as they were."""

import json
import re

import numpy as np
import pytest
import sentencepiece
import tokenizers as library

from tests.text.hostile import HOSTILE, MARKED
from tests.text.theirs import HUGGING_FACE, SENTENCEPIECE, sentencepiece_model
from tfscale.errors import PromptError, TokenizerError
from tfscale.text.tokenizers import StreamDecoder, load_tokenizer
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile
from tfscale.text.tokenizers.lost import USUAL_GAP_BITS
from tfscale.text.tokenizers.special import turns_end_with

TEXTS = [*HOSTILE, *MARKED]


@pytest.fixture(scope="session")
def their_files(sample_documents):
    """tokenizer.json by name of a published form, and tokenizer.model likewise."""
    documents = [sample_documents[0][:40_000], "naïve café 你好 🙂 " * 20]
    return (
        {name: made(documents) for name, made in HUGGING_FACE.items()},
        {name: sentencepiece_model(documents, name) for name in SENTENCEPIECE},
    )


def taken(folder, name, content, **beside):
    (folder / name).write_bytes(content)
    for other, value in beside.items():
        (folder / f"{other}.json").write_text(json.dumps(value))
    return load_tokenizer(str(folder))


def spelled(tokenizer, ids):
    decoder = StreamDecoder(tokenizer)
    return "".join([decoder.push(id) for id in ids]) + decoder.flush()


def test_there_are_forty_texts():
    assert len({*TEXTS}) >= 40


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_ids_and_texts_of_hugging_face(tmp_path, their_files, name):
    content = their_files[0][name]
    tokenizer = taken(tmp_path, "tokenizer.json", content)
    theirs = library.Tokenizer.from_str(content.decode())
    theirs.encode_special_tokens = True  # A document spells no special token.
    theirs.no_truncation()
    theirs.no_padding()
    barred = set(tokenizer.special_tokens.values()) - {tokenizer.unknown_id}
    for text in TEXTS:
        ids, expected = tokenizer.encode(text), theirs.encode(text, add_special_tokens=False).ids
        assert barred.isdisjoint(ids)
        if barred.isdisjoint(expected):
            assert ids == expected
        else:  # Unigram has special tokens among its pieces.
            assert name == "t5" and "</s>" in text
        decoded = theirs.decode(ids)
        assert tokenizer.decode(ids) == decoded
        assert spelled(tokenizer, ids) == decoded
        assert not tokenizer.lossless or decoded == text
    theirs.encode_special_tokens = False  # A prompt may.
    for text in TEXTS:
        try:
            ids = tokenizer.encode(text, parse_special=True)
        except PromptError:
            assert "<|" in text or "<start_of_turn>" in text
        else:
            assert ids == theirs.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.lossless == (name in {"gpt2", "llama3"})


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_ids_and_texts_of_sentencepiece(tmp_path, their_files, name):
    content = their_files[1][name]
    tokenizer = taken(tmp_path, "tokenizer.model", content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    for text in TEXTS:
        if name == "gemma" and "_of_turn>" in text:
            assert tokenizer.special_tokens["<end_of_turn>"] not in tokenizer.encode(text)
            continue
        assert tokenizer.encode(text) == theirs.encode(text)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == theirs.decode(ids)
        assert spelled(tokenizer, ids) == theirs.decode(ids)
    assert isinstance(tokenizer, SentencePieceFile) and not tokenizer.lossless


CONFIGS = {
    "gpt2": {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"},
    "llama3": {
        "eos_token": {"content": "<|end_of_text|>", "special": True},
        "bos_token": "<|begin_of_text|>",
        "chat_template": "{{ messages }}",
    },
    "qwen": {"eos_token": "<|im_end|>", "bos_token": None},
    "bert": {"sep_token": "[SEP]", "cls_token": "[CLS]"},
}
NAMED = {  # start, whether a prompt begins with it, end, stops
    "gpt2": ("<|endoftext|>", False, ["<|endoftext|>"]),
    "llama3": ("<|begin_of_text|>", True, ["<|end_of_text|>"]),
    "qwen": ("<|im_end|>", False, ["<|im_end|>"]),
    "bert": ("[CLS]", True, ["[SEP]"]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_start_end_and_stop_tokens_are_those_that_the_files_name(tmp_path, their_files, name):
    tokenizer = taken(
        tmp_path, "tokenizer.json", their_files[0][name], tokenizer_config=CONFIGS[name]
    )
    start, begins, stops = NAMED[name]
    assert tokenizer.piece(tokenizer.start_id) == start
    assert bool(tokenizer.prompt_start) == begins
    assert [tokenizer.piece(id) for id in tokenizer.stop_ids] == stops
    # Chat tokens are spelled where that is asked for, and end a text where a file says so.
    if name == "llama3":
        assert turns_end_with(tokenizer.special_tokens, tokenizer.stop_ids) == ["<|eot_id|>"]
        chat = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        ids = tokenizer.encode(chat, parse_special=True)
        theirs = library.Tokenizer.from_str(their_files[0][name].decode())
        assert ids == theirs.encode(chat, add_special_tokens=False).ids
        assert ids[0] == tokenizer.special_tokens["<|start_header_id|>"]


def test_end_tokens_of_generation_config_and_of_no_file(tmp_path, their_files):
    content = their_files[0]["gemma"]
    ends = {"eos_token_id": [1, 5]}
    tokenizer = taken(tmp_path, "tokenizer.json", content, generation_config=ends)
    assert [tokenizer.piece(id) for id in tokenizer.stop_ids] == ["<eos>", "<end_of_turn>"]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 100000}')
    with pytest.raises(TokenizerError, match="generation_config.json ends with id 100000"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    with pytest.raises(TokenizerError, match="eos_token_id='</s>'; expected one id or a list"):
        load_tokenizer(str(tmp_path))
    # The one usual name, where there is one and no file names another.
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": null}')
    assert load_tokenizer(str(tmp_path)).stop_ids == (1,)
    (tmp_path / "generation_config.json").unlink()
    assert load_tokenizer(str(tmp_path / "tokenizer.json")).end_token == "<eos>"


@pytest.mark.parametrize("name", ["llama2", "mistral", "t5"])
def test_special_tokens_are_parsed_as_the_library_does(tmp_path, their_files, name):
    tokenizer = taken(tmp_path, "tokenizer.json", their_files[0][name])
    theirs = library.Tokenizer.from_str(their_files[0][name].decode())
    for text in ("ab</s>cd", "</s>ab </s> cd", "ab"):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, parse_special=True) == expected
    with pytest.raises(PromptError, match=r"no special token '<\|eot_id\|>'; it has <"):
        tokenizer.encode("ab<|eot_id|>", parse_special=True)
    assert tokenizer.encode("cd") != tokenizer.encode_continued("cd")
    assert tokenizer.decode([*tokenizer.encode("ab"), *tokenizer.encode_continued("cd")]) == "abcd"


def test_a_sentencepiece_model_that_follows_a_special_token(tmp_path, their_files):
    tokenizer = taken(
        tmp_path,
        "tokenizer.model",
        their_files[1]["llama2"],
        tokenizer_config={"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True},
    )
    assert (tokenizer.piece(tokenizer.start_id), tokenizer.prompt_start) == ("<s>", (1,))
    ids = tokenizer.encode("ab</s> cd", parse_special=True)
    assert ids == [*tokenizer.encode("ab"), 2, *tokenizer.encode_continued(" cd")]
    assert tokenizer.decode(ids) == "ab cd"


def changed(content, **model):
    value = json.loads(content)
    for name, entry in model.items():
        if entry is None:
            del value["model"][name]
        else:
            value["model"][name] = entry
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], "is not JSON"),
        (lambda content: b"\xff\xfe", "is not JSON"),
        (lambda content: b"[" * 100_000, "is not JSON .its brackets are nested too deeply"),
        (lambda content: b"[]", 'has no "model"'),
        (lambda content: changed(content, type="Morphemes"), "a model of type 'Morphemes'; BPE,"),
        (lambda content: changed(content, merges=None), 'the BPE model .* has no "merges"'),
        (lambda content: changed(content, merges=[["x", "yy"]]), "is not a tokenizer of Hugging"),
        (lambda content: changed(content, dropout=0.1), "has dropout=0.1, by which every call"),
        (
            lambda content: json.dumps(json.loads(content) | {"decoder": {"type": "CTC"}}).encode(),
            "is not a tokenizer|has the decoder CTC; those of byte-level BPE",
        ),
        (
            lambda content: json.dumps(json.loads(content) | {"decoder": None}).encode(),
            "has the decoder none",
        ),
        (
            lambda content: content.replace(b'"id": 420', b'"id": 500').replace(
                b'"id": 421', b'"id": 501'
            ),
            "the id 500, and its library 420",
        ),
        (
            lambda content: re.sub(rb'"!": (\d+)', rb'"!": 90\1', content),
            r"no token of the id \d+, and its highest id is 90",
        ),
    ],
)
def test_a_damaged_tokenizer_json_is_refused_in_one_line(tmp_path, their_files, change, message):
    with pytest.raises(TokenizerError, match=message) as error:
        taken(
            tmp_path,
            "tokenizer.json",
            change(their_files[0]["qwen"]),
            tokenizer_config={"eos_token": "<|endoftext|>"},
        )
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"eos_token": "<nothing>"}', "has no token '<nothing>' to end a document"),
        ('{"eos_token": "<eos>", "bos_token": "<nothing>"}', "has no token '<nothing>'"),
        ('{"eos_token": 1}', "eos_token is 1; expected the text of a token"),
        ("{", "tokenizer_config.json"),
        ("[]", "tokenizer_config.json"),
    ],
)
def test_a_damaged_tokenizer_config_is_refused(tmp_path, their_files, config, message):
    (tmp_path / "tokenizer.json").write_bytes(their_files[0]["gemma"])
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(TokenizerError, match=message) as error:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_cut_sentencepiece_model_is_refused(tmp_path, their_files):
    content = their_files[1]["llama2"]
    for size in (0, 10, len(content) // 2, len(content) - 40):
        with pytest.raises(TokenizerError, match=r"tokenizer.model is not taken: ") as error:
            taken(tmp_path, "tokenizer.model", content[:size])
        assert "\n" not in str(error.value)
    with pytest.raises(TokenizerError, match="no tokenizer.json and no SentencePiece model"):
        load_tokenizer(str(tmp_path / "nothing"))
    with pytest.raises(TokenizerError, match="nothing.model"):
        load_tokenizer(str(tmp_path / "nothing.model"))


def test_bits_that_tokens_lose(tmp_path, their_files):
    tokenizer = taken(tmp_path, "tokenizer.json", their_files[0]["qwen"])
    text = "cafe\u0301 x"  # Comes back as 5 + 2 bytes: the first word is spelled in 6.
    ids = np.array(tokenizer.encode(text))
    assert tokenizer.measured([text], ids)[2] == pytest.approx(3 * USUAL_GAP_BITS + 8 + 8 * 7)
    assert tokenizer.measured(["plain"], np.array(tokenizer.encode("plain")))[2] == USUAL_GAP_BITS


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_generated_tokens_one_by_one_give_the_text_of_all_of_them(tmp_path, their_files, name):
    """Also where spaces come first, which no text is encoded as."""
    content = their_files[1][name]
    tokenizer = taken(tmp_path, "tokenizer.model", content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    random = np.random.default_rng(0)
    plain = [
        id
        for id in range(tokenizer.vocabulary_size)
        if not (theirs.is_byte(id) or id in tokenizer.special_tokens.values())
    ]
    spaces = [id for id in plain if set(tokenizer.piece(id)) == {"▁"}] or plain[:1]
    for _ in range(50):
        ids = [*random.choice(spaces, random.integers(4)), *random.choice(plain, 4)]
        ids = [int(id) for id in ids]
        assert spelled(tokenizer, ids) == tokenizer.decode(ids) == theirs.decode(ids)
