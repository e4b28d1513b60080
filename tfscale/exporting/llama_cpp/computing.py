"""Computes the logits of a GGUF file as llama.cpp does, in NumPy, from the file alone.

It is what an export is compared by: it knows nothing of the network or of how the file was written,
and follows llama.cpp's own graphs (`src/models/*.cpp` of release v0.5.0), in float32. Tests compare
it with llama.cpp itself.

Shapes: T tokens, D embedding_length, H heads, G key-value heads, K width of a head, R numbers of it
that are turned, V vocabulary.
"""

import math
from typing import Any

import numpy as np

from tfscale.exporting.llama_cpp.writing import import_gguf

_NEIGHBOURS = ("llama", "smollm3")
"""Architectures whose rotary positions turn neighbours."""
_GEMMA = ("gemma", "gemma2", "gemma3")
_WINDOWS = {"gemma2": (4096, 2), "gemma3": (0, 6)}
"""Architecture -> the window, and every which layer has none, where a file does not say."""
_WIDE_SCORES = {"gemma2": 46, "gemma3": 62}
"""Architecture -> layers of the model whose scores are divided by another width."""


class GGUFNetwork:
    """A GGUF file of an architecture that tfscale writes.

    Args:
        path: the file.

    Example:
        GGUFNetwork("export/model.gguf").logits([1, 5, 9]).shape    # (3, V)
    """

    def __init__(self, path: str):
        self._gguf = import_gguf()
        reader = self._gguf.GGUFReader(path)
        self.entries: dict[str, Any] = {
            key: field.contents() for key, field in reader.fields.items()
        }
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.architecture: str = self.entries["general.architecture"]

    def entry(self, name: str, default: Any = None) -> Any:
        """Returns an entry by its name after the architecture's."""
        return self.entries.get(f"{self.architecture}.{name}", default)

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor in float32."""
        stored = self.tensors[name]
        return self._gguf.quants.dequantize(stored.data, stored.tensor_type)

    def _product(self, x: np.ndarray, name: str) -> np.ndarray:
        result = x @ self.tensor(f"{name}.weight").T
        bias = f"{name}.bias"
        return result + self.tensor(bias) if bias in self.tensors else result

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        weight = self.tensor(f"{name}.weight")
        epsilon = self.entry("attention.layer_norm_rms_epsilon")
        if epsilon is not None:
            return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(epsilon)) * weight
        epsilon = np.float32(self.entry("attention.layer_norm_epsilon"))
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(np.mean(centred * centred, -1, keepdims=True) + epsilon)
        return scaled * weight + self.tensor(f"{name}.bias")

    def logits(self, ids: Any) -> np.ndarray:
        """Returns the logits (T, V) after each token of a text of T tokens."""
        tokens = np.asarray(ids, np.int64)
        x = self._rows("token_embd.weight", tokens)
        if self.architecture in _GEMMA:
            x = x * np.float32(math.sqrt(x.shape[-1]))
        if "position_embd.weight" in self.tensors:
            x = x + self.tensor("position_embd.weight")[: len(tokens)]
        for layer in range(self.entry("block_count")):
            name = f"blk.{layer}"
            mixed = self._attention(self._norm(x, f"{name}.attn_norm"), layer)
            if f"{name}.post_attention_norm.weight" in self.tensors:
                mixed = self._norm(mixed, f"{name}.post_attention_norm")
            x = x + mixed
            fed = self._feed_forward(self._norm(x, f"{name}.ffn_norm"), name)
            if f"{name}.post_ffw_norm.weight" in self.tensors:
                fed = self._norm(fed, f"{name}.post_ffw_norm")
            x = x + fed
        x = self._norm(x, "output_norm")
        output = "output" if "output.weight" in self.tensors else "token_embd"
        cap = self.entry("final_logit_softcapping", 30.0 if self.architecture == "gemma2" else 0)
        return _capped(self._product(x, output), cap)

    def _rows(self, name: str, tokens: np.ndarray) -> np.ndarray:
        stored = self.tensors[name]
        return self._gguf.quants.dequantize(stored.data[tokens], stored.tensor_type)

    def _attention(self, x: np.ndarray, layer: int) -> np.ndarray:
        name, count = f"blk.{layer}", len(x)
        heads, groups = self.entry("attention.head_count"), self.entry("attention.head_count_kv")
        width = self.entry("attention.key_length", self.entry("embedding_length") // heads)
        if f"{name}.attn_qkv.weight" in self.tensors:
            joined = self._product(x, f"{name}.attn_qkv")
            ends = [heads * width, (heads + groups) * width]
            parts = np.split(joined, ends, axis=-1)
        else:
            parts = [self._product(x, f"{name}.attn_{letter}") for letter in "qkv"]
        query, key, value = (part.reshape(count, -1, width) for part in parts)
        if f"{name}.attn_q_norm.weight" in self.tensors:
            query = self._norm(query, f"{name}.attn_q_norm")
            key = self._norm(key, f"{name}.attn_k_norm")
        window = self._window(layer)
        turns = self._turns(layer, count, window > 0)
        if turns is not None:
            query, key = self._turned(query, turns), self._turned(key, turns)
        # (G, H / G, T, K) and (G, 1, T, K).
        query = np.reshape(query, (count, groups, heads // groups, width)).transpose(1, 2, 0, 3)
        key, value = (part.transpose(1, 0, 2)[:, None] for part in (key, value))
        scores = query @ key.swapaxes(-1, -2) * np.float32(self._scale(width))
        scores = _capped(scores, self.entry("attn_logit_softcapping", self._soft_cap()))
        back = np.arange(count)[:, None] - np.arange(count)
        hidden = (back < 0) | ((back >= window) if window else False)
        scores = np.where(hidden, -np.inf, scores)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ value).transpose(2, 0, 1, 3).reshape(count, heads * width)
        return self._product(mixed, f"{name}.attn_output")

    def _soft_cap(self) -> float:
        return 50.0 if self.architecture == "gemma2" else 0.0

    def _scale(self, width: int) -> float:
        if self.entry("block_count") == _WIDE_SCORES.get(self.architecture):
            width = self.entry("embedding_length") // self.entry("attention.head_count")
        return 1 / math.sqrt(width)

    def _window(self, layer: int) -> int:
        """Returns the tokens that a token sees in a layer; 0 is all."""
        default, every = _WINDOWS.get(self.architecture, (0, 0))
        if self.architecture not in _WINDOWS:
            return 0
        every = self.entry("attention.sliding_window_pattern", every)
        sees_all = every and layer % every == every - 1
        return 0 if sees_all else self.entry("attention.sliding_window", default)

    def _turns(self, layer: int, count: int, windowed: bool) -> tuple[np.ndarray, ...] | None:
        """Returns cosine and sine (T, 1, R / 2), or None for a layer without positions."""
        turned = self.entry("rope.dimension_count")
        if not turned or (self.architecture == "smollm3" and layer % 4 == 3):
            return None
        base, factor = self.entry("rope.freq_base", 10_000.0), 1.0
        if self.entry("rope.scaling.type") == "linear":
            factor = self.entry("rope.scaling.factor")
        if windowed:
            own = 10_000.0 if self.architecture == "gemma3" else base
            base = self.entry("rope.freq_base_swa", own)
            factor = factor if self.architecture == "gemma2" else 1.0
        frequencies = base ** (-np.arange(0, turned, 2) / turned) / factor
        if "rope_freqs.weight" in self.tensors:
            frequencies = frequencies / self.tensor("rope_freqs.weight")
        angles = np.arange(count)[:, None, None] * frequencies
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _turned(self, x: np.ndarray, turns: tuple[np.ndarray, ...]) -> np.ndarray:
        cosine, sine = turns
        half = cosine.shape[-1]
        result = x.copy()
        if self.architecture in _NEIGHBOURS:
            places = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
        else:
            places = slice(0, half), slice(half, 2 * half)
        first, second = (x[..., place] for place in places)
        result[..., places[0]] = first * cosine - second * sine
        result[..., places[1]] = first * sine + second * cosine
        return result

    def _feed_forward(self, x: np.ndarray, name: str) -> np.ndarray:
        up = self._product(x, f"{name}.ffn_up")
        if self.architecture == "gpt2":
            fed = _gelu(up)
        else:
            gate, up = (
                np.split(up, 2, axis=-1)
                if self.architecture == "phi3"
                else (self._product(x, f"{name}.ffn_gate"), up)
            )
            fed = (_gelu(gate) if self.architecture in _GEMMA else _silu(gate)) * up
        return self._product(fed, f"{name}.ffn_down")


def _capped(x: np.ndarray, cap: float) -> np.ndarray:
    return x if not cap else np.float32(cap) * np.tanh(x / np.float32(cap))


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + 0.044715 * x**3)))
