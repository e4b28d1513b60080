"""Tiny exported models of both families, written as the device side expects to find them."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gpt2 import gpt2
from tfscale.config import LSTMConfig, Quantization, to_dict
from tfscale.files.paths import write_json
from tfscale.text.tokenizers import Tokenizer, train_tokenizer

CONTEXT = 19
PREFILL_LENGTHS = (4, 8)


@dataclass
class Exported:
    """An export folder and what it was made from."""

    directory: str
    network: Any
    tokenizer: Tokenizer
    quantize: Quantization = "none"

    @property
    def file(self) -> str:
        return os.path.join(self.directory, "model.tflite")

    @property
    def metadata(self) -> str:
        return os.path.join(self.directory, "model.json")


def write_export(
    directory: str, network: Any, tokenizer: Tokenizer, quantize: Quantization = "none"
) -> Exported:
    from tfscale.exporting.tflite import export_tflite

    os.makedirs(directory, exist_ok=True)
    content = export_tflite(network, quantize, PREFILL_LENGTHS)
    with open(os.path.join(directory, "model.tflite"), "wb") as file:
        file.write(content)
    tokenizer.save(os.path.join(directory, "tokenizer"))
    write_json(
        os.path.join(directory, "model.json"),
        {
            "format_version": 1,
            "family": network.config.family,
            "model": to_dict(network.config),
            "context_length": network.config.sequence_length,
            "end_id": tokenizer.end_id,
            "vocabulary_size": network.config.vocabulary_size,
            "tokenizer": "tokenizer",
            "tokenizer_digest": tokenizer.digest,
            "quantize": quantize,
            "file": "model.tflite",
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    )
    return Exported(directory, network, tokenizer, quantize)


def tiny_network(family: str, vocabulary_size: int) -> Any:
    """A network with random weights, larger than initial ones, so that logits of contexts differ by whole units."""
    from tfscale.models import build_network

    size = {
        "vocabulary_size": vocabulary_size,
        "sequence_length": CONTEXT,
        "hidden_dim": 16,
        "num_layers": 2,
    }
    config = (
        gpt2(num_heads=2, **size)
        if family == "transformer"
        else LSTMConfig(embedding_dim=8, **size)
    )
    network = build_network(config, seed=3)
    network.set_weights(
        [weight * 4 if weight.ndim > 1 else weight for weight in network.get_weights()]
    )
    return network


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    return train_tokenizer("byte", ["any"], 257)


@pytest.fixture(scope="session")
def make_export(tmp_path_factory) -> Callable[..., Exported]:
    """Makes an export of a family and a tokenizer."""

    def make(family: str, tokenizer: Tokenizer, quantize: Quantization = "none") -> Exported:
        network = tiny_network(family, tokenizer.vocabulary_size)
        return write_export(str(tmp_path_factory.mktemp(family)), network, tokenizer, quantize)

    return make


@pytest.fixture(scope="session", params=["transformer", "lstm"])
def exported(request, make_export, byte_tokenizer) -> Exported:
    """A float32 export of each family, with byte tokens."""
    return make_export(request.param, byte_tokenizer)


@pytest.fixture(scope="session", params=["none", "float16", "int8"])
def quantized(request, make_export, byte_tokenizer) -> Exported:
    """A Transformer's export in each of the quantizations."""
    return make_export("transformer", byte_tokenizer, request.param)


@pytest.fixture
def copy(exported, tmp_path) -> Exported:
    """A copy of the export that a test may damage."""
    directory = str(tmp_path / "export")
    shutil.copytree(exported.directory, directory)
    return Exported(directory, exported.network, exported.tokenizer)
