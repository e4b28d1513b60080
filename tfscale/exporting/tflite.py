"""A network to the bytes of a .tflite file: built-in operations only, one sequence, fixed shapes,
named signatures.

Shapes: S tokens of a call, C context, V vocabulary, H heads, K width of a head. A Transformer's
file has `prefill_S` (tokens (1, S) int32, input_pos (S,) int32, mask (1, 1, S, C) float32, caches
(1, C, H, K) float32 -> caches) for each prefill length, and `decode` (S = 1, also -> logits (1, 1,
V)). An LSTM's has `decode` alone, with its state instead of the caches and neither position
nor mask. All signatures share one copy of the weights.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

import keras
import tensorflow as tf
from ai_edge_litert.schema_py_generated import ModelT

from tfscale.config import Quantization
from tfscale.errors import ExportError
from tfscale.exporting.activations import split_in
from tfscale.exporting.converter import Functions, Weighted, silence, to_tflite
from tfscale.exporting.flatbuffer import refuse_custom_operations, write_to
from tfscale.exporting.halves import halve
from tfscale.exporting.recipe_formats import check_converted, converted_bytes
from tfscale.exporting.rounding import look_up_rows, round_weights, share_parameters
from tfscale.exporting.skeleton import (
    Placeholders,
    declare_formats,
    read_skeleton,
    streamed_formats,
)
from tfscale.models.cached import tracing_for_tflite
from tfscale.models.cached_model import CachedModel
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import stored_bytes

DecodingNetwork = LanguageNetwork | CachedModel
"""Networks that decode by `cached_step`: those of tfscale, and somebody's own."""
MoreSignatures = Callable[[DecodingNetwork, Placeholders], Functions]
"""Makes further functions of a file, which read weights that are inputs as the file's own do."""
_SMALLEST = 0.9
"""A file below this fraction of its weights' bytes has lost some of them; what quantizes better
does not exist."""


def export_tflite(
    network: DecodingNetwork,
    quantize: Quantization = "none",
    prefill_lengths: Sequence[int] = (8, 64),
    extra: MoreSignatures | None = None,
) -> bytes:
    """Converts a network with `cached_step`.

    Args:
        network: a network of `tfscale.models`; weights of any precision are exported as float32
            before `quantize`.
        quantize: "none" (float32); "float16" (stored; computed in float32); "int8" (a scale per
            output of each matrix and per row of each table, activations quantized on the fly, so
            that the products run in int8); "int4" (matrices in blocks of 64 or 32 weights, tables
            int8); or "int4_all" (tables in blocks of int4 too). A matrix whose sums are not over
            whole blocks is int8 in the last two.
        prefill_lengths: tokens per call of the prompt signatures; no effect on an LSTM, whose
            prompt is read by `decode`. Those above the context are left out.
        extra: gives further signatures of the network, which share its weights.

    Returns:
        The file's bytes.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network, or the file lacks
            weights.

    Example:
        content = export_tflite(run.network, quantize="int8")
    """
    file = io.BytesIO()
    write_tflite(file, network, quantize, prefill_lengths, extra)
    return file.getvalue()


def write_tflite(
    file: IO[bytes],
    network: DecodingNetwork,
    quantize: Quantization = "none",
    prefill_lengths: Sequence[int] = (8, 64),
    extra: MoreSignatures | None = None,
) -> None:
    """Writes what `export_tflite` returns, without holding the file in memory.

    Matrices and tables are rounded and written some rows at a time, where every operation reads
    them by rows; other networks go through the converter with all of their weights.

    Args:
        file: is written from its beginning on.
        network: as for `export_tflite`, as the others.
        quantize: the recipe.
        prefill_lengths: tokens per call of the prompt signatures.
        extra: as for `export_tflite`.

    Raises:
        ExportError: as for `export_tflite`.

    Example:
        with open("model.tflite", "wb") as file:
            write_tflite(file, run.network, quantize="int8")
    """
    if capabilities(network).decodes == "none":
        raise ExportError(
            f"a {type(network).__name__} cannot be exported: it has no cached_step; build the"
            " network by tfscale.models.build_network, or give it config, cache_spec and"
            " cached_step"
        )
    model = _without_weights(network, quantize, prefill_lengths, extra)
    if model is not None:
        write_to(file, model)
        check_weights_present(file.tell(), stored_bytes(network, quantize))
        return
    with tracing_for_tflite():
        functions = signatures(network, prefill_lengths)
        if extra is not None:
            functions |= extra(network, Placeholders([], {}))
    file.write(convert(network, functions, quantize))


