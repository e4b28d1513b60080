"""Folders of Hugging Face (config.json and safetensors) as networks of tfscale.

An entry of config.json that changes what a model computes is followed or refused, and so is every
tensor of the files: nothing is passed over. Weights are read one at a time into the network.

Shapes: D inputs of a matrix, F outputs, V rows of a table.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tfscale.compat.handed_over import to_hand_over
from tfscale.compat.keras_weights import weights_from_files
from tfscale.compat.memory import give_memory_back
from tfscale.config import Precision, TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.hub_checkpoint import HubCheckpoint
from tfscale.models.hub_fields import HubFields, read_fields
from tfscale.models.hub_tensor import HubTensor
from tfscale.models.hub_writer import HubWriter
from tfscale.models.transformer import TransformerLM
from tfscale.registry import HUB_WRITERS

_CONTEXT = 1024
"""Tokens of the context of a network with rotary positions, of a model that has no fewer."""
_MOST_LAYERS = 4096
_TABLES = ("embed_tokens.weight", "wte.weight", "lm_head.weight")
"""Names of tensors with a row for each token."""
_POSITIONS = "wpe.weight"
_HEADS = {False: ("lm_head.weight",), True: ("language_model.lm_head.weight", "lm_head.weight")}
"""Names of the output table: of a model alone, and of the part of one that writes text."""
_ALONE = (("^", ""), (r"^(model|transformer)\.", ""))
_INSIDE = (("^", "language_model."), (r"^model\.", "model.language_model."))
"""Changes of tensors' names, by a regular expression and what is put in: with and without that of
the whole model; and before and from version 4.52 of transformers on."""
_OTHER_PARTS = r"^(model\.)?(vision_tower|multi_modal_projector)\."
"""Names of tensors of the parts that see pictures."""


def is_hub_folder(source: object) -> bool:
    """Returns whether a path is a Hugging Face folder of an architecture that has a writer.

    Raises:
        ConfigError: the weights of the folder are stored in a way that is not read.
    """
    fields = _described(source) if isinstance(source, str) else None
    return fields is not None and fields.kind in HUB_WRITERS


def _described(folder: str) -> HubFields | None:
    """Returns the entries of a folder's model, or of the part of it that writes text."""
    fields = read_fields(folder)
    if fields is None or fields.kind in HUB_WRITERS:
        return fields
    writers: list[type[HubWriter]] = list(HUB_WRITERS)
    around = (writer for writer in writers if writer.inside == fields.kind)
    return next((writer.text_part(fields) for writer in around), fields)


def _fields(folder: str) -> HubFields:
    fields = _described(folder)
    if fields is None:
        raise ConfigError(f"{folder} is no Hugging Face folder: it has no config.json of a model")
    return fields


def architecture_of(folder: str) -> str:
    """Returns the name of the architecture of a folder that `is_hub_folder`, such as "Llama"."""
    writer: type[HubWriter] = HUB_WRITERS.get(_fields(folder).kind)
    return writer.architecture.removesuffix("ForCausalLM").removesuffix("LMHeadModel")


def rows_of(folder: str) -> int:
    """Returns how many tokens the table of a folder's model has."""
    return _fields(folder).whole("vocab_size")


def from_hub_folder(
    folder: str,
    sequence_length: int = 0,
    precision: Precision = "float32",
    vocabulary_size: int = 0,
) -> TransformerLM:
    """Returns a network with the architecture and the weights of a folder that `is_hub_folder`.

    Args:
        folder: of Hugging Face.
        sequence_length: context of the network in tokens; 0 takes that of learned positions, and of
            others 1,024 or what the model has if it is less.
        precision: compute type of the network.
        vocabulary_size: the tokenizer's; rows of the tables above it, which some models have for
            alignment, are left out. 0 takes all.

    Raises:
        ConfigError: an entry of config.json that a network cannot follow, tensors that are not
            those of the architecture, or a context longer than the model's positions.
    """
    fields = _fields(folder)
    writer: HubWriter = HUB_WRITERS.get(fields.kind)()
    _check_layers(fields)
    options = {**GPT2_PARTS, **writer.options(fields)}
    config = _config(fields, options, sequence_length, vocabulary_size or rows_of(folder))
    with HubCheckpoint(folder) as checkpoint:
        stored = sum(map(math.prod, checkpoint.shapes.values()))
        described = config.parameter_count()
        if described > 2 * stored:
            raise ConfigError(
                f"{fields.path} describes a model of {described:,} weights, and the files hold"
                f" {stored:,} numbers"
            )
        with weights_from_files():
            network = TransformerLM(config, precision=precision)
            tensors = _named(writer.tensors(network), checkpoint, fields.inside)
            _check(fields, writer, tensors, checkpoint)
            _read(tensors, checkpoint)
    give_memory_back()
    return network


def _check_layers(fields: HubFields) -> None:
    """Refuses more layers than any model has, before lists of them are made."""
    name = "n_layer" if fields.get("n_layer") is not None else "num_hidden_layers"
    if (layers := fields.whole(name)) > _MOST_LAYERS:
        raise ConfigError(f"{fields.path} has {name}={layers}; expected {_MOST_LAYERS:,} at most")


