"""A user's own Keras model with a key-value cache as the export folder of a language model that
generates.

It is the folder that a Transformer of tfscale becomes, with the same signatures and the same
comparison, so that all of `tfscale.device` and the command line run it. Weights are stored as
TFLite's converter stores them.
"""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfscale.config import ExportConfig, Quantization
from tfscale.errors import ExportError
from tfscale.exporting.folder import describe, versions
from tfscale.exporting.incoming import check_held_out
from tfscale.exporting.parity import check_parity, require
from tfscale.exporting.texts import write_texts
from tfscale.exporting.tflite import convert_other, signatures
from tfscale.files.paths import write_json
from tfscale.models.cached import tracing_for_tflite
from tfscale.models.decoding import CachedModel
from tfscale.text.tokenizers import Tokenizer


def write_decoder(
    model: CachedModel,
    folder: str,
    *,
    held_out: Sequence[int],
    tokenizer: Tokenizer,
    quantize: Quantization = "none",
    prefill_lengths: Sequence[int] = (8, 64),
) -> dict[str, Any]:
    """Writes and compares the files of an export folder.

    Args:
        model: see `tfscale.models.decoding.cached_model`.
        folder: where to write; exists and is empty.
        held_out: ids to compare on, of text that the model was not trained on.
        tokenizer: saved beside the file.
        quantize: "none", "float16" or "int8" (the converter's dynamic range).
        prefill_lengths: tokens per call of the prompt signatures.

    Returns:
        The parity report, as `tfscale.exporting.parity.check_parity` gives it.

    Raises:
        DataError: ids that do not exist.
        ExportError: TFLite has no built-in operation for a part of the model, or the file computes
            something else.
    """
    tokens = check_held_out(held_out, model.config.vocabulary_size)
    config = ExportConfig(output=folder, quantize=quantize, prefill_lengths=list(prefill_lengths))
    try:
        with tracing_for_tflite():
            functions = signatures(model, prefill_lengths)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        why = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ExportError(
            f"the model cannot be called token by token with a cache: {why[-1][:200]}"
        ) from error
    content = convert_other(model, functions, quantize)
    path = os.path.join(folder, "model.tflite")
    with open(path, "wb") as file:
        file.write(content)
    tokenizer.save(os.path.join(folder, "tokenizer"))
    metadata = describe(model, tokenizer, config, path)
    write_json(os.path.join(folder, "model.json"), metadata)
    report = check_parity(
        model, tokenizer, folder, tokens, quantize=quantize, threads=1, converted=True
    )
    require(report)
    held = {"source": "the tokens that were given", "tokens": len(tokens)}
    report |= {"format": "tflite", "held_out": held, "versions": versions()}
    write_json(os.path.join(folder, "parity.json"), report)
    write_texts(folder, model, tokenizer, report, metadata)
    return report