def _without_weights(
    network: DecodingNetwork,
    quantize: Quantization,
    prefill_lengths: Sequence[int],
    extra: MoreSignatures | None,
) -> ModelT | None:
    """Returns the model of a file whose matrices are read from the network when it is written; None
    where it has to be converted with its weights."""
    chosen = recipe(quantize)
    formats = streamed_formats(network, quantize)
    if not formats:
        return None
    weights = [weight for weight in network.weights if weight.path in formats]
    placeholders = Placeholders(weights, formats)
    with tracing_for_tflite():
        functions = signatures(network, prefill_lengths, placeholders)
        if extra is not None:
            functions |= extra(network, placeholders)
    others = _Others([weight for weight in network.weights if weight.path not in formats])
    with silence():
        content = to_tflite(others, functions, quantize)
        refuse_custom_operations(content)
    model = read_skeleton(content)
    if not placeholders.put_in(model):
        return None
    if chosen.converted_as == "float16":
        halve(model)
    if chosen.rounds:
        look_up_rows(model)
        declare_formats(model)
        split_in(model)
        share_parameters(model)
    return model


@dataclass
class _Others:
    """The weights that the converter gets."""

    weights: list[keras.Variable]


def convert(network: Weighted, functions: Functions, quantize: Quantization) -> bytes:
    """Returns the file of some functions of a network, `decode` first.

    Args:
        network: has all weights that the functions read, each in a layer.
        functions: concrete functions by the name of their signature.
        quantize: as for `export_tflite`.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network, or the file lacks
            weights; or the recipe has formats that the quantizer does not make.
    """
    check_converted(network, quantize)
    with silence():
        content = to_tflite(network, functions, quantize)
        refuse_custom_operations(content)
        check_weights_present(len(content), converted_bytes(network, quantize))
        if recipe(quantize).rounds:
            content = round_weights(content, quantize)
            check_weights_present(len(content), stored_bytes(network, quantize))
    return content


def usable_prefill_lengths(network: DecodingNetwork, prefill_lengths: Sequence[int]) -> list[int]:
    """Returns the prompt lengths that a network's file gets: sorted, none above the context."""
    can = capabilities(network)
    if can.decodes != "cache" or can.one_token:
        return []
    return sorted(
        {length for length in prefill_lengths if length <= network.config.sequence_length}
    )


def signatures(
    network: DecodingNetwork,
    prefill_lengths: Sequence[int],
    placeholders: Placeholders | None = None,
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Returns the functions of the file by name, `decode` first.

    Args:
        network: has `cached_step`.
        prefill_lengths: tokens per call of the prompt signatures.
        placeholders: weights that are inputs of the functions.
    """
    placeholders = placeholders or Placeholders([], {})
    names = {"decode": (1, True)}
    names |= {f"prefill_{n}": (n, False) for n in usable_prefill_lengths(network, prefill_lengths)}
    return {
        name: _signature(network, length, with_logits, placeholders)
        for name, (length, with_logits) in names.items()
    }


def check_weights_present(size: int, expected: int) -> None:
    """Refuses a file that is too small to hold its weights.

    A conversion that does not track the variables behind a Keras network drops them all without an
    error.

    Raises:
        ExportError: the file is smaller than 0.9 of `expected` bytes.
    """
    if size < _SMALLEST * expected:
        raise ExportError(
            f"the converted file has {size:,} bytes, less than {_SMALLEST} of the"
            f" {expected:,} that its weights take: the converter lost weights (are all of them"
            " created by the network's layers?)"
        )


def step_inputs(network: DecodingNetwork, length: int) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of a signature that reads S tokens by `cached_step`, by their names."""
    specs = {"tokens": tf.TensorSpec((1, length), tf.int32, name="tokens")}
    if capabilities(network).decodes == "cache":
        context = network.config.sequence_length
        specs["input_pos"] = tf.TensorSpec((length,), tf.int32, name="input_pos")
        specs["mask"] = tf.TensorSpec((1, 1, length, context), tf.float32, name="mask")
    for name, shape in network.cache_spec().items():
        specs[name] = tf.TensorSpec(shape, tf.float32, name=name)
    return specs


def _signature(
    network: DecodingNetwork, length: int, with_logits: bool, placeholders: Placeholders
) -> tf.types.experimental.ConcreteFunction:
    def step(tokens, input_pos=None, mask=None, **cache):
        with placeholders.scope(cache):
            logits, cache = network.cached_step(
                tokens, cache, input_pos=input_pos, mask=mask, with_logits=with_logits
            )
        return {**cache, "logits": logits} if with_logits else cache

    return tf.function(step).get_concrete_function(
        **step_inputs(network, length), **placeholders.specs()
    )


def convert_other(
    network: Weighted, functions: Functions, quantize: Quantization, module: tf.Module | None = None
) -> bytes:
    """Returns the file of a network that is not of `tfscale.models`.

    How many weights it needs is known to the converter alone, which folds constants, such as the
    part of a position table that a window reads. The logits show that nothing is lost.

    Args:
        network: has the weights.
        functions: concrete functions by the name of their signature.
        quantize: as for `export_tflite`.
        module: has other variables that the functions read.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network, or the recipe has
            formats that the quantizer does not make.
    """
    check_converted(network, quantize)
    with silence():
        content = to_tflite(network, functions, quantize, module)
        refuse_custom_operations(content)
        return round_weights(content, quantize) if recipe(quantize).rounds else content
