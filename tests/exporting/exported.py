"""Tiny networks with weights large enough that their logits have clear winners, and their files, converted once."""

import functools
import json
import os

import numpy as np

from tests.gpt2 import gpt2
from tfscale.config import LSTMConfig, TrainConfig
from tfscale.exporting.parity import compare_file
from tfscale.exporting.report import Checks
from tfscale.exporting.tflite import export_tflite, usable_prefill_lengths
from tfscale.files.paths import sha256_file, write_json
from tfscale.models import build_network

PREFILL_LENGTHS = [4, 8]
TEXT = "The quick brown fox jumps over the lazy dog; naïve café, 狐. " * 2 + "Again."
CONFIGS = {
    "transformer": gpt2(
        vocabulary_size=257, sequence_length=16, hidden_dim=32, num_layers=2, num_heads=2
    ),
    "lstm": LSTMConfig(
        vocabulary_size=257,
        sequence_length=16,
        embedding_dim=24,
        hidden_dim=32,
        tie_embeddings=True,
    ),
}


@functools.cache
def make_network(family, precision="float32", seed=0):
    network = build_network(CONFIGS[family], precision=precision, seed=seed)
    generator = np.random.default_rng(seed)
    for weight in network.weights:
        shape = tuple(weight.shape)
        scale = 0.2 if len(shape) > 1 else 0.1
        # Normalization scales near but not at 1: the converter treats an exact 1 as nothing.
        weight.assign(
            generator.normal(size=shape, scale=scale) + (1.0 if "gamma" in weight.path else 0.0)
        )
    return network


@functools.cache
def make_file(family, quantize):
    """The file of a family, converted once."""
    return export_tflite(make_network(family), quantize, PREFILL_LENGTHS)


def write_folder(folder, content, network, tokenizer, quantize="none"):
    """What compare_file reads: the file, its description, its tokenizer."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.tflite")
    with open(path, "wb") as file:
        file.write(content)
    tokenizer.save(os.path.join(folder, "tokenizer"))
    metadata = {
        "format_version": 1,
        "family": network.config.family,
        "model": {"sequence_length": network.config.sequence_length},
        "end_id": tokenizer.end_id,
        "file": "model.tflite",
        "sha256": sha256_file(path),
        "tokenizer": "tokenizer",
        "tokenizer_digest": tokenizer.digest,
        "quantize": quantize,
        "prefill_lengths": usable_prefill_lengths(network, PREFILL_LENGTHS),
    }
    write_json(os.path.join(folder, "model.json"), metadata)
    return str(folder)


def make_run(directory, network, tokenizer, data_dir=None):
    from tfscale.runs.folder import Run

    os.makedirs(directory, exist_ok=True)
    records = [{"step": 20, "loss": 5.5}, {"step": 40, "loss": 4.5}, {"step": 40, "val_loss": 4.75}]
    with open(os.path.join(directory, "history.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return Run(
        directory=str(directory),
        network=network,
        tokenizer=tokenizer,
        model_config=network.config,
        train_config=TrainConfig(),
        data_dir=data_dir,
        summary={},
    )


def check_parity(network, tokenizer, folder, held_out, quantize):
    """Returns the whole report of a folder that is compared with its network."""
    checks = Checks()
    rest = compare_file(checks, network, tokenizer, folder, held_out, quantize=quantize)
    return checks.report(quantize, rest)
