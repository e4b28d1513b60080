"""A network to the bytes of a .tflite file: built-in operations only, one sequence, fixed shapes,
named signatures.

Shapes: S tokens of a call, C context, V vocabulary, H heads, K width of a head. A Transformer's
file has `prefill_S` (tokens (1, S) int32, input_pos (S,) int32, mask (1, 1, S, C) float32, caches
(1, C, H, K) float32 -> caches) for each prefill length, and `decode` (S = 1, also -> logits (1, 1,
V)). An LSTM's has `decode` alone, with its state instead of the caches and neither position
nor mask. All signatures share one copy of the weights.
"""

import contextlib
import io
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from tfscale.compat.tensorflow import keep_last_scale_apart
from tfscale.config import Quantization
from tfscale.errors import ExportError
from tfscale.exporting.flatbuffer import refuse_custom_operations
from tfscale.exporting.rounding import round_weights
from tfscale.files.scratch import scratch_folder
from tfscale.models.cached import tracing_for_tflite
from tfscale.models.cached_model import CachedModel
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import stored_bytes

DecodingNetwork = LanguageNetwork | CachedModel
"""Networks that decode by `cached_step`: those of tfscale, and somebody's own."""
Functions = Mapping[str, tf.types.experimental.ConcreteFunction]
"""Name of a signature -> its function."""
_LONGEST_REASON = 300
_CONVERTED_AS = {"float32": "none", "float16": "float16"}
"""Type in which the converter stores weights -> the recipe that stores them so."""
_SMALLEST = 0.9
"""A file below this fraction of its weights' bytes has lost some of them; what quantizes better
does not exist."""


class Weighted(Protocol):
    """The holder of a file's weights: a Keras model, or somebody's own that decodes."""

    weights: list[keras.Variable]


