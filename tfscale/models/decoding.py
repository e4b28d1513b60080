"""Keras models that a user built of layers with a key-value cache, as networks that decode token by
token.

A `CausalLM` of keras-hub has `call_with_cache`. In any other model, the layers that look at other
tokens are known by their class: `CausalSelfAttention` here, `TransformerDecoder` and the position
embeddings of keras-hub. While a step is traced, each of them is called with its cache and its
place, and all else as the model calls it, so that the model's own code, functional or subclassed,
says how they are joined. A layer that looks at other tokens and is not known would see the one
token alone: the comparison of a file with the model's whole forward pass shows it.

Shapes: B rows, S tokens of a call, C context, H heads of keys and values, K their width, V
vocabulary.
"""

import abc
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfscale.compat.keras import HasLayers, layers_called_by, layers_of
from tfscale.compat.keras_hub import key_width, new_cache
from tfscale.errors import ConfigError
from tfscale.models.attention import CausalSelfAttention

Pair = tuple[tf.Tensor, tf.Tensor]
"""Keys and values of a layer, (1, C, H, K) each."""


@dataclass(frozen=True)
class DecoderConfig:
    """The config of a model that somebody else built; `sequence_length` is its context in
    tokens."""

    vocabulary_size: int
    sequence_length: int
    family: str = "transformer"


