"""Decoders of keras-hub as networks of tfscale: the same logits, and then everything that tfscale
does with a network.

A keras-hub preset that a user has on disk, or a `CausalLM` in memory, becomes a `TransformerLM`
with the same weights, so that it trains, is compressed and exported with a key-value cache like any
other. Whether the copy is one is not believed but measured: both compute the logits of the same
tokens, and a difference is refused. Folders of Hugging Face are read by `hub_loading`.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head, V
vocabulary.
"""

import inspect

import keras
import numpy as np

from tfscale.compat import keras_hub as hub
from tfscale.compat.keras_weights import assign_rows, put_on_disk, weights_from_files
from tfscale.compat.memory import give_memory_back
from tfscale.config import Precision, TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.errors import ConfigError
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.models.hub_fields import read_fields
from tfscale.models.hub_folder import unread_options
from tfscale.models.hub_loading import from_hub_folder, is_hub_folder
from tfscale.models.hub_reader import HubReader
from tfscale.models.hub_source import local_source
from tfscale.models.projecting import projection
from tfscale.models.transformer import TransformerLM
from tfscale.registry import HUB_READERS

_COMPARED = (2, 24)
"""Rows and tokens on which a network is compared with what it was made of."""
_FEWEST = 12
"""Tokens of each text whose logits are compared, however large the vocabulary is."""
_LOGITS = 1 << 23
"""Logits that are compared, beside those of the fewest tokens."""
_TOLERANCE = 1e-3
"""Largest difference of a logit, as a part of the logits' spread."""


def from_keras_hub(
    source: keras.Model | str,
    sequence_length: int = 0,
    precision: Precision = "float32",
    vocabulary_size: int = 0,
    *,
    consume: bool = False,
) -> TransformerLM:
    """Returns a network with the architecture and the weights of a decoder of keras-hub.

    Args:
        source: a `keras_hub.models.CausalLM` or its backbone, of one of the architectures in
            `tfscale/models/hub_readers`; or what `from_preset` of either takes, such as the folder
            of a preset; or a folder of Hugging Face, or `hf://OWNER/NAME` of its hub.
        sequence_length: context of the network in tokens; 0 takes that of learned positions, 1,024
            of others.
        precision: compute type of the network.
        vocabulary_size: the tokenizer's; rows of the tables above it, which some models have for
            alignment, are left out. 0 takes all.
        consume: give the memory of a model's weights back while they are copied, so that never
            both are held; the model is of no use afterwards. So it is for the folder of a preset.

    Returns:
        The network; its logits are those of the source.

    Raises:
        ConfigError: an architecture or an option of it that `TransformerConfig` cannot express, or
            a context longer than the model's positions.

    Example:
        model = keras_hub.models.CausalLM.from_preset("gpt2_base_en")
        network = from_keras_hub(model, sequence_length=256)
    """
    source = local_source(source)
    if isinstance(source, str) and is_hub_folder(source):
        return from_hub_folder(source, sequence_length, precision, vocabulary_size)
    backbone = backbone_of(source)
    reader = _reader_of(backbone)(_in_float32(backbone))
    consume = consume or isinstance(source, str) or reader.backbone is not backbone
    backbone = reader.backbone
    config = _config(reader, sequence_length, vocabulary_size)
    ids, places = _compared_tokens(config)
    expected = _logits(reader, ids, places, config.vocabulary_size)
    with scratch_folder("tfscale-import-") as folder:
        if consume:
            with scratch_writes():
                put_on_disk(backbone, folder)
        with weights_from_files():
            network = TransformerLM(config)
            reader.read(network)
    give_memory_back()
    _check_same(network, type(backbone), ids, places, expected)
    if precision == "float32":
        return network
    with scratch_folder("tfscale-import-") as folder:
        with scratch_writes():
            put_on_disk(network, folder)
        with weights_from_files():
            lower = TransformerLM(config, precision=precision)
            for target, weight in zip(lower.weights, network.weights, strict=True):
                if len(target.shape) == 2:
                    assign_rows(target, weight)
                else:
                    target.assign(np.asarray(weight))
    return lower


def _config(reader: HubReader, sequence_length: int, vocabulary_size: int) -> TransformerConfig:
    """Returns the architecture that a reader's model becomes."""
    options, learned = reader.options(), reader.learned_positions
    length = sequence_length or (learned or 1024)
    if learned and length > learned:
        raise ConfigError(
            f"sequence_length={length}, and the model has positions for {learned} tokens"
        )
    rows = reader.backbone.vocabulary_size
    size = vocabulary_size or rows
    if size > rows:
        raise ConfigError(f"vocabulary_size={size}, and the model has {rows} entries")
    if options.get("attention_window", 0) >= length and not options.get("global_every"):
        options["attention_window"] = 0  # All of the context is in it.
    # An architecture is what its reader says and no default of ours.
    parts = {**GPT2_PARTS, **options}
    return TransformerConfig(vocabulary_size=size, sequence_length=length, **parts)


