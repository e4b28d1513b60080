"""Decoders of keras-hub as networks of tfscale: the same logits, and then everything that tfscale
does with a network.

A keras-hub preset that a user has on disk, or a `CausalLM` in memory, becomes a `TransformerLM`
with the same weights, so that it trains, is compressed and exported with a key-value cache like any
other. Whether the copy is one is not believed but measured: both compute the logits of the same
tokens, and a difference is refused.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head, V
vocabulary.
"""

import functools
import inspect
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras.layers import Layer

from tfscale.compat import keras_hub as hub
from tfscale.config import Precision, TransformerConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM

_COMPARED = (2, 24)
"""Rows and tokens on which a network is compared with what it was made of."""
_TOLERANCE = 1e-3
"""Largest difference of a logit, as a part of the logits' spread."""


def from_keras_hub(
    source: keras.Model | str,
    sequence_length: int = 0,
    precision: Precision = "float32",
    vocabulary_size: int = 0,
) -> TransformerLM:
    """Returns a network with the architecture and the weights of a decoder of keras-hub.

    Args:
        source: a `keras_hub.models.CausalLM` or its backbone (GPT-2, Llama 2 and 3, Mistral, Qwen
            2, Gemma); or what `from_preset` of either takes, such as the folder of a preset.
        sequence_length: context of the network in tokens; 0 takes that of learned positions, 1,024
            of others.
        precision: compute type of the network.
        vocabulary_size: the tokenizer's; rows of the tables above it, which some models have for
            alignment, are left out. 0 takes all.

    Returns:
        The network; its logits are those of the source.

    Raises:
        ConfigError: an architecture or an option of it that `TransformerConfig` cannot express, or
            a context longer than the model's positions.

    Example:
        model = keras_hub.models.CausalLM.from_preset("gpt2_base_en")
        network = from_keras_hub(model, sequence_length=256)
    """
    backbone = backbone_of(source)
    name = next(
        (name for kind in type(backbone).__mro__ if (name := kind.__name__) in _READERS), None
    )
    if name is None:
        known = ", ".join(kind.removesuffix("Backbone") for kind in _READERS)
        raise ConfigError(
            f"{type(backbone).__name__} is not an architecture that tfscale knows: {known}. As it"
            " is, its CausalLM is exported by tfscale.export_keras to a file that generates"
        )
    backbone = _in_float32(backbone)
    options, read = _READERS[name](backbone)
    learned = options.pop("positions_of", None)
    length = sequence_length or (learned or 1024)
    if learned and length > learned:
        raise ConfigError(
            f"sequence_length={length}, and the model has positions for {learned} tokens"
        )
    size = vocabulary_size or backbone.vocabulary_size
    if size > backbone.vocabulary_size:
        raise ConfigError(
            f"vocabulary_size={size}, and the model has {backbone.vocabulary_size} entries"
        )
    config = TransformerConfig(vocabulary_size=size, sequence_length=length, **options)
    network = TransformerLM(config)
    read(network)
    _check_same(network, backbone)
    if precision == "float32":
        return network
    lower = TransformerLM(config, precision=precision)
    lower.set_weights(network.get_weights())
    return lower


def _in_float32(backbone: keras.Model) -> keras.Model:
    """Returns the backbone, or one with the same weights that computes in float32: rounding would
    hide a wrong copy."""
    if backbone.compute_dtype == "float32":
        return backbone
    config = {**backbone.get_config(), "dtype": "float32"}
    if hub.tied(backbone) is not None:
        config["tie_word_embeddings"] = hub.tied(backbone)
    copy = type(backbone).from_config(config)
    if [weight.shape for weight in copy.weights] != [weight.shape for weight in backbone.weights]:
        raise ConfigError(
            f"{type(backbone).__name__} computes in {backbone.compute_dtype} and cannot be built"
            " anew in float32 from its configuration; load or build it with dtype='float32'"
        )
    for target, weight in zip(copy.weights, backbone.weights, strict=True):
        target.assign(keras.ops.cast(weight.value, "float32"))
    return copy


def backbone_of(source: keras.Model | str) -> keras.Model:
    """Returns the backbone of a `CausalLM`, of a backbone, or of a preset.

    Raises:
        ConfigError: there is no such preset, or it is not one of a decoder.
    """
    if not isinstance(source, str):
        return hub.backbone_in(source)
    import keras_hub

    try:
        return keras_hub.models.Backbone.from_preset(source)
    except Exception as error:  # keras-hub lets through what its loaders raise, of many kinds
        raise ConfigError(preset_message(source, error)) from error