class CachedModel(HasLayers, abc.ABC):
    """A Keras model with the interface of `TransformerLM` that export needs; see `cached_model`.

    Args:
        model: ids -> logits (B, T, V), in float32.
        config: vocabulary and context; logits of ids above the vocabulary are left out.
    """

    precision = "float32"
    cache_shapes: list[tuple[int, ...]]
    """(1, C, H, K) of each layer's keys, and of its values."""

    def __init__(self, model: keras.Model, config: DecoderConfig):
        self.model, self.config = model, config
        # The whole forward pass, which also builds the layers of a subclassed model.
        logits = self._forward(tf.zeros((1, config.sequence_length), tf.int32), False).shape[-1]
        if logits < config.vocabulary_size:
            raise ConfigError(
                f"the tokenizer has {config.vocabulary_size} tokens and the model logits for"
                f" {logits}"
            )
        self.weights, self.trainable_weights = model.weights, model.trainable_weights

    def __call__(self, ids: tf.Tensor | np.ndarray, training: bool = False) -> tf.Tensor:
        """Ids (B, T) int32 -> logits (B, T, V) float32, by the model's own forward pass."""
        return self._cut(self._forward(tf.convert_to_tensor(ids), training))

    def cache_spec(self) -> dict[str, tuple[int, ...]]:
        """Returns names and shapes (1, C, H, K) of the key and value caches; all float32, zeros at
        the start."""
        return {
            f"kv_cache_{kind}_{i}": shape
            for i, shape in enumerate(self.cache_shapes)
            for kind in "kv"
        }

    def cached_step(
        self,
        tokens: tf.Tensor,
        cache: dict[str, tf.Tensor],
        *,
        input_pos: tf.Tensor,
        mask: tf.Tensor,
        with_logits: bool = True,
    ) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
        """As `TransformerLM.cached_step`; of the mask, keras-hub's layers make their own from the
        position."""
        pairs = [
            (cache[f"kv_cache_k_{i}"], cache[f"kv_cache_v_{i}"])
            for i in range(len(self.cache_shapes))
        ]
        logits, pairs = self._step(tokens, pairs, input_pos, mask)
        new = dict(zip(self.cache_spec(), (part for pair in pairs for part in pair), strict=True))
        return (self._cut(logits) if with_logits else None), new

    def _cut(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.cast(logits, tf.float32)[..., : self.config.vocabulary_size]

    @abc.abstractmethod
    def _forward(self, ids: tf.Tensor, training: bool) -> tf.Tensor:
        """Ids (B, T) -> logits, those above the vocabulary too."""

    @abc.abstractmethod
    def _step(
        self, tokens: tf.Tensor, pairs: list[Pair], input_pos: tf.Tensor, mask: tf.Tensor
    ) -> tuple[tf.Tensor, list[Pair]]:
        """Tokens (1, S) and each layer's keys and values -> logits (1, S, ...), and keys and values
        after them."""


class _HubCausalLM(CachedModel):
    """By `call_with_cache`. Its cache is one tensor (1, layers, 2, C, H, K), or a pair (1, C, H, K)
    for each layer."""

    def __init__(self, model: keras.Model, config: DecoderConfig):
        super().__init__(model, config)
        self.cache_shapes, self.in_pairs = _hub_cache(model, config.sequence_length)

    def _forward(self, ids, training):
        return self.model({"token_ids": ids, "padding_mask": tf.ones_like(ids)}, training=training)

    def _step(self, tokens, pairs, input_pos, mask):
        if self.in_pairs:
            logits, _, cache = self.model.call_with_cache(tokens, tuple(pairs), input_pos[0])
            return logits, list(cache)
        cache = tf.stack([tf.stack(pair, axis=1) for pair in pairs], axis=1)
        logits, _, cache = self.model.call_with_cache(tokens, cache, input_pos[0])
        return logits, [(cache[:, i, 0], cache[:, i, 1]) for i in range(len(pairs))]


class _OfLayers(CachedModel):
    """By the layers that are known, each with its cache."""

    def __init__(self, model: keras.Model, config: DecoderConfig):
        super().__init__(model, config)
        self.cache_shapes = [
            _layer_shape(layer, config.sequence_length) for layer in _attention_layers(model)
        ]

    def _forward(self, ids, training):
        return self.model(ids, training=training)

    def _step(self, tokens, pairs, input_pos, mask):
        with _layers_with_caches(self.model, pairs, input_pos, mask) as new:
            logits = self.model(tokens, training=False)
        return logits, new


def is_causal_lm(model: keras.Model) -> bool:
    """Returns whether a model is a `CausalLM` of keras-hub, which takes a dictionary and has a
    cache."""
    return hasattr(model, "call_with_cache")


def cached_model(
    model: keras.Model, sequence_length: int, vocabulary_size: int
) -> CachedModel | None:
    """Returns a model as one that decodes token by token; None where it has no layers with a cache.

    Args:
        model: a `CausalLM` of keras-hub, or a Keras model of ids (B, T) int32 -> logits (B, T, V)
            whose attention is `tfscale.models.attention.CausalSelfAttention` or
            `keras_hub.layers.TransformerDecoder`.
        sequence_length: C, the context to decode in.
        vocabulary_size: V of the tokenizer, at most that of the model.

    Raises:
        ConfigError: the model computes in another type than float32, has positions for fewer tokens
            or fewer ids, or keeps another cache than one of keys and values.
    """
    kind = _HubCausalLM if is_causal_lm(model) else _OfLayers
    if kind is _OfLayers and not _attention_layers(model):
        return None
    for layer in layers_of(model):
        if getattr(layer, "compute_dtype", "float32") not in ("float32", None):
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
    return kind(model, DecoderConfig(vocabulary_size, sequence_length))


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


def _attention_layers(model: keras.Model) -> list[keras.layers.Layer]:
    import keras_hub

    decoders = keras_hub.layers.TransformerDecoder
    return [
        layer
        for layer in layers_of(model)
        if isinstance(layer, decoders) or (isinstance(layer, CausalSelfAttention) and layer.causal)
    ]


def _layer_shape(layer: keras.layers.Layer, context: int) -> tuple[int, ...]:
    if isinstance(layer, CausalSelfAttention):
        return 1, context, layer.num_kv_heads, layer.head_dim
    return 1, context, layer.num_heads, key_width(layer)


@contextlib.contextmanager
def _layers_with_caches(
    model: keras.Model, pairs: list[Pair], input_pos: tf.Tensor, mask: tf.Tensor
) -> Iterator[list[Pair]]:
    """Has each known layer compute with its cache for the block; yields the caches after it, in the
    order of layers."""
    import keras_hub

    layers = _attention_layers(model)
    after = list(pairs)
    calls: list[tuple[keras.layers.Layer, Callable]] = []

    def own(place: int, layer: keras.layers.Layer) -> Callable:
        def call(inputs, training=False, visible=None):
            output, *after[place] = layer.cached(inputs, *after[place], input_pos, mask)
            return output

        return call

    def theirs(place: int, original: Callable) -> Callable:
        def call(decoder_sequence, **options):
            # A mask of padding (mask_zero=True) is that of the tokens of this call, and the cache
            # holds more; as in keras-hub's own cached generation none is applied.
            output, cache = original(
                tf.identity(decoder_sequence),
                self_attention_cache=tf.stack(after[place], axis=1),
                self_attention_cache_update_index=input_pos[0],
                **options,
            )
            after[place] = (cache[:, 0], cache[:, 1])
            return output

        return call

    for place, layer in enumerate(layers):
        is_own = isinstance(layer, CausalSelfAttention)
        calls.append((layer, own(place, layer) if is_own else theirs(place, layer.call)))
    hub = keras_hub.layers
    with_start = (
        hub.PositionEmbedding,
        hub.TokenAndPositionEmbedding,
        hub.SinePositionEncoding,
        hub.RotaryEmbedding,
    )
    inner = {
        id(layer.position_embedding)
        for layer in layers_of(model)
        if isinstance(layer, hub.TokenAndPositionEmbedding)
    }
    for layer in layers_of(model):
        if isinstance(layer, with_start) and id(layer) not in inner:
            original = layer.call
            calls.append(
                (layer, lambda x, original=original, **_: original(x, start_index=input_pos[0]))
            )
    with layers_called_by(calls):
        yield after
