"""What the binding of llama.cpp makes, frees and refuses, by a library that writes its calls down."""

from types import SimpleNamespace

import pytest

from benchmarks import llama_cpp
from benchmarks.device_shapes import CONTEXT, LlamaCppDecoder
from benchmarks.llama_cpp import LlamaCpp


class Library:
    """Stands for the library: a model, a context with the options that it is made with, a text."""

    def __init__(self, context=2, detokenized=3):
        self.context, self.detokenized = context, detokenized
        self.made, self.freed = [], []

    def llama_model_default_params(self):
        return None

    def llama_model_load_from_file(self, path, options):
        return 1

    def llama_context_default_params(self):
        return SimpleNamespace(n_batch=2048, type_k=1)

    def llama_init_from_model(self, model, options):
        self.made.append(options)
        if not self.context:
            llama_cpp._LOGGED.append("the cache does not fit")
        return self.context

    def llama_free(self, context):
        self.freed.append(("context", context))

    def llama_model_free(self, model):
        llama_cpp._LOGGED.append("freed")
        self.freed.append(("model", model))

    def llama_model_get_vocab(self, model):
        return 4

    def llama_vocab_n_tokens(self, vocabulary):
        return 10

    def llama_detokenize(self, vocabulary, ids, count, text, *_):
        text.value = b"abc"
        return self.detokenized


@pytest.fixture
def use(monkeypatch):
    """Makes a library the one that is loaded."""

    def use(library):
        monkeypatch.setattr(llama_cpp, "_load", lambda folder: library)
        return library

    return use


def test_a_decoder_makes_one_context_with_the_options_of_its_users(use):
    library = use(Library())
    LlamaCppDecoder("file", "folder", threads=2).close()
    (options,) = library.made
    # A batch and a cache as they are by default; `LlamaCpp` has others.
    expected = {"n_batch": 2048, "type_k": 1}
    expected |= {"n_ctx": CONTEXT, "n_threads": 2, "n_threads_batch": 2}
    assert vars(options) == expected
    assert library.freed == [("context", 2), ("model", 1)]
    LlamaCpp("file", "folder", context=32)
    assert (library.made[1].n_batch, library.made[1].type_k) == (32, 0)


def test_a_model_is_freed_where_its_context_is_refused(use):
    library = use(Library(context=None))
    with pytest.raises(RuntimeError, match="^the cache does not fit$"):
        LlamaCpp("file", "folder")
    assert library.freed == [("model", 1)]


def test_a_text_that_is_longer_than_its_space_is_refused(use):
    library = use(Library())
    with LlamaCpp("file", "folder") as model:
        assert model.decode([5]) == b"abc"
        library.detokenized = -200
        with pytest.raises(RuntimeError, match="llama_detokenize returned -200"):
            model.decode([5])
