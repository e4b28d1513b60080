"""Checks of what a user gives to `export_keras`: model, tokenizer, held-out ids.

Shapes: B rows, T tokens of a window, V vocabulary.
"""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import layers_of, one_line, own_variables
from tfscale.errors import ConfigError, DataError
from tfscale.models.outputs import Vocabulary, check_keras_model, check_logits, probe_ids
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.stopping import with_stops
from tfscale.training.wrapped_model import WrappedModel

MOST_TOKENS = 32_768
"""Longest window: attention of one head over it takes 4 GB."""
_ASKED = "held_out is for a model of ids (B, T) int32 -> logits (B, T, V)"
_OTHERS = "; a model of another kind is exported with samples="


def check_length(sequence_length: int) -> None:
    """Refuses a window before anything of its size is made.

    Raises:
        ConfigError: it is not a whole number from 2 to 32,768.
    """
    if not isinstance(sequence_length, int | np.integer) or not 2 <= sequence_length <= MOST_TOKENS:
        raise ConfigError(
            f"sequence_length={sequence_length!r} is out of range; expected a whole number from 2"
            f" to {MOST_TOKENS:,}"
        )


def check_held_out(held_out: object, vocabulary: int | None = None) -> list[int]:
    """Returns the ids of held-out text as a list.

    Args:
        held_out: one stream of ids.
        vocabulary: ids are below it; None where it is not known yet.

    Raises:
        DataError: no ids, several windows, a text, or ids that the model does not have.
    """
    expected = (
        "held_out must be one or more ids from"
        f" 0{'' if vocabulary is None else f' to {vocabulary - 1}'}"
    )
    if isinstance(held_out, str | bytes):
        raise DataError(f"{expected}, and is a text; give tokenizer.encode(text)")
    try:
        ids = np.asarray(held_out)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{expected}; received a {type(held_out).__name__} of unequal parts"
        ) from error
    if ids.ndim > 1:
        raise DataError(
            f"{expected}, one after the other as in the text; received an array of shape"
            f" {ids.shape}: give held_out.reshape(-1) if its windows follow each other"
        )
    if not ids.size:
        raise DataError(f"{expected}; received 0")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise DataError(f"{expected}; received {ids.dtype} of shape {ids.shape}")
    if ids.min() < 0 or (vocabulary is not None and ids.max() >= vocabulary):
        raise DataError(f"{expected}; received {ids.size} from {ids.min()} to {ids.max()}")
    return ids.tolist()


def own_tokenizer(tokenizer: object, stop_tokens: Sequence[str] = ()) -> Tokenizer | None:
    """Returns a tokenizer of tfscale: the one that was given, or one made of keras-hub's.

    Args:
        tokenizer: one of either; None if there is none.
        stop_tokens: texts of special tokens that end a completion beside those that it names.

    Raises:
        ConfigError: it is something else.
        TokenizerError: a keras-hub tokenizer of another kind than byte-pair encoding or
            SentencePiece, or a stop token that is not one of its special tokens.
    """
    if tokenizer is None:
        return None
    if isinstance(tokenizer, Tokenizer):
        return with_stops(tokenizer, stop_tokens, f"the {tokenizer.kind} tokenizer")
    if type(tokenizer).__module__.startswith("keras_hub."):
        from tfscale.runs.hub import tokenizer_of

        return tokenizer_of(tokenizer, stop_tokens)
    raise ConfigError(
        "tokenizer must be one of tfscale, as tfscale.load_tokenizer(DATA_DIR) gives it, or of"
        f" keras-hub; received a {type(tokenizer).__name__}. Without a tokenizer, and with end_id=,"
        " the file scores ids"
    )


def of_text(name: str) -> str:
    """Returns, for messages, that an input is of text."""
    return (
        f"input {name!r} is of text, which no file of built-in operations reads: turn text into"
        " ids outside of the model (TextVectorization, StringLookup, tokenizer), and export the"
        " model of ids; with tokenizer= and texts= the file of a classifier takes text all the same"
    )


def check_layers(network: keras.Model) -> None:
    """Refuses what no file can hold: inputs of text, layers that Keras quantized, or that carry
    state from window to window.

    Raises:
        ConfigError: names the layer and what to do.
    """
    check_keras_model(network)
    for tensor in getattr(network, "inputs", None) or []:
        if tensor.dtype == "string":
            raise ConfigError(of_text(tensor.name))
    for layer in layers_of(network):
        if getattr(layer, "quantization_mode", None) not in (None, "int4"):
            raise ConfigError(
                f"layer {layer.name!r} was quantized by Keras (model.quantize), which TFLite cannot"
                ' express; give the float model, with quantize="int8" for a file in int8'
            )
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ConfigError(
                f"layer {layer.name!r} is stateful, and a file starts each call from nothing; build"
                " it with stateful=False and the same weights"
            )
        if (kind := _other_type(layer)) is not None:
            raise ConfigError(
                f"weights of layer {layer.name!r} are {kind}; files are made of models with float32"
                ' weights: build or load it with dtype="float32" and the same weights'
            )


def check_model(network: keras.Model, sequence_length: int, end_id: int) -> Vocabulary:
    """Checks that a network reads ids and gives logits, and that it knows the end token.

    Raises:
        ConfigError: says what it does instead.
    """
    try:
        vocabulary = check_logits(network, probe_ids(network, sequence_length))
    except ConfigError as error:
        raise ConfigError(f"{_ASKED}: {error}{_OTHERS}") from error
    except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
        # A model that reads a dictionary or strings, or is wrong in itself, raises what its own
        # code does.
        raise ConfigError(
            f"{_ASKED}; model {network.name!r} cannot be called with ids of shape (1,"
            f" {sequence_length}): {one_line(error)}{_OTHERS}"
        ) from error
    if not 0 <= end_id < min(vocabulary.inputs, vocabulary.targets):
        raise ConfigError(
            f"the end token is {end_id}, and model {network.name!r} knows ids from 0 to"
            f" {min(vocabulary.inputs, vocabulary.targets) - 1}; give the tokenizer that it was"
            " trained with, or its end_id"
        )
    return vocabulary


@contextlib.contextmanager
def network_of(model: keras.Model) -> Iterator[keras.Model]:
    """Yields what is exported of a model: of one that `tfscale` trains its network, with the
    weights that `evaluate` uses (the averages, with `ema_decay`); any other as it is."""
    if not isinstance(model, WrappedModel):
        yield model
        return
    with model.averaged_weights():
        yield model.plain_network()


def check_trained(network: keras.Model) -> None:
    """Refuses a model that has no weights yet.

    Raises:
        ConfigError: it was never called.
    """
    if not network.built:
        raise ConfigError(
            f"model {network.name!r} has no weights yet: it was never called. Train it, or load its"
            " weights, before it is exported"
        )


@contextlib.contextmanager
def in_float32(network: keras.Model) -> Iterator[None]:
    """Has layers in mixed precision compute in float32 for the block, as files do."""
    changed = [
        (layer, layer.dtype_policy)
        for layer in layers_of(network)
        if getattr(layer, "compute_dtype", None) in ("float16", "bfloat16")
    ]
    try:
        for layer, _ in changed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def _other_type(layer: keras.layers.Layer) -> str | None:
    """Returns the type of the layer's first weight that is a float but not float32."""
    for weight in own_variables(layer):
        dtype = keras.backend.standardize_dtype(weight.dtype)
        if "float" in dtype and dtype != "float32":
            return dtype
    return None
