"""Any Keras model of token ids -> logits as a file that scores whole windows in one call.

A recurrent layer of Keras 3 becomes a loop of operations. For the conversion each LSTM layer computes by its twin in
`tf_keras`, which the converter turns into the one fused operation that phones have a kernel for. The fused operation
keeps its state in variables of the file between calls: `tfscale.device` resets them before each.

Shapes: T tokens of a window, V vocabulary, U units.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfscale import __version__
from tfscale.config import Quantization
from tfscale.data.pipeline import text_windows
from tfscale.device.scorer import ScoringModel
from tfscale.errors import ConfigError, ExportError
from tfscale.export.flatbuffer import operations, refuse_custom_operations, unclip_lstm
from tfscale.export.limits import LIMITS, Checks
from tfscale.export.parity import require
from tfscale.export.short_readme import scoring_readme
from tfscale.export.tflite import check_weights_present, reason, silence
from tfscale.files import atomic_directory, atomic_write, claim_directory, sha256_file, write_json
from tfscale.score import Score, token_nll
from tfscale.text.tokenizers import Tokenizer

Recipe = ("none", "float16", "int8")
FORMAT_VERSION = 1


def export_keras(
    network: keras.Model,
    *,
    output: str,
    sequence_length: int,
    held_out: Sequence[int],
    tokenizer: Tokenizer | None = None,
    end_id: int | None = None,
    quantize: Quantization = "none",
) -> dict[str, Any]:
    """Writes a Keras model of your own as a .tflite file with the signature `score`, and proves that it is right.

    Args:
        network: any Keras 3 model, ids (B, T) int32 -> logits (B, T, V), the logits at t for the token after it.
        output: export folder to write.
        sequence_length: T, tokens of a window.
        held_out: ids to compare on, of text that the model was not trained on.
        tokenizer: saved beside the file, which then also scores text; None if you bring your own.
        end_id: the token before the first of a window; the tokenizer's if it is left out.
        quantize: "none", "float16" or "int8" (the converter's dynamic range: tables and matrices in 8 bits).

    Returns:
        The parity report: `passed`, `checks`, `perplexity` of `keras` and `file`, `sizes`, `operations`.

    Raises:
        ConfigError: an argument out of range, or no end token.
        ExportError: TFLite has no built-in operation for a part of the model, or the file computes something else;
            nothing was written.

    Example:
        tfscale.export_keras(my_network, output="export", sequence_length=128, held_out=ids, tokenizer=tokenizer)
        tfscale.device.load("export").score("some text").perplexity
    """
    claim_directory(output, "model.json", "an export folder")
    if quantize not in Recipe:
        raise ConfigError(
            f"quantize={quantize!r} is for language models of tfscale; expected one of {', '.join(Recipe)}"
        )
    if sequence_length < 2:
        raise ConfigError(f"sequence_length={sequence_length} is out of range; expected 2 or more")
    if end_id is None:
        if tokenizer is None:
            raise ConfigError("give a tokenizer, or the end_id that comes before the first token of a text")
        end_id = tokenizer.end_id
    content = scoring_file(network, sequence_length, quantize)
    with atomic_directory(output) as folder:
        path = os.path.join(folder, "model.tflite")
        with open(path, "wb") as file:
            file.write(content)
        if tokenizer is not None:
            tokenizer.save(os.path.join(folder, "tokenizer"))
        metadata = {
            "format_version": FORMAT_VERSION, "family": "keras", "format": "scoring", "file": "model.tflite",
            "sha256": sha256_file(path), "model": {"sequence_length": sequence_length}, "end_id": end_id,
            "tokenizer": "tokenizer" if tokenizer else None, "quantize": quantize,
            "tokenizer_digest": tokenizer.digest if tokenizer else None, "cloze": getattr(network, "cloze", False),
            "tfscale_version": __version__,
        }  # fmt: skip
        write_json(os.path.join(folder, "model.json"), metadata)
        report = check_scoring(network, path, held_out, sequence_length, end_id, quantize)
        require(report)
        report |= {"format": "tflite", "output": output}
        write_json(os.path.join(folder, "parity.json"), report)
        with atomic_write(os.path.join(folder, "README.md"), "w") as readme:
            readme.write(scoring_readme(metadata, report))
    return report


def scoring_file(network: keras.Model, length: int, quantize: Quantization) -> bytes:
    """The bytes of a .tflite file with the signature `score`: tokens (1, T) int32 -> logits (1, T, V) float32.

    Raises:
        ExportError: as `export_keras`.
    """
    module = tf.Module()
    with fused_lstm(network, module):
        function = tf.function(lambda tokens: {"logits": tf.cast(network(tokens, training=False), tf.float32)})
        spec = tf.TensorSpec((1, length), tf.int32, name="tokens")
        with silence():
            traced = function.get_concrete_function(tokens=spec)
    module.weights = [weight.value for weight in network.weights]
    with tempfile.TemporaryDirectory(prefix="tfscale-export-") as directory, silence():
        tf.saved_model.save(module, directory, signatures={"score": traced})
        converter = tf.lite.TFLiteConverter.from_saved_model(directory, signature_keys=["score"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            content = converter.convert()
        except Exception as error:
            # The converter's own error class is private to TensorFlow.
            if type(error).__name__ != "ConverterError":
                raise
            raise ExportError(f"TFLite cannot express this network: {reason(str(error))}") from error
    refuse_custom_operations(content)
    content = unclip_lstm(content)
    bits = {"none": 32, "float16": 16, "int8": 8}[quantize]
    # The converter leaves matrices below 1,024 weights in float32; nothing is ever smaller than this.
    sizes = [int(np.prod(weight.shape)) for weight in getattr(network, "read_weights", network.weights)]
    check_weights_present(content, sum(size * bits // 8 for size in sizes))
    return content


@contextlib.contextmanager
def fused_lstm(network: keras.Model, module: tf.Module) -> Iterator[int]:
    """Lets each LSTM layer of a network compute by a twin in tf_keras for the block; yields how many do.

    A layer keeps its own loop if it carries state, starts from one, is masked, or has activations of its own: the fused
    operation knows none of these.

    Args:
        network: its LSTM layers, those inside `Bidirectional` too, are left as they are after the block.
        module: gets the twins, so that the converter finds their variables.
    """
    import tf_keras

    twins = []
    for layer in network._flatten_layers():
        if not isinstance(layer, keras.layers.LSTM) or layer.stateful or not layer.use_bias or layer.unroll:
            continue
        cell = layer.cell
        if cell.activation is not keras.activations.tanh or cell.recurrent_activation is not keras.activations.sigmoid:
            continue
        twin = tf_keras.layers.LSTM(
            cell.units,
            return_sequences=layer.return_sequences,
            go_backwards=layer.go_backwards,
            name=f"twin_{layer.name}",
        )
        twin.build((1, None, cell.kernel.shape[0]))
        twin.set_weights([weight.numpy() for weight in (cell.kernel, cell.recurrent_kernel, cell.bias)])
        twins.append((layer, twin))
    originals = [layer.call for layer, _ in twins]

    def computed_by(twin: Any, original: Any) -> Any:
        def call(sequences, initial_state=None, mask=None, training=False):
            if initial_state is not None or mask is not None:
                return original(sequences, initial_state=initial_state, mask=mask, training=training)
            return twin(tf.cast(sequences, tf.float32))

        return call

    module.twins = [twin for _, twin in twins]
    try:
        for (layer, twin), original in zip(twins, originals, strict=True):
            object.__setattr__(layer, "call", computed_by(twin, original))
        yield len(twins)
    finally:
        for layer, _ in twins:
            object.__delattr__(layer, "call")


def check_scoring(
    network: keras.Model, path: str, held_out: Sequence[int], length: int, end_id: int, quantize: Quantization
) -> dict[str, Any]:
    """Compares a scoring file with its network, with XNNPACK's kernels and without.

    Raises:
        ExportError: the runtime refuses the file.
    """
    limits, checks = LIMITS[quantize], Checks()
    name = "pseudo_perplexity" if getattr(network, "cloze", False) else "perplexity"
    inputs, targets, weights = text_windows(np.asarray(held_out, np.int32), length, end_id)
    counts = (weights > 0).sum(axis=1)
    expected = [np.asarray(network(row[None], training=False), np.float32)[0] for row in inputs]
    spread = float(np.sqrt(np.mean([np.square(x - x.mean(-1, keepdims=True)).mean() for x in expected]))) or 1e-12
    nll = {"keras": _nll(expected, targets, counts)}
    for kernels in ("xnnpack", "plain"):
        model = ScoringModel(
            path, None, {"model": {"sequence_length": length}, "end_id": end_id}, 1, kernels == "xnnpack"
        )
        found = [model.logits(row) for row in inputs]
        again = model.logits(inputs[0])
        nll[kernels] = _nll(found, targets, counts)
        gap = np.stack(found) - np.stack(expected)
        largest = limits.max_logit_difference
        checks.add(f"max_logit_difference ({kernels})", float(np.abs(gap).max()), "<=",
                   None if largest is None or quantize == "float16" else largest)  # fmt: skip
        # Here the network's own weights are the reference, not the rounded ones.
        allowed = {"none": limits.relative_logit_error, "float16": 5e-3, "int8": 0.05}[quantize]
        relative = float(np.sqrt(np.square(gap).mean())) / spread
        checks.add(f"relative_logit_error ({kernels})", relative, "<=", allowed)
        same = np.mean(np.stack(found).argmax(-1) == np.stack(expected).argmax(-1))
        agreement = {"none": limits.top1_agreement, "float16": 0.98, "int8": 0.9}[quantize]
        checks.add(f"top1_agreement ({kernels})", float(same), ">=", agreement)
        change = abs(np.exp((nll[kernels] - nll["keras"]) / counts.sum()) - 1)
        checks.add(f"{name}_change ({kernels})", float(change), "<=", limits.perplexity_change)
        checks.add(f"second_run_difference ({kernels})", float(np.abs(again - found[0]).max()), "==", 0.0)
    tokens = int(counts.sum())
    with open(path, "rb") as file:
        content = file.read()
    return {
        "passed": checks.passed, "quantize": quantize, "checks": checks.rows,
        name: {"keras": Score(nll["keras"], tokens).perplexity, "file": Score(nll["xnnpack"], tokens).perplexity},
        "sizes": {"file_bytes": len(content)}, "vocabulary_size": expected[0].shape[-1],
        "operations": operations(content),
    }  # fmt: skip


def _nll(logits: Sequence[np.ndarray], targets: np.ndarray, counts: np.ndarray) -> float:
    rows = zip(logits, targets, counts, strict=True)
    return sum(float(token_nll(row[:count], target[:count]).sum()) for row, target, count in rows)
