"""Vectors of texts by the signature `embed` of a .tflite file.

Shapes: S tokens of a call, C context, T tokens of a text, D width of the hidden states.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from tfscale.device.session import open_session
from tfscale.errors import ConfigError, ExportError
from tfscale.inference.generation import causal_mask
from tfscale.inference.text_windows import Pool, Pooling, windows_of
from tfscale.text.tokenizers import Tokenizer

SIGNATURE = "embed"
NO_STATES = (
    "gives no hidden states, which vectors are made of; export the run again with --embedding true,"
    " or ask the run itself"
)
"""Why a file that was exported without the signature has no vectors."""
_READ = {"tokens", "input_pos", "mask"}


class Embedder:
    """The signature `embed` of a file: tokens (1, S), caches -> hidden (1, S, D), caches.

    It has a session of its own, so that a text which is being written goes on.

    Args:
        path: the .tflite file.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ConfigError: the file was exported without the signature.
        ExportError: the file cannot be run, or its signature has other tensors.
    """

    def __init__(self, path: str, threads: int = 1, xnnpack: bool = True):
        self._lock = threading.Lock()
        session = open_session(path, threads, xnnpack)
        signature = session.signatures.get(SIGNATURE)
        if signature is None:
            raise ConfigError(f"{path} {NO_STATES}")
        caches = set(signature.inputs) - _READ
        if set(signature.outputs) != caches | {"hidden"} or "tokens" not in signature.inputs:
            raise ExportError(
                f"{path}: signature {SIGNATURE} has inputs {sorted(signature.inputs)} and"
                f" outputs {sorted(signature.outputs)}; expected tokens and caches, and the same"
                " caches and hidden back; export the run again"
            )
        self._given, self._found = (
            {name: tensor.zeros() for name, tensor in side.items()}
            for side in (signature.inputs, signature.outputs)
        )
        self._call = session.call(SIGNATURE, self._given, self._found)
        self._caches = sorted(caches)
        self._length = self._given["tokens"].size
        mask = self._given.get("mask")
        self.context_length = None if mask is None else int(mask.shape[-1])
        self.width = int(self._found["hidden"].shape[-1])

    def states(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the hidden states (T, D) float32 after each of T ids, of a text by itself."""
        rows = []
        with self._lock:
            for name in self._caches:
                self._given[name][...] = 0
            for start in range(0, len(ids), self._length):
                part = np.asarray(ids[start : start + self._length], np.int32)
                self._given["tokens"][...] = 0
                self._given["tokens"][0, : len(part)] = part
                if self.context_length is not None:
                    self._given["input_pos"][...] = np.arange(start, start + self._length)
                    mask = causal_mask(start, self._length, self.context_length)
                    self._given["mask"][...] = mask
                self._call()
                rows.append(self._found["hidden"][0, : len(part)].copy())
                for name in self._caches:
                    self._given[name][...] = self._found[name]
        return np.concatenate(rows)

    def embed(
        self,
        tokenizer: Tokenizer,
        texts: Sequence[str],
        pooling: Pooling = "mean",
        note: Callable[[str], None] | None = None,
    ) -> np.ndarray:
        """Returns a vector for each text, float32 (N, D), as the network gives it; see
        `tfscale.inference.embedding.embed_texts`."""
        pool = Pool(len(texts), pooling)
        for window in windows_of(tokenizer, texts, self.context_length, pooling, note=note):
            pool.add(window, self.states(window.ids))
        return pool.vectors()
