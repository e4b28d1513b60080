"""Vectors of texts by the signature `embed` of a .tflite file.

Shapes: S tokens of a call, C context, T tokens of a text, D width of the hidden states.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from tfscale.device.call_checks import check_caches, check_inputs
from tfscale.device.in_place import updated_in_place
from tfscale.device.interpreter import running
from tfscale.device.session import Session, Signature, open_session
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

    It has caches of its own, so that a text which is being written goes on. A cache of which the
    signature replaces rows alone is written where it is read; any other is copied after each call.

    Args:
        session: the opened file; who else computes with it holds the lock meanwhile.
        lock: is held while a part of a text is read.
        path: that of the file.

    Raises:
        ConfigError: the file was exported without the signature.
        ExportError: the file cannot be run, or its signature has other tensors.

    Example:
        Embedder.from_path("export/model.tflite").states([7, 3]).shape    # (2, 256)
    """

    def __init__(self, session: Session, lock: threading.RLock, path: str):
        self._lock = lock
        signature = session.signatures.get(SIGNATURE)
        if signature is None:
            raise ConfigError(f"{path} {NO_STATES}")
        self._caches = sorted(set(signature.inputs) - _READ)
        self._length, self.context_length = self._checked(path, signature)
        shared = updated_in_place(path) & set(self._caches)
        with running(path):
            self._given, self._found = signature.arrays(shared)
        self._copied = [name for name in self._caches if name not in shared]
        self._call = session.call(SIGNATURE, self._given, self._found)

    @classmethod
    def from_path(cls, path: str, threads: int = 1, xnnpack: bool = True) -> "Embedder":
        """Opens a file for its vectors alone.

        Args:
            path: the .tflite file.
            threads: CPU threads.
            xnnpack: whether to use the XNNPACK kernels.

        Raises:
            ConfigError: the file was exported without the signature.
            ExportError: the file cannot be run, or its signature has other tensors.

        Example:
            Embedder.from_path("export/model.tflite", xnnpack=False)
        """
        return cls(open_session(path, threads, xnnpack), threading.RLock(), path)

    def _checked(self, path: str, signature: Signature) -> tuple[int, int | None]:
        """Returns S and C of a signature that has the tensors which this class writes and reads."""
        inputs, outputs = signature.inputs, signature.outputs
        if (
            set(outputs) != {*self._caches, "hidden"}
            or "tokens" not in inputs
            or ("input_pos" in inputs) != ("mask" in inputs)
        ):
            raise ExportError(
                f"{path}: signature {SIGNATURE} has inputs {sorted(inputs)} and outputs"
                f" {sorted(outputs)}; expected tokens, caches, and for a Transformer input_pos and"
                " mask; and the same caches and hidden back; export the run again"
            )
        length = (0, *inputs["tokens"].shape)[-1]
        context = (0, *inputs["mask"].shape)[-1] if "mask" in inputs else None
        # A call that ran past the context would be written over earlier tokens.
        if length < 1 or (context is not None and (context < 1 or context % length)):
            raise ExportError(
                f"{path}: signature {SIGNATURE} reads {length} tokens a call, which does not divide"
                f" its context of {context}; export the run again"
            )
        check_inputs(path, SIGNATURE, signature, length, context)
        hidden = outputs["hidden"]
        if hidden.shape[:-1] != (1, length) or not hidden.shape[-1] or hidden.dtype != np.float32:
            raise ExportError(
                f"{path}: output hidden of `{SIGNATURE}` has shape {hidden.shape} of"
                f" {hidden.dtype}, expected (1, {length}, D) of float32"
            )
        check_caches(path, SIGNATURE, signature, self._caches, context)
        return length, context

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
                for name in self._copied:
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
