"""A network as a preset of keras-hub, which `CausalLM.from_preset` loads.

The way there is that of Hugging Face: the checkpoint of `tfscale.models.hub_writers`, read by
keras-hub's own converter. The tokenizer is made of tfscale's vocabulary, and must come back as it
was.
"""

import os
from collections.abc import Mapping
from typing import Any, cast

import keras

from tfscale.compat import keras_hub as hub
from tfscale.config import TransformerConfig
from tfscale.errors import ConfigError, ExportError, TokenizerError
from tfscale.exporting.safetensors_file import write_checkpoint
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_json, write_json
from tfscale.files.scratch import scratch_folder
from tfscale.models.hub import backbone_of
from tfscale.models.hub_writer import HubWriter, writer_of
from tfscale.models.transformer import TransformerLM
from tfscale.runs.hub import tokenizer_of
from tfscale.runs.hub_tokenizer import TRIED
from tfscale.text.tokenizers import Tokenizer

_CLASSES: Mapping[str, Mapping[str, str]] = {
    "gpt2": {"bpe": "GPT2"},
    "llama": {"bpe": "Llama3", "sentencepiece": "Llama"},
    "qwen2": {"bpe": "Qwen"},
    "qwen3": {"bpe": "Qwen3"},
    "gemma": {"sentencepiece": "Gemma"},
    "gemma2": {"sentencepiece": "Gemma"},
    "gemma3_text": {"sentencepiece": "Gemma3"},
    "smollm3": {"bpe": "SmolLM3"},
}
"""Architecture of Hugging Face -> kind of tokenizer -> what names of keras-hub's classes begin
with."""


def preset_writer(config: TransformerConfig) -> HubWriter:
    """Returns the writer of a network that keras-hub can load.

    Raises:
        ConfigError: keras-hub has no such architecture, or would not compute these options.
    """
    writer = writer_of(config)
    # Read back in another type, it would have other weights.
    exact = writer.read_back_as == "none" and writer.reads_back(config)
    if writer.name not in _CLASSES or not exact:
        raise ConfigError(
            f"keras-hub has no {writer.summary} with these options of the model; --format"
            " huggingface writes them"
        )
    return writer


def hub_tokenizer(writer: HubWriter, tokenizer: Tokenizer) -> Any:
    """Returns the tokenizer as one of keras-hub.

    Args:
        writer: of the network.
        tokenizer: the network's.

    Raises:
        ExportError: the architecture has no tokenizer of this kind in keras-hub, or it would begin,
            end or cut a text in another way.
    """
    kinds = _CLASSES[writer.name]
    prefix = _prefix(writer, tokenizer)
    if prefix is None:
        raise ExportError(
            f"keras-hub's {writer.summary} has a tokenizer of kind {' or '.join(kinds)}; this one"
            f" is {tokenizer.kind}: --format huggingface takes it"
        )
    try:
        theirs = hub.new_tokenizer(prefix, tokenizer.hub_assets())
        back = tokenizer_of(theirs)
    except (ValueError, TokenizerError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"keras-hub's {prefix}Tokenizer does not take it: {reason}; --format huggingface writes"
            " the tokenizer as it is"
        ) from error
    asked = {
        "start token": (tokenizer.start_id, tokenizer.prompt_start),
        "end token": tokenizer.end_id,
        "vocabulary": tokenizer.vocabulary_size,
        "tokens of a text": tokenizer.encode_batch(list(TRIED)),
    }
    found = [
        (back.start_id, back.prompt_start),
        back.end_id,
        back.vocabulary_size,
        back.encode_batch(list(TRIED)),
    ]
    different = [
        name for (name, own), other in zip(asked.items(), found, strict=True) if own != other
    ]
    if different:
        raise ExportError(
            f"keras-hub's {prefix}Tokenizer would have another {' and another '.join(different)};"
            " --format huggingface writes the tokenizer as it is"
        )
    return theirs


def _prefix(writer: HubWriter, tokenizer: Tokenizer) -> str | None:
    """Returns what the names of keras-hub's classes begin with; None where there are none."""
    kinds = _CLASSES[writer.name]
    # A tokenizer.json as it is may be one of byte-pair encoding; its assets say so.
    return kinds.get("bpe" if tokenizer.kind == "huggingface" else tokenizer.kind)


def write_preset(network: TransformerLM, tokenizer: Tokenizer, folder: str) -> None:
    """Writes a preset: config.json, the weights and the tokenizer with its assets.

    Args:
        network: of an architecture that keras-hub has.
        tokenizer: its tokenizer.
        folder: where to write; it is there.

    Raises:
        ConfigError: as `preset_writer`.
        ExportError: as `hub_tokenizer`.
    """
    writer = preset_writer(network.config)
    theirs = hub_tokenizer(writer, tokenizer)
    prefix = _prefix(writer, tokenizer)
    assert prefix is not None
    with scratch_folder("tfscale-preset-") as scratch:
        # keras-hub's converter reads the weights by the config, and no tokenizer.
        config = writer.describe(network.config) | {"dtype": "float32", "torch_dtype": "float32"}
        write_json(os.path.join(scratch, "config.json"), config)
        write_checkpoint(scratch, writer.tensors(network), "float32")
        backbone = _of_class(backbone_of(scratch), prefix)
    backbone.save_to_preset(folder)
    hub.new_preprocessor(prefix, theirs, network.config.sequence_length).save_to_preset(folder)
    if hub.tied(backbone) is not None:
        # keras-hub 0.32 leaves it out, and would load a second table at random.
        path = os.path.join(folder, "config.json")
        saved = cast(JsonObject, read_json(path, "the preset's config"))
        saved["config"]["tie_word_embeddings"] = hub.tied(backbone)
        write_json(path, saved)


def _of_class(backbone: keras.Model, prefix: str) -> keras.Model:
    """Returns the backbone as one of another class, where the tokenizer wants another."""
    kind = hub.backbone_class(prefix)
    if type(backbone) is kind:
        return backbone
    config = backbone.get_config()
    if hub.tied(backbone) is not None:
        config["tie_word_embeddings"] = hub.tied(backbone)
    other = kind.from_config(config)
    other.set_weights(backbone.get_weights())
    return other
