"""`HubWriter`: how a `TransformerLM` becomes a checkpoint of Hugging Face's transformers, and is
made of one, a class for each architecture.

Which architecture a network is follows from its options: the first one that has all of them.

Shapes: D hidden_dim, F feed_forward_dim, H query heads, G key-value heads, K width of a head.
"""

import abc
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

from keras.layers import Layer

from tfscale.config import TransformerConfig
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject, JsonValue
from tfscale.models.hub_fields import FULL, SLIDING, HubFields
from tfscale.models.hub_parts import Allowed, obstacles, scaling_of
from tfscale.models.hub_tensor import HubTensor, bias, table, turned, vector
from tfscale.models.layers import TransformerBlock
from tfscale.models.transformer import TransformerLM
from tfscale.registry import HUB_WRITERS


class HubWriter(abc.ABC):
    """Writes one architecture, and reads it: the content of its config.json, and its tensors.

    A writer is a subclass in a file of `tfscale/models/hub_writers`, registered by
    `tfscale.register`. This class writes what Llama has; a subclass says what is different.

    Attributes:
        name: the file's, and `model_type` in config.json.
        summary: the models that have the architecture, for messages.
        architecture: the class of transformers.
        parts: the values of each part of `hub_parts.LLAMA_PARTS` that the architecture has.
        read_back_as: the type to which keras-hub rounds all that it reads, if it does.
        words: the regular expression by which transformers cuts a text into words with this
            architecture, whatever tokenizer.json says; empty where that decides.
        scale_offset: added to the scales of RMS norms, which some models store less 1.
        tied: what a config.json without `tie_word_embeddings` means.
        grouped: whether one without `num_key_value_heads` is of a group of heads that it must name.
        sized: whether a config.json names the width of a head, which has a default of its own.
        divided: whether transformers loads it only where the heads divide `hidden_size`, whatever
            `head_dim` says.
        base: of rotary positions, where config.json names none.
        epsilon: of norms, likewise.
        unread: regular expression of names of tensors that are no weights.
        inside: `model_type` of a model that has one of this architecture as the part that writes
            text, described by its `text_config`; empty where there is none.
        omitted: what such a `text_config` means where it has no entry.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    architecture: ClassVar[str]
    parts: ClassVar[Mapping[str, Allowed]]
    read_back_as: ClassVar[Literal["none", "float16"]] = "none"
    words: ClassVar[str] = ""
    scale_offset: ClassVar[float] = 0.0
    tied: ClassVar[bool] = False
    grouped: ClassVar[bool] = True
    sized: ClassVar[bool] = False
    divided: ClassVar[bool] = False
    base: ClassVar[float] = 10_000.0
    epsilon: ClassVar[float] = 1e-6
    unread: ClassVar[str] = r"rotary_emb\.inv_freq$"
    inside: ClassVar[str] = ""
    omitted: ClassVar[Mapping[str, JsonValue]] = MappingProxyType({})

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the architecture known by its name; `tfscale.register` calls it."""
        HUB_WRITERS.add(getattr(cls, "name", ""), cls)

    @classmethod
    def obstacles(cls, config: TransformerConfig) -> list[str]:
        """Returns the options of a network that the architecture does not have, in words."""
        found = obstacles(config, cls.parts)
        if cls.divided and config.hidden_dim % config.num_heads:
            multiple = f"a multiple of num_heads={config.num_heads}"
            found.append(f"hidden_dim={config.hidden_dim} (it has {multiple})")
        return found

    @classmethod
    def reads_back(cls, config: TransformerConfig) -> bool:
        """Returns whether keras-hub reads a folder of these options as transformers does.

        Its readers leave some options of config.json unread.
        """
        return True

    @classmethod
    def text_part(cls, fields: HubFields) -> HubFields:
        """Returns the entries of the part that writes text.

        Raises:
            ConfigError: both name `tie_word_embeddings`, and not alike.
        """
        tied = fields.flag("tie_word_embeddings", cls.tied)
        text = fields.inner("text_config").content
        part = HubFields({**cls.omitted, **text}, fields.path, cls.name, inside=True)
        part.expect("tie_word_embeddings", (tied,), tied)
        part.check_causal()
        return HubFields({**part.content, "tie_word_embeddings": tied}, part.path, cls.name, True)

    def describe(self, config: TransformerConfig) -> JsonObject:
        """Returns the content of config.json but for the tokens and the type of the numbers."""
        return {
            "architectures": [self.architecture],
            "model_type": self.name,
            "vocab_size": config.vocabulary_size,
            "hidden_size": config.hidden_dim,
            "intermediate_size": config.feed_forward_width,
            "num_hidden_layers": config.num_layers,
            "num_attention_heads": config.num_heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_width,
            "hidden_act": "silu",
            "max_position_embeddings": config.sequence_length,
            "rms_norm_eps": config.norm_epsilon,
            "attention_dropout": config.dropout,
            "initializer_range": 0.02,
            "tie_word_embeddings": config.tie_embeddings,
            "use_cache": True,
            **rope_entries(config),
        }

    def options(self, fields: HubFields) -> JsonObject:
        """Returns the options of the network that a config.json describes, those that are not
        GPT-2's; the inverse of `describe`.

        Raises:
            ConfigError: an entry that the network cannot follow, or that is not what it should be.
        """
        fields.expect("hidden_act", ("silu",), "silu")
        return {**self.sizes(fields), **fields.rope(self.base)}

    def sizes(self, fields: HubFields) -> JsonObject:
        """Returns the options that all architectures with rotary positions have."""
        heads, width = fields.whole("num_attention_heads"), fields.whole("hidden_size")
        named = fields.get("num_key_value_heads", "none") != "none" or not self.grouped
        groups = fields.whole("num_key_value_heads", *((heads,) if named else ()))
        if width % heads and not fields.get("head_dim"):
            raise ConfigError(
                f"{fields.path} has hidden_size={width} and num_attention_heads={heads}, by which"
                " it is not divisible, and no head_dim"
            )
        head = fields.whole("head_dim", *(() if self.sized else (width // heads,)))
        return {
            "hidden_dim": width,
            "num_layers": fields.whole("num_hidden_layers"),
            "num_heads": heads,
            "num_kv_heads": 0 if groups == heads else groups,
            "head_dim": 0 if head * heads == width else head,
            "feed_forward_dim": fields.whole("intermediate_size"),
            "positions": "rope",
            "normalization": "rms",
            "activation": "swiglu",
            "norm_epsilon": fields.number("rms_norm_eps", self.epsilon),
            "tie_embeddings": fields.flag("tie_word_embeddings", self.tied),
        }

    def may_lack(self, name: str, fields: HubFields) -> bool:
        """Returns whether zeros stand for a tensor that a folder does not have."""
        return False

    def tensors(self, network: TransformerLM) -> Iterator[HubTensor]:
        """Yields the tensors of a checkpoint in the order of the network."""
        embedding = network.token_embedding
        yield table("model.embed_tokens.weight", embedding.embeddings)
        for index, block in enumerate(network.blocks):
            for tensor in self.block_tensors(block):
                yield tensor.inside(f"model.layers.{index}")
        yield self.scale("model.norm.weight", network.final_norm)
        if not network.config.tie_embeddings:
            yield turned("lm_head.weight", embedding.reverse_embeddings)

    def block_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        """Yields the tensors of a block, their names without that of the block."""
        yield from self.attention_tensors(block)
        yield from self.feed_forward_tensors(block)
        yield from self.norm_tensors(block)

    def attention_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        """Yields the matrices of the attention, and the biases where the model has them."""
        dense, output = block.attention.query_key_value, block.attention.output_projection
        start = 0
        for part, count in zip("qkv", widths(block), strict=True):
            yield turned(f"self_attn.{part}_proj.weight", dense.kernel, start, count)
            if dense.use_bias:
                yield bias(f"self_attn.{part}_proj.bias", dense, start, count)
            start += count
        yield turned("self_attn.o_proj.weight", output.kernel)
        if self.output_bias(block):
            yield bias("self_attn.o_proj.bias", output)

    def output_bias(self, block: TransformerBlock) -> bool:
        """Returns whether the output of the attention has a bias, perhaps of zeros."""
        return bool(block.attention.query_key_value.use_bias)

    def feed_forward_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        """Yields the matrices of the feed-forward layer: gate, units, output."""
        units = block.options.feed_forward_dim
        for name, start in (("gate_proj", 0), ("up_proj", units)):
            yield turned(f"mlp.{name}.weight", block.expand.kernel, start, units)
            if block.expand.use_bias:
                yield bias(f"mlp.{name}.bias", block.expand, start, units)
        yield turned("mlp.down_proj.weight", block.contract.kernel)
        if block.contract.use_bias:
            yield bias("mlp.down_proj.bias", block.contract)

    def norm_tensors(self, block: TransformerBlock) -> Iterator[HubTensor]:
        """Yields the scales of the norms."""
        yield self.scale("input_layernorm.weight", block.attention_norm)
        yield self.scale("post_attention_layernorm.weight", block.feed_forward_norm)

    def scale(self, name: str, norm: Layer | None) -> HubTensor:
        """Returns the scale of an RMS norm, which the block has."""
        assert norm is not None
        return vector(name, norm.scale, plus=-self.scale_offset)

    def query_key_norms(self, block: TransformerBlock) -> Iterator[HubTensor]:
        """Yields the scales of the norms of queries and keys."""
        yield self.scale("self_attn.q_norm.weight", block.attention.query_norm)
        yield self.scale("self_attn.k_norm.weight", block.attention.key_norm)


def widths(block: TransformerBlock) -> tuple[int, int, int]:
    """Returns the columns of queries, of keys and of values in their common matrix."""
    attention = block.attention
    keys = attention.num_kv_heads * attention.head_dim
    return attention.num_heads * attention.head_dim, keys, keys


def rope_entries(config: TransformerConfig) -> JsonObject:
    """Returns the entries of rotary positions, in the form of transformers 5 and in the one that
    it had before, which other programs read."""
    parameters = rope_parameters(config)
    scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
    scaled = {} if scaling == {"rope_type": "default"} else {"rope_scaling": scaling}
    return {"rope_theta": config.rope_base, "rope_parameters": parameters, **scaled}


def rope_parameters(config: TransformerConfig) -> JsonObject:
    """Returns base and scaling of rotary positions, of layers without a base of their own."""
    parameters: JsonObject = {"rope_theta": config.rope_base, "rope_type": "default"}
    scaling = scaling_of(config)
    if scaling == "none":
        return parameters
    parameters |= {"rope_type": scaling, "factor": config.rope_factor}
    if scaling == "llama3":
        parameters |= {
            "low_freq_factor": config.rope_low_frequency_factor,
            "high_freq_factor": config.rope_high_frequency_factor,
            "original_max_position_embeddings": config.rope_original_length,
        }
    return parameters


def layer_kinds(config: TransformerConfig) -> list[str]:
    """Returns for each layer, in transformers' words, whether it has a window."""
    return [SLIDING if config.window_of(layer) else FULL for layer in range(config.num_layers)]


def every_nth(every: int, layers: int) -> list[str]:
    """Returns the kinds of layers of which every n-th has no window."""
    return [SLIDING if layer % every else FULL for layer in range(1, layers + 1)]


def writer_of(config: TransformerConfig) -> HubWriter:
    """Returns the writer of the first architecture, by name, that has all options of a network.

    Raises:
        ConfigError: none has; names those that lack the fewest, and what stands in the way.

    Example:
        writer_of(TransformerConfig(activation="swiglu", vocabulary_size=257)).name    # "qwen3"
    """
    lacking: list[tuple[list[str], type[HubWriter]]] = []
    for writer in HUB_WRITERS:
        found = writer.obstacles(config)
        if not found:
            return writer()
        lacking.append((found, writer))
    fewest = min(len(found) for found, _ in lacking)
    nearest = "; or ".join(
        f"{writer.summary} ({writer.architecture}) but for {', '.join(found)}"
        for found, writer in lacking
        if len(found) == fewest
    )
    raise ConfigError(
        f"no architecture of transformers has these options of the model together; it is {nearest}"
    )
