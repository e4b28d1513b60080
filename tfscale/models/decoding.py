"""Keras models that a user built, as networks that decode token by token.

A `CausalLM` of keras-hub has `call_with_cache`. Of any other model the layers that look at other
tokens are found and called with what they keep; see `tfscale.models.stepping`.

Shapes: B rows, S tokens of a call, C context, H heads of keys and values, K their width, V
vocabulary.
"""

import keras
import tensorflow as tf

from tfscale.compat.keras import layers_of
from tfscale.compat.keras_hub import new_cache, token_table
from tfscale.errors import ConfigError
from tfscale.models.cached_model import CachedModel, DecoderConfig
from tfscale.models.stepping.comparison import compared_model


class _HubCausalLM(CachedModel):
    """By `call_with_cache`. Its cache is one tensor (1, layers, 2, C, H, K), or a pair (1, C, H, K)
    for each layer."""

    def __init__(self, model: keras.Model, config: DecoderConfig):
        super().__init__(model, config)
        self.cache_shapes, self.in_pairs = _hub_cache(model, config.sequence_length)

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        return {
            f"kv_cache_{kind}_{i}": shape
            for i, shape in enumerate(self.cache_shapes)
            for kind in "kv"
        }

    def cached_step(self, tokens, cache, *, input_pos=None, mask=None, with_logits=True):
        # Of the mask, keras-hub's layers make their own from the position.
        pairs = [
            (cache[f"kv_cache_k_{i}"], cache[f"kv_cache_v_{i}"])
            for i in range(len(self.cache_shapes))
        ]
        if self.in_pairs:
            logits, _, after = self.model.call_with_cache(tokens, tuple(pairs), input_pos[0])
            parts = [part for pair in after for part in pair]
        else:
            joined = tf.stack([tf.stack(pair, axis=1) for pair in pairs], axis=1)
            logits, _, after = self.model.call_with_cache(tokens, joined, input_pos[0])
            parts = [after[:, i, kind] for i in range(len(pairs)) for kind in range(2)]
        new = dict(zip(self.cache_spec(), parts, strict=True))
        return (self._cut(logits) if with_logits else None), new

    def _forward(self, ids, training):
        return self.model({"token_ids": ids, "padding_mask": tf.ones_like(ids)}, training=training)


def is_causal_lm(model: keras.Model) -> bool:
    """Returns whether a model is a `CausalLM` of keras-hub, which takes a dictionary and has a
    cache."""
    return hasattr(model, "call_with_cache")


def cached_model(model: keras.Model, sequence_length: int, vocabulary_size: int) -> CachedModel:
    """Returns a model as one that decodes token by token.

    Args:
        model: a `CausalLM` of keras-hub, or a Keras model of ids (B, T) int32 -> logits (B, T, V)
            whose layers that look at other tokens are among those of `tfscale.models.stepping`.
        sequence_length: C, the context to decode in; no effect on recurrent layers.
        vocabulary_size: V of the tokenizer, at most that of the model.

    Raises:
        CannotDecode: the model has no such layers, or others too; a file of it scores windows.
        ConfigError: it computes in another type than float32, has positions for fewer tokens or
            fewer ids, or keeps another cache than one of keys and values.

    Example:
        cached_model(network, 128, tokenizer.vocabulary_size).cache_spec()
    """
    check_context(model, sequence_length)
    table = token_table(model)
    if table is not None and table < vocabulary_size:
        raise ConfigError(
            f"the tokenizer has {vocabulary_size} tokens and the model logits for {table}; they do"
            " not belong together"
        )
    config = DecoderConfig(vocabulary_size, sequence_length)
    return _HubCausalLM(model, config) if is_causal_lm(model) else compared_model(model, config)


def check_context(model: keras.Model, sequence_length: int) -> None:
    """Checks that the layers of a model compute in float32 and have positions for a context.

    Raises:
        ConfigError: names the layer.
    """
    for layer in layers_of(model):
        # The tokenizer of a preset is a layer that computes in int32.
        if getattr(layer, "compute_dtype", None) in ("float16", "bfloat16", "float64"):
            raise ConfigError(
                f"layer {layer.name!r} computes in {layer.compute_dtype}; files are made of models"
                ' in float32: build or load it with dtype="float32" and the same weights'
            )
        positions = (
            getattr(layer, "sequence_length", None)
            if "PositionEmbedding" in type(layer).__name__
            else None
        )
        if positions is not None and positions < sequence_length:
            raise ConfigError(
                f"sequence_length={sequence_length}, and {layer.name!r} has positions for"
                f" {positions}"
            )


def _hub_cache(model: keras.Model, context: int) -> tuple[list[tuple[int, ...]], bool]:
    """Returns the shape of each layer's keys in a model's own cache, and whether it is made of
    pairs."""
    cache = new_cache(model, context)
    if cache is None:
        raise ConfigError(
            f"{type(model).__name__} has no _build_cache, from which the shape of its cache is"
            " known"
        )
    shapes = [tuple(part.shape) for part in tf.nest.flatten(cache)]
    if (
        len(shapes) == 1
        and len(shapes[0]) == 6
        and (shapes[0][0], *shapes[0][2:4]) == (1, 2, context)
    ):
        return [(1, context, *shapes[0][4:])] * shapes[0][1], False
    pairs = isinstance(cache, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in cache
    )
    if (
        pairs
        and shapes[::2] == shapes[1::2]
        and all(len(shape) == 4 and shape[:2] == (1, context) for shape in shapes)
    ):
        return shapes[::2], True
    raise ConfigError(
        f"the cache of {type(model).__name__} does not hold keys and values of {context} tokens for"
        f" each layer, but {', '.join(map(str, shapes[:4]))}; give cached=False for a file that"
        " scores"
    )
