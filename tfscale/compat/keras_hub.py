"""Private names of keras-hub that tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of keras-hub takes one away,
tests/compat/test_keras_hub.py says which.

Shapes: D hidden_dim, H heads, K width of a head, C context.
"""

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf


def new_cache(model: keras.Model, context: int) -> tf.Tensor | Sequence[Sequence[tf.Tensor]] | None:
    """Returns the empty key-value cache of a `CausalLM`; None where the class does not make one.

    `generate` makes it inside; the shapes of caches, which differ by class, are said nowhere else.

    Args:
        model: a `keras_hub.models.CausalLM`. One that sees pictures too is called without any.
        context: C, the tokens that the cache has room for.
    """
    build = getattr(model, "_build_cache", None)
    if build is None:
        return None
    ids = tf.zeros((1, context), tf.int32)
    names = list(inspect.signature(build).parameters)[1:]
    inputs = {name: tf.ones_like(ids) if name == "padding_mask" else None for name in names}
    return build(ids, **inputs)[1]


def tied(backbone: keras.Model) -> bool | None:
    """Returns whether Llama's tables are tied, which its config does not hold in keras-hub 0.32;
    None for a backbone that does not say so."""
    return getattr(backbone, "tie_word_embeddings", None)


def load_backbone(preset: str, given: Mapping[str, object]) -> keras.Model:
    """Returns the backbone of a preset, every weight of which is in the files.

    Keras only warns of layers for which a file has no weights, and leaves them at random. It finds
    such in a preset of a Llama with tied tables, because its config does not say that they are; so
    a preset that lacks weights is loaded once more with tied tables.

    Args:
        preset: its name or folder.
        given: options of the backbone that go before those of the preset.
    """
    import keras_hub

    def load(**options: object) -> keras.Model:
        with _whole_weights():
            return keras_hub.models.Backbone.from_preset(preset, **given, **options)

    try:
        return load()
    except UserWarning as lacking:
        try:
            return load(tie_word_embeddings=True)
        except Exception:  # of a class without the option, or not because of the tables
            raise lacking from None


@contextlib.contextmanager
def _whole_weights() -> Iterator[None]:
    """Makes an error of the warning that a file lacks weights of a layer."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"[\s\S]*freshly-initialized weights")
        yield


def load_causal_lm(folder: str) -> keras.Model:
    """Returns the `CausalLM` of a preset as a user loads it, every weight of which is in the files.

    Raises:
        UserWarning: the files lack weights.
    """
    import keras_hub

    with _whole_weights():
        return keras_hub.models.CausalLM.from_preset(folder)


def backbone_in(model: keras.Model) -> keras.Model:
    """Returns the backbone of a `CausalLM`; any other model as it is, which may be a backbone."""
    return getattr(model, "backbone", model)


def key_width(layer: keras.layers.Layer) -> int:
    """Returns K of a `keras_hub.layers.TransformerDecoder`, which its config does not hold."""
    return layer._self_attention_layer.key_dim


@dataclass(frozen=True)
class DecoderLayers:
    """The layers inside a decoder layer of a backbone, which are its private attributes.

    `gate` is None where the feed-forward part has none.
    """

    query: keras.layers.Layer
    key: keras.layers.Layer
    value: keras.layers.Layer
    output: keras.layers.Layer
    attention_norm: keras.layers.Layer
    feed_forward_norm: keras.layers.Layer
    gate: keras.layers.Layer | None
    expand: keras.layers.Layer
    contract: keras.layers.Layer


def _projections(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns what the decoder layers of all backbones call alike."""
    attention = layer._self_attention_layer
    return {
        "query": attention._query_dense,
        "key": attention._key_dense,
        "value": attention._value_dense,
        "output": attention._output_dense,
        "expand": layer._feedforward_intermediate_dense,
        "contract": layer._feedforward_output_dense,
    }


def gpt2_layers(layer: keras.layers.Layer) -> DecoderLayers:
    """Returns what is in a layer of `GPT2Backbone.transformer_layers`."""
    return DecoderLayers(
        **_projections(layer),
        attention_norm=layer._self_attention_layer_norm,
        feed_forward_norm=layer._feedforward_layer_norm,
        gate=None,
    )


def llama_layers(layer: keras.layers.Layer) -> DecoderLayers:
    """Returns what is in a layer of the backbones of Llama, Mistral, Qwen and Qwen 3."""
    return DecoderLayers(
        **_projections(layer),
        attention_norm=layer._self_attention_layernorm,
        feed_forward_norm=layer._feedforward_layernorm,
        gate=layer._feedforward_gate_dense,
    )


def qwen3_norms(layer: keras.layers.Layer) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """Returns the norms of query and key in a layer of `Qwen3Backbone.transformer_layers`."""
    attention = layer._self_attention_layer
    return attention._query_dense_layer_norm, attention._key_dense_layer_norm


@dataclass(frozen=True)
class HubTokenizer:
    """The answers of a tokenizer of keras-hub, whose classes have different attributes.

    Attributes:
        name: of its class.
        model: a serialized SentencePiece model.
        vocabulary: token -> id, of byte-pair encoding.
        merges: pairs of tokens in the order in which they are merged.
        start_id: token that stands before a text.
        end_id: token that ends a text, and `end`, how it is written.
        second_end_id: another one, which Llama 3 has, and at which keras-hub stops too.
    """

    name: str
    model: bytes | None
    vocabulary: Mapping[str, int] | None
    merges: Sequence[str] | None
    start_id: int | None
    end_id: int | None
    end: str | None
    second_end_id: int | None


def hub_tokenizer(tokenizer: object) -> HubTokenizer:
    """Returns what a tokenizer says of itself; None for what its class does not have."""

    def ask(name: str):
        return getattr(tokenizer, name, None)

    merges = ask("merges")
    return HubTokenizer(
        name=type(tokenizer).__name__,
        model=ask("proto") or None,
        vocabulary=None if merges is None else ask("vocabulary"),
        merges=merges,
        start_id=ask("start_token_id"),
        end_id=ask("end_token_id"),
        end=ask("end_token"),
        second_end_id=ask("end_token2_id"),
    )


def tokenizer_in(model: keras.Model) -> object:
    """Returns the tokenizer in the preprocessor of a `CausalLM`; None for models without one."""
    return getattr(getattr(model, "preprocessor", None), "tokenizer", None)


def token_table(model: keras.Model) -> int | None:
    """Returns how many tokens the embedding of a `CausalLM` has; None where it does not say so, and
    for other models."""
    embedding = getattr(getattr(model, "backbone", None), "token_embedding", None)
    return getattr(embedding, "input_dim", None)


def backbone_class(prefix: str) -> type[keras.Model]:
    """Returns the backbone whose name begins so."""
    return _public(f"{prefix}Backbone")


def new_tokenizer(prefix: str, assets: Mapping[str, object]) -> object:
    """Returns a tokenizer of keras-hub: `proto`, or `vocabulary` and `merges`."""
    kind = _public(f"{prefix}Tokenizer")
    options = inspect.signature(kind).parameters
    # Gemma 3's would ask for the tokens of pictures.
    plain = {"has_vision_tokens": False} if "has_vision_tokens" in options else {}
    return kind(**assets, **plain)


def new_preprocessor(prefix: str, tokenizer: object, sequence_length: int) -> keras.layers.Layer:
    """Returns the preprocessor of a `CausalLM` that reads texts by a tokenizer."""
    kind = _public(f"{prefix}CausalLMPreprocessor")
    return kind(tokenizer=tokenizer, sequence_length=sequence_length)


def _public(name: str):
    import keras_hub

    return getattr(keras_hub.models, name)
