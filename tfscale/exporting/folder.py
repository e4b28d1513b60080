"""model.json of an export: what a program must know to run its file."""

import importlib.metadata
import os
from typing import Any

import keras
import tensorflow as tf

import tfscale
from tfscale.config import ExportConfig, to_dict
from tfscale.exporting.tflite import usable_prefill_lengths
from tfscale.files.paths import sha256_file
from tfscale.models.network import capabilities
from tfscale.models.weight_formats import weight_formats

FORMAT_VERSION = 1


def describe(network: Any, tokenizer: Any, config: ExportConfig, path: str) -> dict[str, Any]:
    """The content of model.json: what a program must know to run the file at `path`."""
    transformer = capabilities(network).decodes == "cache"
    return {
        "format_version": FORMAT_VERSION,
        "family": network.config.family,
        "model": to_dict(network.config),
        "context_length": network.config.sequence_length if transformer else None,
        "end_id": tokenizer.end_id,
        **described_tokens(tokenizer),
        "vocabulary_size": network.config.vocabulary_size,
        "tokenizer": "tokenizer",
        "tokenizer_digest": tokenizer.digest,
        **({"cleaning": tokenizer.cleaner.to_dict()} if tokenizer.cleaner.steps else {}),
        "quantize": config.quantize,
        "format": config.format,
        "file": os.path.basename(path),
        "sha256": sha256_file(path),
        "cache": {name: list(shape) for name, shape in network.cache_spec().items()},
        "bytes_per_token": _bytes_per_token(network, config),
        "prefill_lengths": usable_prefill_lengths(network, config.prefill_lengths),
        "tfscale_version": tfscale.__version__,
    }


def described_tokens(tokenizer: Any) -> dict[str, Any]:
    """What begins and ends a text: the token before it, what is read before a prompt, what ends a
    completion, and whether a program that cuts text by `tokenizer.model` itself must put a space
    before it.
    """
    return {
        "start_id": tokenizer.start_id,
        "prompt_start": list(tokenizer.prompt_start),
        "stop_ids": list(tokenizer.stop_ids),
        "leading_space": tokenizer.special.leading_space,
        "special_tokens": tokenizer.special_tokens,
    }


def _bytes_per_token(network: Any, config: ExportConfig) -> int | None:
    """Bytes of weights that decoding a token reads: all but those of tables of which it looks up
    one row.

    None of a model of somebody's own, which does not say what its logits are made of.
    """
    if not capabilities(network).has_hidden_states:
        return None
    formats = weight_formats(network, config.quantize)
    read = {id(weight) for weight in network.output_variables}
    return sum(
        formats[weight.path].bytes_of(tuple(weight.shape))
        for weight in network.weights
        if weight.name != "embeddings" or id(weight) in read
    )


def versions() -> dict[str, str]:
    """What an export was made with."""
    # The package that `import tensorflow` comes from has other names too, such as tensorflow-tpu.
    modules = {"tfscale": tfscale, "tensorflow": tf, "keras": keras}
    found = {name: module.__version__ for name, module in modules.items()}
    return found | {
        name: importlib.metadata.version(name) for name in ("ai-edge-litert", "litert-quantizer")
    }
