"""llama.cpp by its C interface: logits, and the ids of a text, of a GGUF file.

The library is that of npm's `@node-llama-cpp/linux-x64`, of the one version below, because the
structures of its interface change from version to version. `make test-llamacpp` fetches it, and
names its folder by TFSCALE_LLAMA_CPP.

    model = LlamaCpp("export/model.gguf", os.environ["TFSCALE_LLAMA_CPP"])
    model.logits([1, 5, 9])    # (3, V)
"""

import ctypes
import functools
import glob
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
"""What `npm pack` fetches; it has llama.cpp's release v0.5.0."""

_FLOAT32 = 0


class _ModelParams(ctypes.Structure):
    """`llama_model_params` of that release, handed on as llama.cpp fills it."""

    _fields_ = [("all", ctypes.c_int64 * 10)]


class _ContextParams(ctypes.Structure):
    """`llama_context_params` of that release."""

    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_rs_seq", ctypes.c_uint32),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("types", ctypes.c_int32 * 4),
        ("flash_attention", ctypes.c_int32),
        ("rope", ctypes.c_byte * 32),
        ("callback", ctypes.c_void_p * 2),
        ("type_k", ctypes.c_int32),
        ("type_v", ctypes.c_int32),
        ("abort", ctypes.c_void_p * 2),
        ("flags", ctypes.c_bool * 8),
        ("samplers", ctypes.c_void_p * 3),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


_LOGGED: list[str] = []
# The library calls it as long as the process lives.
_log = _LOG(lambda level, text, _: _LOGGED.append(text.decode(errors="replace")))


@functools.cache
def _load(folder: str) -> ctypes.CDLL:
    """Loads the libraries of a folder, each after those that it needs."""

    def library(pattern: str) -> ctypes.CDLL:
        (path,) = glob.glob(os.path.join(folder, pattern))
        return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)

    library("libggml-base.so*")
    ggml = library("libggml.*so*")
    ggml.ggml_backend_load_all_from_path.argtypes = [ctypes.c_char_p]
    ggml.ggml_backend_load_all_from_path(folder.encode())
    llama = library("libllama.*so*")
    pointer, size = ctypes.c_void_p, ctypes.c_int32
    signatures: dict[str, tuple[object, list[object]]] = {
        "llama_log_set": (None, [_LOG, pointer]),
        "llama_model_default_params": (_ModelParams, []),
        "llama_context_default_params": (_ContextParams, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, _ModelParams]),
        "llama_init_from_model": (pointer, [pointer, _ContextParams]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (size, [pointer]),
        "llama_vocab_is_eog": (ctypes.c_bool, [pointer, size]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_clear": (None, [pointer, ctypes.c_bool]),
        "llama_batch_init": (_Batch, [size, size, size]),
        "llama_batch_get_one": (_Batch, [pointer, size]),
        "llama_batch_free": (None, [_Batch]),
        "llama_decode": (size, [pointer, _Batch]),
        "llama_get_logits": (ctypes.POINTER(ctypes.c_float), [pointer]),
        "llama_tokenize": (
            size,
            [pointer, ctypes.c_char_p, size, pointer, size, ctypes.c_bool, ctypes.c_bool],
        ),
        "llama_detokenize": (
            size,
            [pointer, pointer, size, ctypes.c_char_p, size, ctypes.c_bool, ctypes.c_bool],
        ),
        "llama_free": (None, [pointer]),
        "llama_model_free": (None, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    llama.llama_log_set(_log, None)
    return llama


class LlamaCpp:
    """A GGUF file, loaded by llama.cpp on the CPU, with its cache in float32.

    Args:
        path: the file.
        folder: holds the libraries.
        context: tokens of the cache.
        threads: CPU threads.

    Raises:
        RuntimeError: llama.cpp refuses the file; the message is what it logged.
    """

    def __init__(self, path: str, folder: str, context: int = 512, threads: int = 1):
        self._llama = _load(folder)
        _LOGGED.clear()
        self._context = None
        self._model = self._llama.llama_model_load_from_file(
            path.encode(), self._llama.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError("".join(_LOGGED[-8:]))
        options = self._context_options(context, threads)
        self._context = self._llama.llama_init_from_model(self._model, options)
        if not self._context:
            refused = "".join(_LOGGED[-8:])
            self.close()
            raise RuntimeError(refused)
        self._vocabulary = self._llama.llama_model_get_vocab(self._model)
        self.vocabulary_size = self._llama.llama_vocab_n_tokens(self._vocabulary)
        self._position = 0

    def _context_options(self, context: int, threads: int) -> Any:
        """Returns the structure of what the context is made with."""
        options = self._llama.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = context
        options.n_threads = options.n_threads_batch = threads
        options.flash_attention, options.type_k, options.type_v = 0, _FLOAT32, _FLOAT32
        return options

    def close(self) -> None:
        """Frees what llama.cpp holds."""
        if self._context:
            self._llama.llama_free(self._context)
        if self._model:
            self._llama.llama_model_free(self._model)
        self._context = self._model = None

    def __enter__(self) -> "LlamaCpp":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """Empties the cache."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._position = 0

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads tokens after those before; returns the logits (N, V) after each."""
        batch = self._llama.llama_batch_init(len(ids), 0, 1)
        places = np.arange(self._position, self._position + len(ids), dtype=np.int32)
        ctypes.memmove(batch.token, np.asarray(ids, np.int32).ctypes.data, 4 * len(ids))
        ctypes.memmove(batch.pos, places.ctypes.data, 4 * len(ids))
        ctypes.memmove(batch.n_seq_id, np.ones(len(ids), np.int32).ctypes.data, 4 * len(ids))
        sequences = ctypes.cast(batch.seq_id, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        for index in range(len(ids)):
            sequences[index][0] = 0
            batch.logits[index] = 1
        batch.n_tokens = len(ids)
        status = self._llama.llama_decode(self._context, batch)
        self._llama.llama_batch_free(batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        self._position += len(ids)
        flat = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(flat, (len(ids), self.vocabulary_size)).copy()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Returns the logits (N, V) after each token of a text that begins with the first."""
        self.reset()
        return self.feed(ids)

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """Returns the tokens that follow a prompt, the likeliest each time."""
        self.reset()
        tokens = [int(self.feed(prompt)[-1].argmax())]
        while len(tokens) < count:
            tokens.append(int(self.feed(tokens[-1:])[-1].argmax()))
        return tokens

    def encode(self, text: str, start: bool = False, parse_special: bool = False) -> list[int]:
        """Returns the ids of a text, with the start token if the file asks for one and `start`."""
        content = text.encode()
        space = np.empty(len(content) + 16, np.int32)
        arguments = content, len(content), space.ctypes.data, len(space), start, parse_special
        count = self._llama.llama_tokenize(self._vocabulary, *arguments)
        if count < 0:
            raise RuntimeError(f"llama_tokenize returned {count}")
        return space[:count].tolist()

    def decode(self, ids: Sequence[int]) -> bytes:
        """Returns the bytes of the text of ids.

        Raises:
            RuntimeError: they are longer than 64 for each id.
        """
        given = np.asarray(ids, np.int32)
        text = ctypes.create_string_buffer(64 * len(ids) + 64)
        count = self._llama.llama_detokenize(
            self._vocabulary, given.ctypes.data, len(ids), text, len(text), False, False
        )
        if count < 0:
            raise RuntimeError(f"llama_detokenize returned {count}")
        return text.raw[:count]

    def stops_at(self, id: int) -> bool:
        """Returns whether generation ends with a token."""
        return self._llama.llama_vocab_is_eog(self._vocabulary, id)
