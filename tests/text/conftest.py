import pytest

from tfscale.text.builtin import builtin_corpus
from tfscale.text.tokenizers import train_tokenizer

SIZES = {"sentencepiece": 700, "sentencepiece-bpe": 700, "wordpiece": 700, "word": 300, "char": 90, "byte": 257}


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


@pytest.fixture(params=SIZES)
def tokenizer(request, tokenizers):
    """Each tokenizer in turn."""
    return tokenizers[request.param]
