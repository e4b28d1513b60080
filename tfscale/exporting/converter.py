"""Calls TensorFlow's converter: functions of a network to the bytes of a float .tflite file."""

import contextlib
import io
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import Protocol

import keras
import tensorflow as tf

from tfscale.compat.tensorflow import keep_last_scale_apart
from tfscale.config import Quantization
from tfscale.errors import ExportError
from tfscale.exporting.halves import in_float16
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.models.recipe import recipe

Functions = Mapping[str, tf.types.experimental.ConcreteFunction]
"""Name of a signature -> its function."""
_LONGEST_REASON = 300


class Weighted(Protocol):
    """The holder of a file's weights: a Keras model, or somebody's own that decodes."""

    weights: list[keras.Variable]


def to_tflite(
    network: Weighted, functions: Functions, quantize: Quantization, module: tf.Module | None = None
) -> bytes:
    """Returns the file that the converter makes.

    Args:
        network: has the weights that the functions read.
        functions: concrete functions by the name of their signature.
        quantize: the recipe; of it, whether matrices are float32 or float16.
        module: has other variables that the functions read.

    Raises:
        ExportError: TFLite has no built-in operation for a part of the functions.
    """
    module = module or tf.Module()
    # The converter finds variables through the module; it does not see those inside Keras's own
    # variables.
    module.weights = [weight.value for weight in network.weights]
    with scratch_writes(), scratch_folder("tfscale-export-") as directory:
        try:
            tf.saved_model.save(module, directory, signatures=functions)
        except AssertionError as error:
            if "untracked" not in str(error):
                raise
            raise ExportError(
                "the model reads a variable or a table that is not a weight of a Keras layer, which"
                " no file can hold: make variables by add_weight, and look ids up outside of the"
                " model (TextVectorization, StringLookup and IntegerLookup are such tables)"
            ) from error
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=list(functions)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        # Otherwise the scale of the last normalization is multiplied into the output projection,
        # and a table that is also the embedding is stored twice.
        keep_last_scale_apart(converter)
        try:
            content: bytes = converter.convert()
        except Exception as error:
            # The converter's own error class is private to TensorFlow.
            if type(error).__name__ != "ConverterError":
                raise
            raise ExportError(
                f"TFLite cannot express this network: {reason(str(error))}"
            ) from error
    return in_float16(content) if recipe(quantize).converted_as == "float16" else content


_INSTEAD = {
    "BitwiseAnd": "keras.ops.argmax makes it: take keras.ops.top_k(x, 1)[1][..., 0]",
    "DenseBincount": "CategoryEncoding makes it: take keras.ops.one_hot or multi_hot",
    "StringToHashBucketFast": "Hashing makes it: hash outside of the model, and export the model of"
    " the numbers",
}
"""Replacements for operations of Keras that TFLite lacks."""


def reason(message: str) -> str:
    """Returns which operations the converter lacks, by its message, or else what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    named = [
        line for line in lines if line.startswith(("TF Select ops:", "Custom ops:", "Flex ops:"))
    ]
    if named or not lines:
        hints = [hint for operation, hint in _INSTEAD.items() if operation in " ".join(named)]
        return "; ".join([*named, *hints]) or "no reason given"
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
