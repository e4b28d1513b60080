"""A classifier or another Keras model of somebody's own as something to export.

It becomes a .tflite file with the one signature `predict`, which reads and gives named tensors of
fixed shapes.

Shapes: B rows of a call of the file, N rows of the samples.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfscale.config import ExportConfig, Quantization
from tfscale.device.predictor import SIGNATURE
from tfscale.device.signature import InputTensor, PredictSignature
from tfscale.device.text_input import RowLayout, layouts_of
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.converter import silence
from tfscale.exporting.flatbuffer import unclip_lstm
from tfscale.exporting.incoming import one_line
from tfscale.exporting.network import versions
from tfscale.exporting.prediction_outputs import (
    Labels,
    Output,
    check_outputs,
    output_names,
    outputs_of,
)
from tfscale.exporting.prediction_parity import compare_predictions
from tfscale.exporting.readmes import predictor_readme
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.samples import Samples
from tfscale.exporting.scoring import fused_lstm
from tfscale.exporting.source import CONVERTED, Export, Source, SourceKind, TFLiteSource
from tfscale.exporting.tflite import convert_other
from tfscale.files.description import Description
from tfscale.text.tokenizers import Tokenizer

_ROWS_AT_A_TIME = 64
"""Rows of a call of the Keras model, where it takes any number."""


class PredictionSource(TFLiteSource):
    """A Keras model with real inputs, in float32.

    Args:
        network: a built Keras model.
        samples: inputs, and what is right for them if it is known.
        batch_size: B; 0 takes what the model is built for, or else 1.
        labels: names of the classes of an output, or of several by name.
        tokenizer: what made ids of `texts`; None if the file takes no text.
        texts: the texts of the samples.
    """

    kind: ClassVar[SourceKind] = "predictor"
    noun = "a model that predicts"
    advice = "a model that predicts is exported as a .tflite file"
    recipes = CONVERTED
    tflite_format = "predictor"
    has_report = True
    title = "Keras model"

    def __init__(
        self,
        network: keras.Model,
        samples: Samples,
        *,
        batch_size: int = 0,
        labels: Labels = (),
        tokenizer: Tokenizer | None = None,
        texts: Sequence[str] = (),
    ):
        self.network, self.samples, self.tokenizer = network, samples, tokenizer
        self.batch = _batch_of(network, batch_size)
        layouts = _text_layouts(samples, tokenizer, texts)
        self._labels = labels
        self.outputs = self.computed()
        self.signature = PredictSignature(
            inputs=samples.tensors(self.batch),
            outputs=[output.tensor for output in self.outputs],
            text=layouts,
        )

    def computed(self) -> list[Output]:
        """Returns the outputs of the network, with the weights that it has now, on all samples."""
        values = _values(self.network, self.samples, self.batch)
        return outputs_of(
            self.network, values, self.batch, labels=self._labels, targets=self.samples.targets
        )

    def describe(self, config: ExportConfig) -> Description:
        described = dataclasses.asdict(self.signature)
        more = {name: part for name, part in described.items() if part}
        return Description(family="keras", more=more)

    def convert(self, config: ExportConfig) -> bytes:
        return prediction_file(self.network, self.samples, self.signature.inputs, config.quantize)

    def compare_tflite(self, export: Export[Source], checks: Checks) -> Report:
        return compare_predictions(checks, self, export)

    def complete(self, report: Report, config: ExportConfig) -> None:
        report["versions"] = versions()

    def tflite_readme(
        self, description: Description, report: Report, sections: tuple[str, ...] = ()
    ) -> str:
        return predictor_readme(self.signature, description, report)


def prediction_file(
    network: keras.Model,
    samples: Samples,
    inputs: Sequence[InputTensor],
    quantize: Quantization,
) -> bytes:
    """Returns a .tflite file with the signature `predict`: inputs by name -> outputs by name.

    Args:
        network: the network.
        samples: says how the network is called.
        inputs: names, shapes and types of the file's inputs.
        quantize: "none", "float16" or "int8".

    Raises:
        ExportError: the model cannot be traced, or TFLite has no built-in operation for a part of
            it.
    """

    def predict(**arrays: tf.Tensor) -> dict[str, tf.Tensor]:
        return named_outputs(network, samples.call(network, arrays))

    specs = {
        tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)
        for tensor in inputs
    }
    module = tf.Module()
    with fused_lstm(network, module):
        try:
            with silence():
                traced = tf.function(predict).get_concrete_function(**specs)
        except (TypeError, ValueError, NotImplementedError, tf.errors.OpError) as error:
            raise ExportError(
                f"model {network.name!r} cannot be made a graph: {one_line(error)}"
            ) from error
    for name, tensor in traced.structured_outputs.items():
        if not tensor.shape.is_fully_defined():
            raise ExportError(
                f"output {name!r} has the shape {tensor.shape}, which depends on the numbers that"
                " come in; files have fixed shapes"
            )
    return unclip_lstm(convert_other(network, {SIGNATURE: traced}, quantize, module))


def named_outputs(network: keras.Model, outputs: object) -> dict[str, tf.Tensor]:
    """Returns outputs by the names that they have in the file, in the types that it gives."""
    names, leaves = output_names(network, outputs), keras.tree.flatten(outputs)
    return {name: _plain_type(leaf) for name, leaf in zip(names, leaves, strict=True)}


def _plain_type(tensor: tf.Tensor) -> tf.Tensor:
    if tensor.dtype.is_floating:
        return tf.cast(tensor, tf.float32)
    return tensor if tensor.dtype == tf.bool else tf.cast(tensor, tf.int32)


def _values(network: keras.Model, samples: Samples, batch: int) -> dict[str, np.ndarray]:
    """Returns the outputs (N, ...) of a network by name."""
    rows = batch if _declared_batch(network) else max(batch, _ROWS_AT_A_TIME)
    arrays = next(samples.batches(rows))
    try:
        outputs = samples.call(network, {name: tf.constant(a) for name, a in arrays.items()})
    except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
        # A model that is wrong in itself raises what its own code does.
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ConfigError(
            f"model {network.name!r} cannot be called with the samples ({shapes}):"
            f" {one_line(error)}"
        ) from error
    check_outputs(network, outputs, rows)

    @tf.function
    def call(arrays: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return named_outputs(network, samples.call(network, arrays))

    parts = [call(arrays) for arrays in samples.batches(rows)]
    values = {
        name: np.concatenate([part[name].numpy() for part in parts])[: samples.count]
        for name in parts[0]
    }
    for name, array in values.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(axis=1)))
            raise ConfigError(
                f"output {name!r} of model {network.name!r} is not finite for row {row} of the"
                " samples"
            )
    return values


def _declared_batch(network: keras.Model) -> int | None:
    """Returns the rows that a model is built for; None if any."""
    inputs = getattr(network, "inputs", None) or []
    return inputs[0].shape[0] if inputs and len(inputs[0].shape) else None


def _batch_of(network: keras.Model, asked: int) -> int:
    declared = _declared_batch(network)
    if declared and asked not in (0, declared):
        raise ConfigError(
            f"batch_size={asked}, and model {network.name!r} is built for batches of {declared}"
        )
    return asked or declared or 1


def _text_layouts(
    samples: Samples, tokenizer: Tokenizer | None, texts: Sequence[str]
) -> list[RowLayout]:
    """Returns how a text becomes a row of ids; none for a file that takes arrays."""
    if tokenizer is None and not texts:
        return []
    if tokenizer is None or len(texts) != samples.count:
        raise ConfigError(
            "a file that takes text needs tokenizer= and texts=, the text of each sample, by which"
            f" it is found how a text becomes a row of ids; received {len(texts)} texts for"
            f" {samples.count} samples and {'no' if tokenizer is None else 'a'} tokenizer"
        )
    tensors = samples.tensors(1)
    if len(tensors) > 1 or len(tensors[0].shape) != 2 or tensors[0].dtype != "int32":
        shapes = ", ".join(f"{tensor.name} {tensor.dtype} {tensor.shape}" for tensor in tensors)
        raise ConfigError(
            f"a file takes text where the model has one input of ids (B, T); this one has {shapes}."
            " Without tokenizer= and texts= it takes arrays"
        )
    return layouts_of(tokenizer, texts, samples.arrays[tensors[0].name])