def _config(
    fields: HubFields, options: JsonObject, sequence_length: int, vocabulary_size: int
) -> TransformerConfig:
    learned = options["positions"] == "learned"
    longest = fields.whole("n_positions" if learned else "max_position_embeddings", _CONTEXT)
    length = sequence_length or (longest if learned else min(longest, _CONTEXT))
    if learned and length > longest:
        raise ConfigError(
            f"sequence_length={length}, and the model has positions for {longest} tokens"
        )
    if vocabulary_size > (rows := fields.whole("vocab_size")):
        raise ConfigError(f"vocabulary_size={vocabulary_size}, and the model has {rows} entries")
    window, others = options.get("attention_window", 0), ("global_every", "local_rope_base")
    if window >= length and not any(options.get(name) for name in others):
        options = {**options, "attention_window": 0}  # All of the context is in it.
    return TransformerConfig(vocabulary_size=vocabulary_size, sequence_length=length, **options)


def _named(
    tensors: Iterable[HubTensor], checkpoint: HubCheckpoint, inside: bool
) -> list[HubTensor]:
    """Returns tensors under the names of the files.

    They may lack that of the whole model, and those of a part have one more, in two ways.
    """
    whole = list(tensors)
    changes = _INSIDE if inside else _ALONE
    names = [[re.sub(find, put, tensor.name) for tensor in whole] for find, put in changes]
    chosen = next((own for own in names if own[0] in checkpoint.shapes), names[0])
    return [
        dataclasses.replace(tensor, name=name) for tensor, name in zip(whole, chosen, strict=True)
    ]


def _check(
    fields: HubFields, writer: HubWriter, tensors: list[HubTensor], checkpoint: HubCheckpoint
) -> None:
    """Refuses tensors of other shapes, missing ones, and those that the network does not have."""
    folder, shapes = checkpoint.folder, dict(checkpoint.shapes)
    for tensor in tensors:
        shape = tensor.shape
        if tensor.name.endswith(_TABLES):
            shape = (fields.whole("vocab_size"), *shape[1:])
        elif tensor.name.endswith(_POSITIONS):
            shape = (fields.whole("n_positions", _CONTEXT), *shape[1:])
        found = shapes.pop(tensor.name, None)
        if found is None and not writer.may_lack(tensor.name, fields):
            raise ConfigError(f"{folder} has no tensor {tensor.name} of the shape {list(shape)}")
        if found is not None and found != shape:
            raise ConfigError(
                f"{folder} has {tensor.name} in the shape {list(found)}; config.json says"
                f" {list(shape)}"
            )
    heads = [name for name in _HEADS[fields.inside] if name in shapes]
    if heads and tensors[0].name.endswith(_TABLES):
        _check_tied(checkpoint, heads[0], tensors[0].name)
        del shapes[heads[0]]
    unread = f"{writer.unread}|{_OTHER_PARTS}" if fields.inside else writer.unread
    if others := [name for name in shapes if not re.search(unread, name)]:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        raise ConfigError(
            f"{folder} has tensors that its {writer.name} does not have by config.json:"
            f" {others[0]}{more}"
        )


def _check_tied(checkpoint: HubCheckpoint, head: str, embedding: str) -> None:
    """Refuses an output table that is not the embedding, with which it is said to be one."""
    equal = checkpoint.shapes[head] == checkpoint.shapes[embedding]
    if not equal or not checkpoint.same(head, embedding):
        raise ConfigError(
            f"{checkpoint.folder} has {head} with other numbers than {embedding}, and config.json"
            " says by tie_word_embeddings that they are one"
        )


def _read(tensors: list[HubTensor], checkpoint: HubCheckpoint) -> None:
    """Assigns the weights of a network, each in one piece."""
    groups: dict[int, list[HubTensor]] = defaultdict(list)
    for tensor in tensors:
        if tensor.place is not None:
            groups[id(tensor.place.variable)].append(tensor)
        elif tensor.name in checkpoint.shapes:
            _check_zeros(tensor, checkpoint)
    for group in groups.values():
        variable = group[0].place.variable if group[0].place else None
        assert variable is not None
        values = to_hand_over(tuple(variable.shape), np.dtype(np.float32))
        for tensor in group:
            if tensor.name in checkpoint.shapes:
                _fill(values, tensor, checkpoint)
        variable.assign(values)


def _fill(values: np.ndarray, tensor: HubTensor, checkpoint: HubCheckpoint) -> None:
    """Writes a tensor to its place in the numbers of a weight."""
    place = tensor.place
    assert place is not None
    for rows, numbers in checkpoint.parts(tensor.name, tensor.shape[0]):
        first, last = place.first + rows.start, place.first + rows.stop
        if place.turned:
            values[:, first:last] = numbers.T
        else:
            values[first:last] = numbers - np.float32(place.plus) if place.plus else numbers


def _check_zeros(tensor: HubTensor, checkpoint: HubCheckpoint) -> None:
    """Refuses numbers for what the network does not have."""
    if any(numbers.any() for _, numbers in checkpoint.parts(tensor.name, tensor.shape[0])):
        raise ConfigError(
            f"{checkpoint.folder} has numbers in {tensor.name}, which tfscale computes without"
        )
