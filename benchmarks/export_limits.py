"""Measures how far right exports stay below the limits of their check, with random weights.

    python -m benchmarks.export_limits [NAME ...]

Prints for each shape, with weights as they are initialised and with ones of standard deviation
0.15, the largest relative error of the logits of its int8 file, the limit over it, and how far
perplexity moved.
"""

import dataclasses
import os
import sys
import tempfile
from typing import Any

import numpy as np

from tfscale.config import (
    ExportConfig,
    GRUConfig,
    LSTMConfig,
    NetworkConfig,
    NNLMConfig,
    RNNConfig,
    TransformerConfig,
)
from tfscale.exporting.network import describe_network
from tfscale.exporting.parity import compare_file
from tfscale.exporting.report import Checks
from tfscale.exporting.tflite import export_tflite
from tfscale.files.paths import sha256_file
from tfscale.models import build_network
from tfscale.text.tokenizers import train_tokenizer

LLAMA: dict[str, Any] = {
    "positions": "rope",
    "normalization": "rms",
    "activation": "swiglu",
    "num_kv_heads": 2,
}
GEMMA = LLAMA | {"activation": "geglu", "num_kv_heads": 1, "head_dim": 32, "scale_embeddings": True}
SIZE = {"vocabulary_size": 257, "sequence_length": 64}
SHAPES: dict[str, NetworkConfig] = {
    "gpt 2 x 32": TransformerConfig(hidden_dim=32, num_layers=2, num_heads=2, **SIZE),
    "gpt 4 x 128": TransformerConfig(hidden_dim=128, num_layers=4, num_heads=4, **SIZE),
    "gpt 12 x 64": TransformerConfig(hidden_dim=64, num_layers=12, num_heads=4, **SIZE),
    "llama 2 x 64": TransformerConfig(hidden_dim=64, num_layers=2, num_heads=4, **LLAMA, **SIZE),
    "llama 30 x 64": TransformerConfig(hidden_dim=64, num_layers=30, num_heads=4, **LLAMA, **SIZE),
    "gemma 18 x 64": TransformerConfig(hidden_dim=64, num_layers=18, num_heads=4, **GEMMA, **SIZE),
    "lstm 16": LSTMConfig(embedding_dim=16, hidden_dim=16, **SIZE),
    "lstm 2 x 64": LSTMConfig(embedding_dim=64, hidden_dim=64, num_layers=2, **SIZE),
    "lstm 64, tied": LSTMConfig(embedding_dim=32, hidden_dim=64, tie_embeddings=True, **SIZE),
    "gru 16": GRUConfig(embedding_dim=16, hidden_dim=16, **SIZE),
    "gru 2 x 64": GRUConfig(embedding_dim=32, hidden_dim=64, num_layers=2, **SIZE),
    "rnn 32": RNNConfig(embedding_dim=32, hidden_dim=32, **SIZE),
    "nnlm 64": NNLMConfig(
        context_tokens=4, embedding_dim=32, hidden_dim=64, direct_connections=True, **SIZE
    ),
}
TEXT = "The quick brown fox jumps over the lazy dog; " * 4 + "it was a bright cold day in April."


def measure(config: NetworkConfig, spread: float | None) -> tuple[float, float, float]:
    """The largest relative error of the logits, its limit, and the largest change of perplexity."""
    network, tokenizer = build_network(config), train_tokenizer("byte", [], 257)
    rng = np.random.default_rng(0)
    for weight in network.weights if spread else ():
        scale = spread if len(weight.shape) > 1 else 0.1
        weight.assign(
            rng.normal(0, scale, weight.shape) + (1.0 if weight.name in ("gamma", "scale") else 0.0)
        )
    options = ExportConfig(output="unused", quantize="int8")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(export_tflite(network, "int8", options.prefill_lengths))
        tokenizer.save(os.path.join(folder, "tokenizer"))
        described = describe_network(network, tokenizer, "int8", options.prefill_lengths)
        dataclasses.replace(described, file="model.tflite", sha256=sha256_file(path)).write(folder)
        checks, held_out = Checks(), tokenizer.encode(TEXT)
        compare_file(checks, network, tokenizer, folder, held_out, quantize="int8")
    errors = [row for row in checks.rows if "relative_logit_error" in row["name"]]
    changes = [row["value"] for row in checks.rows if row["name"].startswith("perplexity_change")]
    return max(row["value"] for row in errors), errors[0]["limit"], max(changes)


def main() -> None:
    """Prints a row for each shape."""
    for name in sys.argv[1:] or SHAPES:
        for spread in (None, 0.15):
            error, limit, change = measure(SHAPES[name], spread)
            print(
                f"{name:14} {spread or 'init':>5}  error {error:.4f}  limit / error"
                f" {limit / error:5.1f}  perplexity {change:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
