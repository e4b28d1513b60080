"""Exports a Keras model of somebody's own: a language model that generates if it has a cache, one
that scores windows, or a classifier or another model, which predicts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
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
    check_trained,
    in_float32,
    network_of,
    own_tokenizer,
)
from tfscale.exporting.network import CachedSource
from tfscale.exporting.prediction import PredictionSource
from tfscale.exporting.prediction_outputs import Labels
from tfscale.exporting.report import Report
from tfscale.exporting.samples import Given, read_samples
from tfscale.exporting.scoring import WindowSource
from tfscale.exporting.writer import export_source
from tfscale.models.decoding import CachedModel, cached_model, is_causal_lm
from tfscale.models.network import capabilities
from tfscale.text.tokenizers import Tokenizer


@checks_arguments
def export_keras(  # noqa: PLR0913 - two kinds of models, each with what it is compared on
    network: keras.Model,
    *,
    output: str,
    sequence_length: int = 0,
    held_out: Sequence[int] | np.ndarray | None = None,
    samples: Given | None = None,
    targets: Given | None = None,
    labels: Labels = (),
    texts: Sequence[str] = (),
    batch_size: int = 0,
    tokenizer: Tokenizer | None = None,
    end_id: int | None = None,
    start_id: int | None = None,
    quantize: Literal["none", "float16", "int8"] = "none",
    cached: bool | None = None,
) -> Report:
    """Writes a Keras model of your own as a .tflite file, and proves that it is right.

    A **language model**, ids -> logits of the next token, is given with `held_out` and
    `sequence_length`. If its attention keeps a key-value cache, it gets the file of a language
    model of tfscale, with the signatures `decode` and `prefill_S`: a `CausalLM` of keras-hub, or a
    model of inputs of any length whose layers look at other tokens by
    `keras_hub.layers.TransformerDecoder` or `tfscale.models.attention.CausalSelfAttention` alone.
    Any other gets the one signature `score`, which reads whole windows.

    **Any other model**, such as a classifier of texts or images, is given with `samples`, and gets
    the one signature `predict`: its inputs by name -> its outputs by name.

    Args:
        network: any built Keras 3 model; of a `tfscale.LanguageModel` its network is taken, with
            the averaged weights if there are any.
        output: export folder to write.
        sequence_length: T of a language model, tokens of a window, or of the context.
        held_out: ids to compare a language model on, of text that it was not trained on.
        samples: real inputs of any other model, a few hundred rows, to compare it on: an array (N,
            ...), for several inputs a list, tuple or dict of arrays, or a batched dataset, of which
            up to 1,000 rows are read; (inputs, targets) in it as for `fit`.
        targets: what is right for `samples`: the accuracy of model and file is then reported.
        labels: names of the classes, in order; of a single value the names of 0 and 1. With several
            outputs by the output's name.
        texts: the texts of `samples`, where these are rows of ids: with `tokenizer` the file takes
            text. How a text becomes a row is found by comparison.
        batch_size: rows of a call of the file, with `samples`; 0 is 1, or what the model is built
            for.
        tokenizer: saved beside the file, which then also takes text; None if you bring your own.
        end_id: the token after each document of `held_out`; the tokenizer's if it is left out.
        start_id: the token that the model reads before a text; the tokenizer's, or `end_id`, if it
            is left out.
        quantize: "none", "float16" or "int8" (a scale for each row of a table and each output of a
            matrix).
        cached: whether the file generates, with a cache; None where it can and there is a
            tokenizer.

    Returns:
        The parity report: `passed`, `checks`, `sizes` and `operations`; of a language model
        `perplexity` of `keras` and `file`, and whether it `decodes`; of any other `quality`, for
        each output with targets.

    Raises:
        DataError: `held_out` is empty or has ids that do not exist, `samples` are not the model's
            inputs, or the output folder is something else.
        ConfigError: an argument out of range (int4 is for models of tfscale) or for the other kind
            of model, no end token, a model that was never called, or one without a cache where one
            is asked for.
        ExportError: TFLite has no built-in operation for a part of the model, or the file computes
            something else; nothing was written.

    Example:
        tfscale.export_keras(
            my_network, output="export", sequence_length=128, held_out=ids, tokenizer=tokenizer
        )
        tfscale.device.load("export").score("some text").perplexity

        tfscale.export_keras(
            classifier, output="export", samples=x_test[:256], labels=["no", "yes"], quantize="int8"
        )
        tfscale.device.load("export").classify(x_test[:1])
    """
    _check_kind(
        samples is not None,
        {
            "sequence_length": bool(sequence_length),
            "held_out": held_out is not None,
            "cached": cached is not None,
            "end_id": end_id is not None,
            "start_id": start_id is not None,
        },
        {
            "targets": targets is not None,
            "labels": bool(labels),
            "texts": bool(texts),
            "batch_size": bool(batch_size),
        },
    )
    config = ExportConfig(output=output, quantize=quantize)
    with network_of(network) as plain:
        if samples is None:
            text = _Text(sequence_length, held_out, tokenizer, end_id, start_id, cached)
            return _export_language_model(plain, text, config)
        tokenizer = own_tokenizer(tokenizer)
        check_layers(plain)
        check_trained(plain)
        with in_float32(plain):
            source = PredictionSource(
                plain,
                read_samples(plain, samples, targets),
                batch_size=batch_size,
                labels=labels,
                tokenizer=tokenizer,
                texts=texts,
            )
            return export_source(source, config)


@dataclass(frozen=True)
class _Text:
    """The arguments of `export_keras` for a language model."""

    sequence_length: int
    held_out: Sequence[int] | np.ndarray | None
    tokenizer: Tokenizer | None
    end_id: int | None
    start_id: int | None
    cached: bool | None


def _check_kind(
    predicts: bool, for_language_models: dict[str, bool], for_others: dict[str, bool]
) -> None:
    """Refuses arguments that are for the other kind of model.

    Args:
        predicts: whether there are samples.
        for_language_models: names of arguments, and whether they were given.
        for_others: likewise.
    """
    if predicts:
        wrong = [name for name, given in for_language_models.items() if given]
        if wrong:
            raise ConfigError(
                f"{', '.join(wrong)}: for a language model, which is given with held_out and"
                " without samples; samples is for any other, and says its shapes"
            )
        return
    wrong = [name for name, given in for_others.items() if given]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: for a model that is given with samples=")
    if not for_language_models["held_out"]:
        raise ConfigError(
            "give what the file is compared on: held_out=, ids of text, and sequence_length= for a"
            " language model; samples=, real inputs, for any other"
        )


def _export_language_model(network: keras.Model, text: _Text, config: ExportConfig) -> Report:
    check_length(text.sequence_length)
    stream, tokenizer = check_held_out(text.held_out), own_tokenizer(text.tokenizer)
    check_layers(network)
    if text.start_id is not None and tokenizer is not None:
        tokenizer = tokenizer.with_special(
            dataclasses.replace(tokenizer.special, start_id=text.start_id, in_prompts=True)
        )
    with in_float32(network):
        decoder = _decoder(network, text.sequence_length, tokenizer, text.cached)
        if decoder is None or tokenizer is None:
            windows = WindowSource(
                _of_ids(network),
                tokenizer,
                text.sequence_length,
                held_out=stream,
                end_id=text.end_id,
                start_id=text.start_id,
            )
            return export_source(windows, config)
        if text.end_id not in (None, tokenizer.end_id):
            raise ConfigError(
                f"end_id={text.end_id}, and the tokenizer's is {tokenizer.end_id}, with which a"
                " file that generates ends; the token that it begins with is start_id"
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
