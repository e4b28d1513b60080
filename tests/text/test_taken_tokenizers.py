"""Tokenizers of other libraries: ids and texts as their own library has them, files as they were."""

import json

import pytest
import sentencepiece
import tokenizers as library
from theirs import HOSTILE, HUGGING_FACE, SENTENCEPIECE, sentencepiece_model

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers import StreamDecoder, load_tokenizer
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile


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
    assert len(set(HOSTILE)) >= 40


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_ids_and_texts_of_hugging_face(tmp_path, their_files, name):
    content = their_files[0][name]
    tokenizer = taken(tmp_path, "tokenizer.json", content)
    theirs = library.Tokenizer.from_str(content.decode())
    theirs.encode_special_tokens = True  # A document spells no special token.
    theirs.no_truncation()
    theirs.no_padding()
    barred = set(tokenizer.special_tokens.values()) - {tokenizer.unknown_id}
    for text in HOSTILE:
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
    assert tokenizer.encode_batch(HOSTILE) == [tokenizer.encode(text) for text in HOSTILE]
    assert tokenizer.lossless == (name in {"gpt2", "llama3"})


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_ids_and_texts_of_sentencepiece(tmp_path, their_files, name):
    content = their_files[1][name]
    tokenizer = taken(tmp_path, "tokenizer.model", content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    for text in HOSTILE:
        if name == "gemma" and "_of_turn>" in text:
            assert tokenizer.special_tokens["<end_of_turn>"] not in tokenizer.encode(text)
            continue
        assert tokenizer.encode(text) == theirs.encode(text)
    for text in HOSTILE:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == theirs.decode(ids)
    assert isinstance(tokenizer, SentencePieceFile) and not tokenizer.lossless
