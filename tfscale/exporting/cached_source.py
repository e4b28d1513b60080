"""Somebody's own Keras model that writes text token by token, as something to export."""

from typing import IO

import tensorflow as tf

from tfscale.config import ExportConfig
from tfscale.errors import ExportError
from tfscale.exporting.network import TextSource, versions
from tfscale.exporting.report import Report
from tfscale.exporting.source import HeldOut
from tfscale.exporting.tflite import convert_other, signatures
from tfscale.models.cached import tracing_for_tflite
from tfscale.models.cached_model import CachedModel
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.special import turns_end_with


class CachedSource(TextSource):
    """Somebody's own Keras model that decodes with a key-value cache or a state.

    Its folder is that of a network of tfscale, with the same signatures, recipes, formats and
    comparison.

    Args:
        model: see `tfscale.models.decoding.cached_model`.
        tokenizer: the model's.
        held_out: checked ids to compare on, of text that the model was not trained on.
        softmax_left_out: whether the model by itself gives probabilities.
    """

    embeds = False
    roundings = ("nearest",)
    network: CachedModel
    converted = True

    def __init__(
        self,
        model: CachedModel,
        tokenizer: Tokenizer,
        held_out: list[int],
        softmax_left_out: bool = False,
    ):
        self.network, self.tokenizer = model, tokenizer
        self.softmax_left_out = softmax_left_out
        self._held_out = HeldOut(held_out, "the tokens that were given")

    def convert(self, config: ExportConfig) -> bytes:
        try:
            with tracing_for_tflite():
                functions = signatures(self.network, config.prefill_lengths)
        except (TypeError, ValueError, tf.errors.OpError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ExportError(
                f"the model cannot be called token by token: {lines[-1][:200]}"
            ) from error
        return convert_other(self.network, functions, config.quantize)

    def write(self, file: IO[bytes], config: ExportConfig) -> None:
        file.write(self.convert(config))

    def complete(self, report: Report, config: ExportConfig) -> None:
        held_out = self.held_out(config.parity_tokens)
        report["versions"] = versions()
        report["held_out"] = {"source": held_out.origin, "tokens": len(held_out.tokens)}
        report["decodes"] = True
        stops = self.tokenizer.stop_ids
        report["stop_tokens"] = [self.tokenizer.piece(id) for id in stops]
        report["turns_end_with"] = turns_end_with(self.tokenizer.special_tokens, stops)
        if self.softmax_left_out:
            report["softmax_left_out"] = True
