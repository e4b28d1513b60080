"""Exports a Keras model of somebody's own: a language model, or a classifier or another model,
which predicts."""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from tfscale.config import ExportConfig, Quantization
from tfscale.config.options import checks_arguments
from tfscale.errors import ConfigError
from tfscale.exporting.incoming import (
    check_layers,
    check_trained,
    in_float32,
    network_of,
    own_tokenizer,
)
from tfscale.exporting.keras_language_model import TextOptions, export_language_model
from tfscale.exporting.prediction import PredictionSource
from tfscale.exporting.prediction_outputs import Labels
from tfscale.exporting.report import Report
from tfscale.exporting.samples import Given, read_samples
from tfscale.exporting.writer import export_source
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
    stop_tokens: Sequence[str] = (),
    format: Literal["tflite", "litertlm"] = "tflite",
    quantize: Quantization = "none",
    cached: bool | None = None,
) -> Report:
    """Writes a Keras model of your own as a .tflite file, and proves that it is right.

    A **language model**, ids -> logits of the next token, is given with `held_out` and
    `sequence_length`. With a tokenizer it gets the file of a language model of tfscale, which
    generates, if it can be computed token by token: it is a `CausalLM` of keras-hub, or its layers
    that look at other tokens are recurrent ones, attention with a causal mask, or others of the
    table in docs/keras.md. They keep their states, or a key-value cache. Any other gets the one
    signature `score`, which reads whole windows. A softmax at the end is left out.

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
        tokenizer: saved beside the file, which then also takes text; None if you bring your own. A
            `CausalLM` brings that of its preprocessor.
        end_id: the token after each document of `held_out`; the tokenizer's if it is left out.
        start_id: the token that the model reads before a text; the tokenizer's, or `end_id`, if it
            is left out.
        stop_tokens: texts of special tokens that end a completion beside those that the tokenizer
            names, such as `<end_of_turn>`; models that were tuned for chats end their answers with
            one, and the report's `turns_end_with` has the candidates.
        format: "tflite"; or "litertlm", a bundle for LiteRT-LM, of a file that generates with
            key-value caches alone.
        quantize: as for `tfscale.export`: "none", "float16" or "int8" (a scale for each row of a
            table and each output of a matrix); of a file that generates also "int4" and "int4_all".
        cached: whether the file generates, with a cache or a state; None where it can and there is
            a tokenizer.

    Returns:
        The parity report: `passed`, `checks`, `sizes` and `operations`; of a language model
        `perplexity` of `keras` and `file`, whether it `decodes`, and if not `why_it_scores`; of any
        other `quality`, for each output with targets.

    Raises:
        DataError: `held_out` is empty or has ids that do not exist, `samples` are not the model's
            inputs, or the output folder is something else.
        ConfigError: an argument out of range or for the other kind of model, a format or a recipe
            that is for a file that generates, no end token, a model that was never called, or one
            that cannot decode where that is asked for.
        TokenizerError: a stop token that the tokenizer does not have.
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
            "stop_tokens": bool(stop_tokens),
        },
        {
            "targets": targets is not None,
            "labels": bool(labels),
            "texts": bool(texts),
            "batch_size": bool(batch_size),
        },
    )
    config = ExportConfig(output=output, format=format, quantize=quantize)
    with network_of(network) as plain:
        if samples is None:
            text = TextOptions(
                sequence_length, held_out, tokenizer, end_id, start_id, cached, stop_tokens
            )
            return export_language_model(plain, text, config)
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
