"""A network that reads whole windows as something to export, and the file that scores them.

A recurrent layer of Keras 3 becomes a loop of operations. For the conversion each LSTM layer
computes by its twin in `tf_keras`, which the converter turns into the one fused operation that
phones have a kernel for. The fused operation keeps its state in variables of the file between
calls: `tfscale.device` resets them before each.

Shapes: T tokens of a window, V vocabulary, U units.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from tfscale.compat.keras import Call, layers_called_by, layers_of
from tfscale.config import ExportConfig, Quantization
from tfscale.errors import ConfigError
from tfscale.exporting.converter import silence
from tfscale.exporting.flatbuffer import unclip_lstm
from tfscale.exporting.incoming import check_held_out, check_model
from tfscale.exporting.readmes import windows_readme
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.scoring_parity import compare_windows
from tfscale.exporting.source import CONVERTED, Export, HeldOut, Source, SourceKind, TFLiteSource
from tfscale.exporting.tflite import convert_other
from tfscale.files.description import Description
from tfscale.models.capability import capabilities
from tfscale.models.weight_formats import fuses
from tfscale.text.tokenizers import Tokenizer


class WindowSource(TFLiteSource):
    """A network that reads whole windows, ids (1, T) -> logits (1, T, V), in float32.

    Args:
        network: any Keras model; one that reads both sides of a token says so by `cloze`.
        tokenizer: saved beside the file, which then also scores text; None if the user has one.
        length: T.
        held_out: ids to compare on, or a function that gives as many as it is asked for.
        end_id: the token that ends a document; the tokenizer's where it is None.
        start_id: the token before a text; the tokenizer's, or `end_id`, where it is None.
        noun: what it is, for messages.
        advice: what to do where a format does not take it.
        why_it_scores: why the file does not generate; "" where it never could.
        softmax_left_out: whether the network by itself gives probabilities.
    """

    kind: ClassVar[SourceKind] = "windows"
    recipes = CONVERTED
    tflite_format = "scoring"

    def __init__(
        self,
        network: keras.Model,
        tokenizer: Tokenizer | None,
        length: int,
        *,
        held_out: Sequence[int] | Callable[[int], list[int]],
        end_id: int | None = None,
        start_id: int | None = None,
        noun: str = "a model that scores",
        advice: str = "give --format tflite for a model that scores",
        why_it_scores: str = "",
        softmax_left_out: bool = False,
    ):
        self.network, self.tokenizer, self.length = network, tokenizer, length
        self.end_id = _end_id(tokenizer, end_id)
        own = tokenizer is not None and tokenizer.end_id == self.end_id
        begins = tokenizer.start_id if own and tokenizer is not None else self.end_id
        self.start_id = begins if start_id is None else start_id
        self.noun, self.advice = noun, advice
        self.why_it_scores, self.softmax_left_out = why_it_scores, softmax_left_out
        self._given = held_out
        self._held_out: list[int] | None = None

    def check(self, config: ExportConfig) -> None:
        vocabulary = check_model(self.network, self.length, self.end_id)
        check_held_out(
            self.held_out(config.parity_tokens).tokens, min(vocabulary.inputs, vocabulary.targets)
        )

    def held_out(self, count: int) -> HeldOut:
        if self._held_out is None:
            given = self._given
            self._held_out = check_held_out(given(count) if callable(given) else given)
        return HeldOut(self._held_out, "the tokens that were given")

    def describe(self, config: ExportConfig) -> Description:
        return Description(
            family="keras",
            model={"sequence_length": self.length},
            end_id=self.end_id,
            start_id=self.start_id,
            cloze=capabilities(self.network).is_cloze,
        )

    def convert(self, config: ExportConfig) -> bytes:
        return scoring_file(self.network, self.length, config.quantize)

    def compare_tflite(self, export: Export[Source], checks: Checks) -> Report:
        held_out = self.held_out(export.config.parity_tokens).tokens
        return compare_windows(
            checks, self, export.path("model.tflite"), held_out, export.config.quantize
        )

    def complete(self, report: Report, config: ExportConfig) -> None:
        report["decodes"] = False
        if self.why_it_scores:
            report["why_it_scores"] = self.why_it_scores
        if self.softmax_left_out:
            report["softmax_left_out"] = True

    def tflite_readme(
        self, description: Description, report: Report, sections: tuple[str, ...] = ()
    ) -> str:
        return windows_readme(description, report)


def _end_id(tokenizer: Tokenizer | None, given: int | None) -> int:
    if given is not None:
        return given
    if tokenizer is None:
        raise ConfigError(
            "give a tokenizer, or the end_id that comes before the first token of a text"
        )
    return tokenizer.end_id


def scoring_file(network: keras.Model, length: int, quantize: Quantization) -> bytes:
    """Returns a .tflite file with the signature `score`: tokens (1, T) -> logits (1, T, V) float32.

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
    """Has each LSTM layer compute by a twin in tf_keras for the block; yields how many do.

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

    def computed_by(twin: Call, original: Call) -> Call:
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
