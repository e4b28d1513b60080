"""Exports a Keras model of somebody's own: one that generates if it has a cache, or one that scores
windows."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from tfscale.config import ExportConfig
from tfscale.config.options import checks_arguments
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.incoming import (
    check_held_out,
    check_layers,
    check_length,
    check_model,
    in_float32,
    own_tokenizer,
)
from tfscale.exporting.network import CachedSource
from tfscale.exporting.report import Report
from tfscale.exporting.scoring import WindowSource
from tfscale.exporting.writer import export_source
from tfscale.models.decoding import CachedModel, cached_model, is_causal_lm
from tfscale.models.network import capabilities
from tfscale.text.tokenizers import Tokenizer


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
) -> Report:
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
        `operations`, and whether it `decodes`.

    Raises:
        DataError: `held_out` is empty or has ids that do not exist, or the output folder is
            something else.
        ConfigError: an argument out of range (int4 is for models of tfscale), no end token, or a
            model without a cache where one is asked for.
        ExportError: TFLite has no built-in operation for a part of the model, or the file computes
            something else; nothing was written.

    Example:
        tfscale.export_keras(
            my_network, output="export", sequence_length=128, held_out=ids, tokenizer=tokenizer
        )
        tfscale.device.load("export").score("some text").perplexity
    """
    check_length(sequence_length)
    stream, tokenizer = check_held_out(held_out), own_tokenizer(tokenizer)
    check_layers(network)
    if start_id is not None and tokenizer is not None:
        tokenizer = tokenizer.with_special(
            dataclasses.replace(tokenizer.special, start_id=start_id, in_prompts=True)
        )
    config = ExportConfig(output=output, quantize=quantize)
    with in_float32(network):
        decoder = _decoder(network, sequence_length, tokenizer, cached)
        if decoder is None or tokenizer is None:
            windows = WindowSource(
                _of_ids(network),
                tokenizer,
                sequence_length,
                held_out=stream,
                end_id=end_id,
                start_id=start_id,
            )
            return export_source(windows, config)
        if end_id not in (None, tokenizer.end_id):
            raise ConfigError(
                f"end_id={end_id}, and the tokenizer's is {tokenizer.end_id}, with which a file"
                " that generates ends; the token that it begins with is start_id"
            )
        check_held_out(stream, decoder.config.vocabulary_size)
        try:
            return export_source(CachedSource(decoder, tokenizer, stream), config)
        except ExportError as error:
            raise ExportError(
                f"{error}; with cached=False it becomes a file that scores"
            ) from error


def _of_ids(network: keras.Model) -> keras.Model:
    """Returns a model of ids -> logits; the network itself if it is one."""
    if not is_causal_lm(network):
        return network
    ids = keras.Input((None,), dtype="int32")
    mask = keras.ops.ones_like(ids)
    return keras.Model(ids, network({"token_ids": ids, "padding_mask": mask}))


def _decoder(
    network: keras.Model, context: int, tokenizer: Tokenizer | None, cached: bool | None
) -> CachedModel | None:
    """Returns the network as one that decodes token by token; None for a file that scores."""
    is_hub = is_causal_lm(network)
    # A network of tfscale has an export of its own that generates.
    own_export = tokenizer is None or capabilities(network).decodes != "none"
    if cached is False or (cached is None and not is_hub and own_export):
        return None
    if tokenizer is None:
        raise ConfigError(
            "a file that generates needs a tokenizer: tfscale.runs.hub.tokenizer_of makes one of"
            " keras-hub's; cached=False gives a file that scores"
        )
    inputs = [] if is_hub else getattr(network, "inputs", None) or []
    of_one_length = bool(inputs) and inputs[0].shape[1] is not None
    decoder = None if of_one_length else cached_model(network, context, tokenizer.vocabulary_size)
    if decoder is not None and not is_hub:
        check_model(network, context, tokenizer.end_id)
    if decoder is None and cached:
        why = (
            "takes inputs of one length; build it for inputs of any length, keras.Input((None,))"
            if of_one_length
            else "has no layer with a key-value cache"
        )
        raise ConfigError(f"model {network.name!r} {why}")
    return decoder
