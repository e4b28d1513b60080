"""Vectors of texts by the signature `embed` of a .tflite file.

Shapes: S tokens of a call, C context, T tokens of a text, D width of the hidden states.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from tfscale.device.interpreter import open_interpreter, running
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

    It has an interpreter of its own, so that a text which is being written goes on.

    Args:
        path: the .tflite file.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ConfigError: the file was exported without the signature.
        ExportError: the file cannot be run, or its signature has other tensors.
    """

    def __init__(self, path: str, threads: int = 1, xnnpack: bool = True):
        self._path, self._lock = path, threading.Lock()
        self._interpreter = open_interpreter(path, threads, xnnpack)
        signature = self._interpreter.get_signature_list().get(SIGNATURE)
        if signature is None:
            raise ConfigError(f"{path} {NO_STATES}")
        caches = set(signature["inputs"]) - _READ
        if set(signature["outputs"]) != caches | {"hidden"} or "tokens" not in signature["inputs"]:
            raise ExportError(
                f"{path}: signature {SIGNATURE} has inputs {sorted(signature['inputs'])} and"
                f" outputs {sorted(signature['outputs'])}; expected tokens and caches, and the same"
                " caches and hidden back; export the run again"
            )
        with running(path):
            self._runner = self._interpreter.get_signature_runner(SIGNATURE)
            inputs = self._runner.get_input_details()
            hidden = self._runner.get_output_details()["hidden"]
        self._caches = {name: tuple(map(int, inputs[name]["shape"])) for name in caches}
        self._length = int(np.prod(inputs["tokens"]["shape"]))
        self.context_length = int(inputs["mask"]["shape"][-1]) if "mask" in inputs else None
        self.width = int(hidden["shape"][-1])

    def states(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the hidden states (T, D) float32 after each of T ids, of a text by itself."""
        cache = {name: np.zeros(shape, np.float32) for name, shape in self._caches.items()}
        rows = []
        with self._lock, running(self._path):
            for start in range(0, len(ids), self._length):
                part = np.asarray(ids[start : start + self._length], np.int32)
                tokens = np.zeros((1, self._length), np.int32)
                tokens[0, : len(part)] = part
                given = {"tokens": tokens, **cache}
                if self.context_length is not None:
                    given["input_pos"] = np.arange(start, start + self._length, dtype=np.int32)
                    given["mask"] = causal_mask(start, self._length, self.context_length)
                output = self._runner(**given)
                rows.append(np.array(output["hidden"])[0, : len(part)])
                cache = {name: np.array(output[name]) for name in cache}
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
