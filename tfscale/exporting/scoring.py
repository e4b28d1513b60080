"""Any Keras model of token ids -> logits as a file: one that generates if it has a cache, or one
that scores windows.

A scoring file reads a whole window in one call. A recurrent layer of Keras 3 becomes a loop of
operations. For the conversion each LSTM layer computes by its twin in `tf_keras`, which the
converter turns into the one fused operation that phones have a kernel for. The fused operation
keeps its state in variables of the file between calls: `tfscale.device` resets them before each.

Shapes: T tokens of a window, V vocabulary, U units.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfscale import __version__
from tfscale.compat.keras import layers_called_by, layers_of
from tfscale.config import Quantization
from tfscale.config.options import checks_arguments
from tfscale.data.pipeline import text_windows
from tfscale.device.scorer import ScoringModel
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.decoding import write_decoder
from tfscale.exporting.flatbuffer import operations, unclip_lstm
from tfscale.exporting.incoming import (
    check_held_out,
    check_layers,
    check_length,
    check_model,
    in_float32,
    own_tokenizer,
)
from tfscale.exporting.limits import (
    Checks,
    agreeing,
    difference,
    limits_of,
    relative_change,
    spread,
)
from tfscale.exporting.parity import require
from tfscale.exporting.short_readme import scoring_readme
from tfscale.exporting.tflite import convert_other, silence
from tfscale.files.folders import atomic_directory
from tfscale.files.model_folders import claim_export
from tfscale.files.paths import atomic_write, sha256_file, write_json
from tfscale.models.decoding import CachedModel, cached_model
from tfscale.models.network import capabilities
from tfscale.models.weight_formats import fuses
from tfscale.text.score import Score, token_nll
from tfscale.text.tokenizers import Tokenizer

Recipe = ("none", "float16", "int8")
FORMAT_VERSION = 1


@checks_arguments
def export_keras(
    network: keras.Model,
    *,
    output: str,
    sequence_length: int,
    held_out: Sequence[int] | np.ndarray,
    tokenizer: Tokenizer | None = None,
    end_id: int | None = None,
    start_id: int | None = None,
    quantize: Literal["none", "float16", "int8"] = "none",
    cached: bool | None = None,
) -> dict[str, Any]:
    """Writes a Keras model of your own as a .tflite file that generates, or else scores, and proves
    that it is right.

    A model whose attention keeps a key-value cache gets the file of a language model of tfscale,
    with the signatures `decode` and `prefill_S`: a `CausalLM` of keras-hub, or a model of inputs of
    any length whose layers look at other tokens by `keras_hub.layers.TransformerDecoder` or
    `tfscale.models.attention.CausalSelfAttention` alone. Any other gets the one signature `score`,
    which reads whole windows.

    Args:
        network: any Keras 3 model, ids (B, T) int32 -> logits (B, T, V), the logits at t for the
            token after it.
        output: export folder to write.
        sequence_length: T, tokens of a window, or of the context.
        held_out: ids to compare on, of text that the model was not trained on.
        tokenizer: saved beside the file, which then also scores text; None if you bring your own.
        end_id: the token after each document of `held_out`; the tokenizer's if it is left out.
        start_id: the token that the model reads before a text; the tokenizer's, or `end_id`, if it
            is left out.
        quantize: "none", "float16" or "int8" (a scale for each row of a table and each output of a
            matrix).
        cached: whether the file generates, with a cache; None where it can and there is a
            tokenizer.

    Returns:
        The parity report: `passed`, `checks`, `perplexity` of `keras` and `file`, `sizes`,
            `operations`, and whether
        it `decodes`.

    Raises:
        DataError: `held_out` is empty or has ids that do not exist, or the output folder is
            something else.
        ConfigError: an argument out of range (int4 is for models of tfscale), no end token, or a
            model without a cache where one is asked for.
        ExportError: TFLite has no built-in operation for a part of the model, or the file computes
            something else; nothing was written.

    Example:
        tfscale.export_keras(my_network, output="export", sequence_length=128, held_out=ids, tokenizer=tokenizer)
        tfscale.device.load("export").score("some text").perplexity
    """
    claim_export(output)
    check_length(sequence_length)
    stream, tokenizer = check_held_out(held_out), own_tokenizer(tokenizer)
    check_layers(network)
    if start_id is not None and tokenizer is not None:
        tokenizer = tokenizer.with_special(
            dataclasses.replace(tokenizer.special, start_id=start_id, in_prompts=True)
        )
    with in_float32(network):
        decoder = _decoder(network, sequence_length, tokenizer, cached)
        if decoder is not None and tokenizer is not None:
            return _export_decoder(decoder, output, stream, tokenizer, end_id, quantize)
        return _export_scoring(
            network, output, sequence_length, stream, tokenizer, end_id, start_id, quantize
        )


def _export_decoder(
    decoder: CachedModel,
    output: str,
    held_out: list[int],
    tokenizer: Tokenizer,
    end_id: int | None,
    quantize: Quantization,
) -> dict[str, Any]:
    if end_id not in (None, tokenizer.end_id):
        raise ConfigError(
            f"end_id={end_id}, and the tokenizer's is {tokenizer.end_id}, with which a file that"
            " generates ends; the token that it begins with is start_id"
        )
    check_held_out(held_out, decoder.config.vocabulary_size)
    try:
        with atomic_directory(output) as folder:
            report = write_decoder(
                decoder, folder, held_out=held_out, tokenizer=tokenizer, quantize=quantize
            )
    except ExportError as error:
        raise ExportError(f"{error}; with cached=False it becomes a file that scores") from error
    return report | {"output": output, "decodes": True}


def _export_scoring(
    network: keras.Model,
    output: str,
    sequence_length: int,
    held_out: list[int],
    tokenizer: Tokenizer | None,
    end_id: int | None,
    start_id: int | None,
    quantize: Quantization,
) -> dict[str, Any]:
    if hasattr(network, "call_with_cache"):
        ids = keras.Input((None,), dtype="int32")
        network = keras.Model(
            ids, network({"token_ids": ids, "padding_mask": keras.ops.ones_like(ids)})
        )
    if end_id is None:
        if tokenizer is None:
            raise ConfigError(
                "give a tokenizer, or the end_id that comes before the first token of a text"
            )
        end_id = tokenizer.end_id
    if start_id is None:
        start_id = end_id if tokenizer is None or tokenizer.end_id != end_id else tokenizer.start_id
    found = check_model(network, sequence_length, end_id)
    check_held_out(held_out, min(found.inputs, found.targets))
    content = scoring_file(network, sequence_length, quantize)
    with atomic_directory(output) as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(content)
        if tokenizer is not None:
            tokenizer.save(os.path.join(folder, "tokenizer"))
        metadata = {
            "format_version": FORMAT_VERSION,
            "family": "keras",
            "format": "scoring",
            "file": "model.tflite",
            "sha256": sha256_file(path),
            "model": {"sequence_length": sequence_length},
            "end_id": end_id,
            "start_id": start_id,
            "tokenizer": "tokenizer" if tokenizer else None,
            "quantize": quantize,
            "tokenizer_digest": tokenizer.digest if tokenizer else None,
            "cloze": capabilities(network).is_cloze,
            "tfscale_version": __version__,
        }
        write_json(os.path.join(folder, "model.json"), metadata)
        report = check_scoring(network, path, held_out, sequence_length, end_id, start_id, quantize)
        require(report)
        report |= {"format": "tflite", "output": output, "decodes": False}
        write_json(os.path.join(folder, "parity.json"), report)
        with atomic_write(os.path.join(folder, "README.md"), "w") as readme:
            readme.write(scoring_readme(metadata, report))
    return report


def _decoder(
    network: keras.Model, context: int, tokenizer: Tokenizer | None, cached: bool | None
) -> CachedModel | None:
    """The network as one that decodes token by token; None for a file that scores."""
    is_hub = hasattr(network, "call_with_cache")
    if cached is False or (
        cached is None
        and not is_hub
        and (tokenizer is None or capabilities(network).decodes != "none")
    ):
        return None
    if tokenizer is None:
        raise ConfigError(
            "a file that generates needs a tokenizer: tfscale.runs.hub.tokenizer_of makes one of"
            " keras-hub's; cached=False gives a file that scores"
        )
    fixed = (
        getattr(network, "inputs", None) and not is_hub and network.inputs[0].shape[1] is not None
    )
    found = None if fixed else cached_model(network, context, tokenizer.vocabulary_size)
    if found is not None and not is_hub:
        check_model(network, context, tokenizer.end_id)
    if found is None and cached:
        why = "takes inputs of one length; build it for inputs of any length, keras.Input((None,))"
        raise ConfigError(
            f"model {network.name!r} {why if fixed else 'has no layer with a key-value cache'}"
        )
    return found


def scoring_file(network: keras.Model, length: int, quantize: Quantization) -> bytes:
    """The bytes of a .tflite file with the signature `score`: tokens (1, T) int32 -> logits (1, T,
    V) float32.

    Raises:
        ExportError: as `export_keras`.
    """
    module = tf.Module()
    with fused_lstm(network, module):
        function = tf.function(
            lambda tokens: {"logits": tf.cast(network(tokens, training=False), tf.float32)}
        )
        spec = tf.TensorSpec((1, length), tf.int32, name="tokens")
        with silence():
            traced = function.get_concrete_function(tokens=spec)
    return unclip_lstm(convert_other(network, {"score": traced}, quantize, module))


@contextlib.contextmanager
def fused_lstm(network: keras.Model, module: tf.Module) -> Iterator[int]:
    """Lets each LSTM layer of a network compute by a twin in tf_keras for the block; yields how
    many do.

    A layer keeps its own loop if it carries state, starts from one, gives one, is masked, or has
    activations of its own: the fused operation knows none of these
    (`tfscale.models.weight_formats.fuses`).

    Args:
        network: its LSTM layers, those inside `Bidirectional` too, are left as they are after the
            block.
        module: gets the twins, so that the converter finds their variables.
    """
    import tf_keras

    twins = []
    for layer in layers_of(network):
        if not fuses(layer):
            continue
        cell = layer.cell
        twin = tf_keras.layers.LSTM(
            cell.units,
            return_sequences=layer.return_sequences,
            go_backwards=layer.go_backwards,
            name=f"twin_{layer.name}",
        )
        twin.build((1, None, cell.kernel.shape[0]))
        twin.set_weights(
            [weight.numpy() for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)]
        )
        twins.append((layer, twin))

    def computed_by(twin: Any, original: Any) -> Any:
        def call(sequences, initial_state=None, mask=None, training=False):
            if initial_state is not None or mask is not None:
                return original(
                    sequences, initial_state=initial_state, mask=mask, training=training
                )
            return twin(tf.cast(sequences, tf.float32))

        return call

    module.twins = [twin for _, twin in twins]
    calls = [(layer, computed_by(twin, layer.call)) for layer, twin in twins]
    with layers_called_by(calls):
        yield len(twins)


def check_scoring(
    network: keras.Model,
    path: str,
    held_out: Sequence[int],
    length: int,
    end_id: int,
    start_id: int,
    quantize: Quantization,
) -> dict[str, Any]:
    """Compares a scoring file with its network, with XNNPACK's kernels and without.

    Raises:
        ExportError: the runtime refuses the file.
    """
    limits, checks = limits_of(network, quantize, converted=True), Checks()
    name = "pseudo_perplexity" if capabilities(network).is_cloze else "perplexity"
    inputs, targets, weights = text_windows(
        np.asarray(held_out, np.int32), length, end_id, start_id
    )
    counts = (weights > 0).sum(axis=1)
    expected = [np.asarray(network(row[None], training=False), np.float32)[0] for row in inputs]
    unit = spread(expected)
    largest = (
        None
        if limits.max_logit_difference is None
        else limits.max_logit_difference * max(1.0, unit)
    )
    nll = {"keras": _nll(expected, targets, counts)}
    for kernels in ("xnnpack", "plain"):
        model = ScoringModel(
            path,
            None,
            {"model": {"sequence_length": length}, "end_id": end_id},
            1,
            kernels == "xnnpack",
        )
        found = [model.logits(row) for row in inputs]
        again = model.logits(inputs[0])
        nll[kernels] = _nll(found, targets, counts)
        gap = np.stack([difference(*pair) for pair in zip(found, expected, strict=True)])
        checks.add(f"max_logit_difference ({kernels})", float(np.abs(gap).max()), "<=", largest)
        relative = float(np.sqrt(np.square(gap).mean())) / unit
        checks.add(f"relative_logit_error ({kernels})", relative, "<=", limits.relative_logit_error)
        near = limits.greedy_gap * unit
        same = (
            sum(agreeing(*pair, near) for pair in zip(found, expected, strict=True))
            / gap[..., 0].size
        )
        checks.add(f"top1_agreement ({kernels})", same, ">=", limits.top1_agreement)
        change = relative_change(
            np.exp(nll[kernels] / counts.sum()), np.exp(nll["keras"] / counts.sum())
        )
        checks.add(f"{name}_change ({kernels})", float(change), "<=", limits.perplexity_change)
        checks.add(
            f"second_run_difference ({kernels})", float(np.abs(again - found[0]).max()), "==", 0.0
        )
    tokens = int(counts.sum())
    with open(path, "rb") as file:
        content = file.read()
    return {
        "passed": checks.passed,
        "quantize": quantize,
        "checks": checks.rows,
        "tokens": tokens,
        name: {
            "keras": Score(nll["keras"], tokens).perplexity,
            "file": Score(nll["xnnpack"], tokens).perplexity,
        },
        "sizes": {"file_bytes": len(content)},
        "vocabulary_size": expected[0].shape[-1],
        "operations": operations(content),
    }


def _nll(logits: Sequence[np.ndarray], targets: np.ndarray, counts: np.ndarray) -> float:
    rows = zip(logits, targets, counts, strict=True)
    return sum(float(token_nll(row[:count], target[:count]).sum()) for row, target, count in rows)