def export_tflite(
    network: DecodingNetwork,
    quantize: Quantization = "none",
    prefill_lengths: Sequence[int] = (8, 64),
    extra: Callable[[DecodingNetwork], Functions] | None = None,
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
    if capabilities(network).decodes == "none":
        raise ExportError(
            f"a {type(network).__name__} cannot be exported: it has no cached_step; build the"
            " network by tfscale.models.build_network, or give it config, cache_spec and"
            " cached_step"
        )
    with tracing_for_tflite():
        functions = signatures(network, prefill_lengths)
        if extra is not None:
            functions |= extra(network)
    return convert(network, functions, quantize)


def convert(network: Weighted, functions: Functions, quantize: Quantization) -> bytes:
    """Returns the file of some functions of a network, `decode` first.

    Args:
        network: has all weights that the functions read, each in a layer.
        functions: concrete functions by the name of their signature.
        quantize: as for `export_tflite`.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network, or the file lacks
            weights.
    """
    with silence():
        content = _to_tflite(network, functions, quantize)
        refuse_custom_operations(content)
        converted_as = _CONVERTED_AS[recipe(quantize).converted_as]
        check_weights_present(content, stored_bytes(network, converted_as))
        if recipe(quantize).rounds:
            content = round_weights(content, quantize)
            check_weights_present(content, stored_bytes(network, quantize))
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
    network: DecodingNetwork, prefill_lengths: Sequence[int]
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Returns the functions of the file by name, `decode` first."""
    names = {"decode": (1, True)}
    names |= {f"prefill_{n}": (n, False) for n in usable_prefill_lengths(network, prefill_lengths)}
    return {
        name: _signature(network, length, with_logits)
        for name, (length, with_logits) in names.items()
    }


def check_weights_present(content: bytes, expected: int) -> None:
    """Refuses a file that is too small to hold its weights.

    A conversion that does not track the variables behind a Keras network drops them all without an
    error.

    Raises:
        ExportError: the file is smaller than 0.9 of `expected` bytes.
    """
    if len(content) < _SMALLEST * expected:
        raise ExportError(
            f"the converted file has {len(content):,} bytes, less than {_SMALLEST} of the"
            f" {expected:,} that its weights take: the converter lost weights (are all of them"
            " created by the network's layers?)"
        )


def _signature(
    network: DecodingNetwork, length: int, with_logits: bool
) -> tf.types.experimental.ConcreteFunction:
    spec = {"tokens": tf.TensorSpec((1, length), tf.int32, name="tokens")}
    if capabilities(network).decodes == "cache":
        context = network.config.sequence_length
        spec["input_pos"] = tf.TensorSpec((length,), tf.int32, name="input_pos")
        spec["mask"] = tf.TensorSpec((1, 1, length, context), tf.float32, name="mask")
    for name, shape in network.cache_spec().items():
        spec[name] = tf.TensorSpec(shape, tf.float32, name=name)

    def step(tokens, input_pos=None, mask=None, **cache):
        logits, cache = network.cached_step(
            tokens, cache, input_pos=input_pos, mask=mask, with_logits=with_logits
        )
        return {**cache, "logits": logits} if with_logits else cache

    return tf.function(step).get_concrete_function(**spec)


def convert_other(
    network: Weighted, functions: Functions, quantize: Quantization, module: tf.Module | None = None
) -> bytes:
    """Returns the file of a network that is not of `tfscale.models`.

    How many weights it needs is known to the converter alone, which folds constants, such as the
    part of a position table that a window reads. The logits show that nothing is lost.

    Args:
        network: has the weights.
        functions: concrete functions by the name of their signature.
        quantize: "none", "float16" or "int8", as for `export_tflite`.
        module: has other variables that the functions read.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the network.
    """
    with silence():
        content = _to_tflite(network, functions, quantize, module)
        refuse_custom_operations(content)
        return round_weights(content, quantize) if recipe(quantize).rounds else content


def _to_tflite(
    network: Weighted, functions: Functions, quantize: Quantization, module: tf.Module | None = None
) -> bytes:
    module = module or tf.Module()
    # The converter finds variables through the module; it does not see those inside Keras's own
    # variables.
    module.weights = [weight.value for weight in network.weights]
    with scratch_folder("tfscale-export-") as directory:
        try:
            tf.saved_model.save(module, directory, signatures=functions)
        except AssertionError as error:
            if "untracked" not in str(error):
                raise
            raise ExportError(
                "the model reads a variable or a table that is not a weight of a Keras layer, which"
                " no file can hold: make variables by add_weight, and turn text into ids outside of"
                " the model"
            ) from error
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=list(functions)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        # Otherwise the scale of the last normalization is multiplied into the output projection,
        # and a table that is also the embedding is stored twice.
        keep_last_scale_apart(converter)
        if recipe(quantize).converted_as == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except Exception as error:
            # The converter's own error class is private to TensorFlow.
            if type(error).__name__ != "ConverterError":
                raise
            raise ExportError(
                f"TFLite cannot express this network: {reason(str(error))}"
            ) from error


def reason(message: str) -> str:
    """Returns which operations the converter lacks, by its message, or else what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [
        line for line in lines if line.startswith(("TF Select ops:", "Custom ops:", "Flex ops:"))
    ]
    if named or not lines:
        return "; ".join(named) or "no reason given"
    # Of "<unknown>:0: error: loc(callsite(...)): 'tf.Op' op cannot ..." the last clause says what
    # is wrong.
    clause = re.split(r"\): (?=[^()]*$)|: error: (?!loc)", lines[0])[-1]
    return clause[:_LONGEST_REASON]


_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps the converter's log lines off the terminal, many of which come from C++.

    Errors still raise.
    """
    # A second thread would take the first one's file for the process's stderr, and put that back
    # for good.
    with _ONE_AT_A_TIME:
        yield from _redirected()


def _redirected() -> Iterator[None]:
    saved = os.dup(2)
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    try:
        # In a notebook sys.stderr, where progress bars go, is another stream than the process's.
        with (
            tempfile.TemporaryFile() as sink,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            os.dup2(sink.fileno(), 2)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
