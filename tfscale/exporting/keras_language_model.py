"""Exports a Keras language model of somebody's own: to a file that generates where the model can be
computed token by token, and else to one that scores windows."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from tfscale.compat.keras_hub import tokenizer_in
from tfscale.config import ExportConfig
from tfscale.errors import ConfigError, ExportError
from tfscale.exporting.cached_source import CachedSource
from tfscale.exporting.incoming import (
    check_held_out,
    check_layers,
    check_length,
    check_model,
    in_float32,
    own_tokenizer,
)
from tfscale.exporting.report import Report
from tfscale.exporting.scoring import WindowSource
from tfscale.exporting.writer import export_source
from tfscale.models.cached_model import CachedModel, CannotDecode
from tfscale.models.capability import capabilities
from tfscale.models.decoding import cached_model, check_context, is_causal_lm
from tfscale.models.softmax import without_softmax
from tfscale.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class TextOptions:
    """The arguments of `export_keras` for a language model."""

    sequence_length: int
    held_out: Sequence[int] | np.ndarray | None
    tokenizer: Tokenizer | None
    end_id: int | None
    start_id: int | None
    cached: bool | None
    stop_tokens: Sequence[str] = ()


def export_language_model(network: keras.Model, text: TextOptions, config: ExportConfig) -> Report:
    """Writes the file of a language model; see `export_keras`.

    Args:
        network: ids (B, T) int32 -> logits or probabilities (B, T, V); its softmax is left out.
        text: the arguments for a language model.
        config: output folder and recipe.
    """
    check_length(text.sequence_length)
    stream, tokenizer = check_held_out(text.held_out), _tokenizer(network, text)
    check_layers(network)
    if text.start_id is not None and tokenizer is not None:
        tokenizer = tokenizer.with_special(
            dataclasses.replace(tokenizer.special, start_id=text.start_id, in_prompts=True)
        )
    with in_float32(network), _gives_logits(network, text.sequence_length) as softmax_left_out:
        decoder, reason = _decoder(network, text, tokenizer)
        if decoder is None or tokenizer is None:
            if text.stop_tokens:
                raise ConfigError(
                    f"stop_tokens={list(text.stop_tokens)} are for a file that generates, and this"
                    f" one scores: {reason}"
                )
            windows = WindowSource(
                _of_ids(network),
                tokenizer,
                text.sequence_length,
                held_out=stream,
                end_id=text.end_id,
                start_id=text.start_id,
                advice=f"give format='tflite' for this one, which scores: {reason}",
                why_it_scores=reason,
                softmax_left_out=softmax_left_out,
            )
            return export_source(windows, config)
        if text.end_id not in (None, tokenizer.end_id):
            raise ConfigError(
                f"end_id={text.end_id}, and the tokenizer's is {tokenizer.end_id}, with which a"
                " file that generates ends; the token that it begins with is start_id"
            )
        check_held_out(stream, decoder.config.vocabulary_size)
        try:
            source = CachedSource(decoder, tokenizer, stream, softmax_left_out)
            return export_source(source, config)
        except ExportError as error:
            if config.format != "tflite":  # A file that scores has no other form.
                raise
            raise ExportError(
                f"{error}; with cached=False it becomes a file that scores"
            ) from error


def _tokenizer(network: keras.Model, text: TextOptions) -> Tokenizer | None:
    """Returns the tokenizer that was given, or else that of a `CausalLM` whose file generates."""
    given: object = text.tokenizer
    if given is None and is_causal_lm(network) and text.cached is not False:
        given = tokenizer_in(network)
    return own_tokenizer(given, text.stop_tokens)


@contextlib.contextmanager
def _gives_logits(network: keras.Model, length: int) -> Iterator[bool]:
    """Leaves out the softmax that a network of ids ends in, for the block; yields whether there is
    one."""
    if is_causal_lm(network):
        yield False
        return
    with without_softmax(network, length) as left_out:
        yield left_out


def _of_ids(network: keras.Model) -> keras.Model:
    """Returns a model of ids -> logits; the network itself if it is one."""
    if not is_causal_lm(network):
        return network
    ids = keras.Input((None,), dtype="int32")
    mask = keras.ops.ones_like(ids)
    return keras.Model(ids, network({"token_ids": ids, "padding_mask": mask}))


def _decoder(
    network: keras.Model, text: TextOptions, tokenizer: Tokenizer | None
) -> tuple[CachedModel | None, str]:
    """Returns the network as one that decodes token by token, or None, and why it does not."""
    is_hub = is_causal_lm(network)
    if text.cached is False:
        return None, "cached=False was given"
    if tokenizer is None:
        if not (text.cached or is_hub):
            return None, "no tokenizer was given"
        raise ConfigError(
            f"a file that generates needs a tokenizer, and {type(network).__name__} has none: give"
            " tokenizer=, one of keras-hub or of tfscale; cached=False gives a file that scores"
        )
    if text.cached is None and capabilities(network).decodes != "none":
        return None, "tfscale.export of its run folder gives a file that generates"
    try:
        if capabilities(network).is_cloze:
            raise CannotDecode(f"model {network.name!r} guesses tokens from both sides")
        if not is_hub:
            check_context(network, text.sequence_length)
            check_model(network, text.sequence_length, tokenizer.end_id)
        return cached_model(network, text.sequence_length, tokenizer.vocabulary_size), ""
    except CannotDecode as error:
        if text.cached:
            raise ConfigError(
                f"{error}; with cached=False it becomes a file that scores"
            ) from error
        return None, str(error)