def _reader_of(backbone: keras.Model) -> type[HubReader]:
    readers: list[type[HubReader]] = list(HUB_READERS)
    for kind in type(backbone).__mro__:
        for reader in readers:
            if kind.__name__ in reader.backbones:
                return reader
    raise ConfigError(
        f"{type(backbone).__name__} is not an architecture that tfscale imports: {_known()}. As it"
        " is, its CausalLM is exported by tfscale.export_keras to a file that generates"
    )


def _known() -> str:
    readers: list[type[HubReader]] = list(HUB_READERS)
    return "; ".join(reader.summary for reader in readers)


def _in_float32(backbone: keras.Model) -> keras.Model:
    """Returns the backbone, or one with the same weights that computes in float32: rounding would
    hide a wrong copy."""
    if backbone.compute_dtype == "float32":
        return backbone
    config = {**backbone.get_config(), "dtype": "float32"}
    if hub.tied(backbone) is not None:
        config["tie_word_embeddings"] = hub.tied(backbone)
    # Some classes give their layers no type, so that they take the global one.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        copy = type(backbone).from_config(config)
    finally:
        keras.config.set_dtype_policy(policy)
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
        ConfigError: there is no such preset, it is not one of a decoder, or it has an option that
            keras-hub would pass over.
    """
    if not isinstance(source, str):
        return hub.backbone_in(source)
    given = unread_options(source)
    try:
        with weights_from_files():
            return hub.load_backbone(source, {"dtype": "float32", **given})
    except Exception as error:  # keras-hub lets through what its loaders raise, of many kinds
        raise ConfigError(preset_message(source, error)) from error


def preset_message(source: str, error: Exception) -> str:
    """Returns in one line what is wrong with a preset, and how to get one onto this disk."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Its list of what would be right begins below the line.
    reason = reason.rsplit(". ", 1)[0] if reason.endswith(":") else reason.rstrip(".")
    described = read_fields(source)
    if described is not None:
        return (
            f"{described.path} describes the architecture {described.kind}, which is not one that"
            f" tfscale imports: {_known()}. keras-hub does not load it either ({reason}); a"
            " CausalLM that it loads is exported by tfscale.export_keras to a file that generates"
        )
    return (
        f"{source} is not a preset of keras-hub on this disk ({reason}); give the folder of one."
        " Where there is a network:"
        ' keras_hub.models.CausalLM.from_preset("gpt2_base_en").save_to_preset("FOLDER")'
    )


def _compared_tokens(config: TransformerConfig) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids (B, T), and after which of the T tokens logits are compared.

    They are all of them unless the logits of a large vocabulary would take much memory.
    """
    # Beyond a window, so that it is seen to be one.
    length = min(config.sequence_length, max(_COMPARED[1], 2 * config.attention_window + 2), 512)
    shape = (_COMPARED[0], length)
    ids = np.random.default_rng(0).integers(0, config.vocabulary_size, shape).astype(np.int32)
    count = max(_FEWEST, _LOGITS // (_COMPARED[0] * config.vocabulary_size))
    return ids, np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int32))


def _logits(reader: HubReader, ids: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Returns the logits of the model with its output table after some tokens, `size` of each."""
    backbone = reader.backbone
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}, training=False)
    chosen = keras.ops.take(hidden, places, axis=1)
    table = backbone.token_embedding
    output = (table.embeddings, 0) if table.tie_weights else (table.reverse_embeddings, 1)
    logits = projection(lambda hidden: table(hidden, reverse=True), [output], size)(chosen)
    return logits[..., :size]


def _check_same(
    network: TransformerLM,
    source: type[keras.Model],
    ids: np.ndarray,
    places: np.ndarray,
    expected: np.ndarray,
) -> None:
    """Checks that the logits of a network are those of the model that it was read from."""
    chosen = keras.ops.take(network.hidden_states(ids), places, axis=1)
    axes = network.vocabulary_axes()
    outputs = [(weight, axes[weight.path]) for weight in network.output_variables]
    logits = projection(network.project, outputs, network.config.vocabulary_size)(chosen)
    # Token by token: all differences of a large vocabulary take as much memory as a layer.
    pairs = [(logits[place], expected[place]) for place in np.ndindex(expected.shape[:-1])]
    spread = float(np.sqrt(np.mean([np.var(theirs) for _, theirs in pairs]))) or 1e-12
    error = float(np.max([np.abs(ours - theirs).max() for ours, theirs in pairs])) / spread
    if not error <= _TOLERANCE:
        module = inspect.getmodule(source)
        raise ConfigError(
            f"the copy of {source.__name__} ({module.__name__ if module else '?'}) differs"
            f" from it by {error:.2g} of the logits' spread (at most {_TOLERANCE:g}): it has an"
            " option that tfscale does not know"
        )