def preset_message(source: str, error: Exception) -> str:
    """Returns in one line what is wrong with a preset, and how to get one onto this disk."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Its list of what would be right begins below the line.
    reason = reason.rsplit(". ", 1)[0] if reason.endswith(":") else reason.rstrip(".")
    return (
        f"{source} is not a preset of keras-hub on this disk ({reason}); give the folder of one."
        " Where there is a network:"
        ' keras_hub.models.CausalLM.from_preset("gpt2_base_en").save_to_preset("FOLDER")'
    )


Reader = tuple[JsonObject, Callable[[TransformerLM], None]]


def _gpt2(backbone: keras.Model) -> Reader:
    options = {
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_heads,
        "feed_forward_dim": backbone.intermediate_dim,
        "dropout": backbone.dropout,
        "use_bias": True,
        "activation": "gelu_tanh",
        "positions_of": backbone.max_sequence_length,
    }

    def read(network: TransformerLM) -> None:
        positions = np.asarray(backbone.position_embedding.position_embeddings)
        assert network.position_embedding is not None
        network.position_embedding.embeddings.assign(positions[: network.config.sequence_length])
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            theirs = hub.gpt2_layers(layer)
            _attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
            _norm(block.attention_norm, theirs.attention_norm)
            _norm(block.feed_forward_norm, theirs.feed_forward_norm)
            for target, source in zip(
                (block.expand, block.contract), (theirs.expand, theirs.contract), strict=True
            ):
                target.kernel.assign(source.kernel)
                target.bias.assign(source.bias)
        _ends(network, backbone)

    return options, read


def _llama(backbone: keras.Model, bias: bool = False) -> Reader:
    if hub.stretches_positions(backbone):
        raise ConfigError(
            "the model stretches its rotary positions (Llama 3.1 and later), and tfscale's have no"
            " such"
        )
    options = {
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_query_heads,
        "num_kv_heads": backbone.num_key_value_heads,
        "feed_forward_dim": backbone.intermediate_dim,
        "head_dim": hub.head_width(backbone),
        "positions": "rope",
        "normalization": "rms",
        "activation": "swiglu",
        "rope_base": float(backbone.rope_max_wavelength),
        "use_bias": bias,
        "norm_epsilon": backbone.layer_norm_epsilon,
        "dropout": backbone.dropout,
        "tie_embeddings": backbone.token_embedding.tie_weights,
        "attention_window": hub.sliding_window(backbone),
    }

    def read(network: TransformerLM) -> None:
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            theirs = hub.llama_layers(layer)
            _attention(block, (theirs.query, theirs.key, theirs.value), theirs.output)
            _norm(block.attention_norm, theirs.attention_norm)
            _norm(block.feed_forward_norm, theirs.feed_forward_norm)
            _gated(block, theirs.gate, theirs.expand, theirs.contract)
        _ends(network, backbone)

    return options, read


def _gemma(backbone: keras.Model) -> Reader:
    lacking = hub.gemma_2_options(backbone)
    if lacking:
        raise ConfigError(
            f"the model has {', '.join(lacking)} (Gemma 2), which tfscale's Transformer lacks"
        )
    options = {
        "hidden_dim": backbone.hidden_dim,
        "num_layers": backbone.num_layers,
        "num_heads": backbone.num_query_heads,
        "num_kv_heads": backbone.num_key_value_heads,
        "head_dim": backbone.head_dim,
        "feed_forward_dim": backbone.intermediate_dim // 2,
        "positions": "rope",
        "normalization": "rms",
        "activation": "geglu",
        "norm_epsilon": backbone.layer_norm_epsilon,
        "dropout": backbone.dropout,
        "scale_embeddings": True,
    }

    def read(network: TransformerLM) -> None:
        for block, layer in zip(network.blocks, backbone.transformer_layers, strict=True):
            attention = layer.attention
            # Its kernels are (heads, D, K); what it turns about after the rotation, it turns alike
            # in query and key.
            kernels = [
                np.transpose(np.asarray(dense.kernel), (1, 0, 2))
                for dense in (attention.query_dense, attention.key_dense, attention.value_dense)
            ]
            _kernels(block, kernels, attention.output_dense)
            _norm(block.attention_norm, layer.pre_attention_norm, 1.0)
            _norm(block.feed_forward_norm, layer.pre_ffw_norm, 1.0)
            _gated(block, layer.gating_ffw, layer.gating_ffw_2, layer.ffw_linear)
        _ends(network, backbone, 1.0)

    return options, read


_READERS: dict[str, Callable[[keras.Model], Reader]] = {
    "GPT2Backbone": _gpt2,
    "LlamaBackbone": _llama,
    "MistralBackbone": _llama,
    # Queries, keys and values of Qwen have biases; the others stay zero.
    "QwenBackbone": functools.partial(_llama, bias=True),
    "GemmaBackbone": _gemma,
}
"""By class; Llama 3 is a Llama."""


def _attention(block: TransformerBlock, dense: Sequence[Layer], output: Layer) -> None:
    _kernels(block, [np.asarray(layer.kernel) for layer in dense], output)
    attention = block.attention
    if not attention.use_bias:
        return
    attention.query_key_value.bias.assign(
        np.concatenate([np.asarray(layer.bias).reshape(-1) for layer in dense])
    )
    if output.bias is not None:
        attention.output_projection.bias.assign(np.asarray(output.bias).reshape(-1))


def _kernels(block: TransformerBlock, kernels: list[np.ndarray], output: Layer) -> None:
    """Kernels (D, heads, K) side by side, and that of the output (H, K, D) with its heads
    joined."""
    flat = [kernel.reshape(kernel.shape[0], -1) for kernel in kernels]
    block.attention.query_key_value.kernel.assign(np.concatenate(flat, axis=1))
    kernel = np.asarray(output.kernel)
    block.attention.output_projection.kernel.assign(kernel.reshape(-1, kernel.shape[-1]))


def _gated(block: TransformerBlock, gate: Layer, up: Layer, down: Layer) -> None:
    block.expand.kernel.assign(
        np.concatenate([np.asarray(gate.kernel), np.asarray(up.kernel)], axis=1)
    )
    block.contract.kernel.assign(down.kernel)


def _norm(target: Layer, source: Layer, added: float = 0.0) -> None:
    """Scale, and shift where there is one; `added` for layers that hold the scale's distance from
    1."""
    if isinstance(target, keras.layers.LayerNormalization):
        target.gamma.assign(source.gamma)
        target.beta.assign(source.beta)
    else:
        target.scale.assign(np.asarray(source.scale) + added)


def _ends(network: TransformerLM, backbone: keras.Model, added: float = 0.0) -> None:
    """Token embedding, last normalization and, where it is one of its own, the output table."""
    size, embedding = network.config.vocabulary_size, backbone.token_embedding
    network.token_embedding.embeddings.assign(np.asarray(embedding.embeddings)[:size])
    if not network.config.tie_embeddings:
        network.token_embedding.reverse_embeddings.assign(
            np.asarray(embedding.reverse_embeddings)[:, :size]
        )
    _norm(network.final_norm, backbone.layer_norm, added)


def _check_same(network: TransformerLM, backbone: keras.Model) -> None:
    """Checks that the logits of a network are those of the backbone with its output table."""
    config = network.config
    # Beyond a window, so that it is seen to be one.
    length = min(config.sequence_length, max(_COMPARED[1], 2 * config.attention_window + 2), 512)
    shape = (_COMPARED[0], length)
    ids = np.random.default_rng(0).integers(0, config.vocabulary_size, shape).astype(np.int32)
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}, training=False)
    expected = np.asarray(backbone.token_embedding(hidden, reverse=True), np.float32)[
        ..., : config.vocabulary_size
    ]
    logits = np.asarray(network(ids, training=False), np.float32)
    spread = float(np.std(expected - expected.mean(-1, keepdims=True))) or 1e-12
    error = float(np.abs(logits - expected).max()) / spread
    if not error <= _TOLERANCE:
        source = inspect.getmodule(type(backbone))
        raise ConfigError(
            f"the copy of {type(backbone).__name__} ({source.__name__ if source else '?'}) differs"
            f" from it by {error:.2g} of the logits' spread (at most {_TOLERANCE:g}): it has an"
            " option that tfscale does not know"
        )
