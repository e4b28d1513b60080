import json

import pytest
import tokenizers as library

from tfscale.text.builtin import builtin_corpus
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.word_patterns import LLAMA_3

SIZES = {
    "sentencepiece": 700,
    "sentencepiece-bpe": 700,
    "wordpiece": 700,
    "word": 300,
    "char": 90,
    "byte": 257,
}


@pytest.fixture(scope="session")
def sample_documents():
    """About 200,000 characters of Python code."""
    names = ("ast.py", "calendar.py", "json/encoder.py", "textwrap.py")
    return [file.text() for file in builtin_corpus("python-stdlib") if file.name in names]


@pytest.fixture(scope="session")
def tokenizers(sample_documents):
    """A small tokenizer of each kind, by name."""
    return {
        name: train_tokenizer(
            name.removesuffix("-bpe"),
            sample_documents,
            size,
            sentencepiece_model="bpe" if name.endswith("bpe") else "unigram",
        )
        for name, size in SIZES.items()
    }


@pytest.fixture(scope="session")
def byte_pairs(sample_documents):
    """Byte-pair tokenizers of 400 tokens, with the words of GPT-2 and with those of Llama 3, by name."""
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["</s>"],
        show_progress=False,
    )
    model.train_from_iterator(sample_documents, trainer)
    saved = json.loads(model.to_str())["model"]
    merges = [" ".join(pair) for pair in saved["merges"]]
    return {
        name: BytePairTokenizer.from_merges(saved["vocab"], merges, "</s>", words)
        for name, words in (("bpe", ""), ("bpe-llama", LLAMA_3))
    }


@pytest.fixture(params=SIZES)
def tokenizer(request, tokenizers):
    """Each tokenizer in turn."""
    return tokenizers[request.param]
