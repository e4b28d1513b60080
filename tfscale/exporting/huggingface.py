"""A network as a folder of Hugging Face's transformers: config.json, checkpoint and tokenizer."""

import json
import os

from tfscale.errors import ConfigError
from tfscale.exporting.safetensors_file import write_checkpoint
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import atomic_write, write_json
from tfscale.models.hub_writer import HubWriter, writer_of
from tfscale.models.recipe import recipe
from tfscale.models.transformer import TransformerLM
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.gguf_words import words_of
from tfscale.text.tokenizers.hub_files import JSON_FILE, hub_files


def check_tokenizer(writer: HubWriter, tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer that transformers would not read as it is.

    Raises:
        ExportError: it has no form of Hugging Face.
        ConfigError: transformers has a tokenizer of its own for the architecture.
    """
    files = hub_files(tokenizer, 1)
    if not writer.words:
        return
    content = json.loads(files.get(JSON_FILE, b"{}"))
    kind = content.get("model", {}).get("type")
    if kind != "BPE" or words_of(content.get("pre_tokenizer") or {}) != writer.words:
        raise ConfigError(
            f"transformers cuts texts for {writer.architecture} into the words of {writer.summary},"
            f" whatever the tokenizer does; this one, of kind {tokenizer.kind}, cuts them otherwise"
        )


def write_hub_folder(
    folder: str, network: TransformerLM, tokenizer: Tokenizer, quantize: str = "none"
) -> None:
    """Writes what `from_pretrained` of transformers reads.

    Args:
        folder: where to write; it is there.
        network: the network, of an architecture that transformers has.
        tokenizer: its tokenizer.
        quantize: "none" (float32) or "float16".

    Raises:
        ConfigError: transformers has no such architecture.
        ExportError: a tokenizer that has no form of Hugging Face, or a weight that is not finite.

    Example:
        write_hub_folder("folder", run.network, run.tokenizer)
    """
    writer = writer_of(network.config)
    files = hub_files(tokenizer, network.config.sequence_length)
    dtype = recipe(quantize).converted_as
    tokens = _token_entries(tokenizer)
    types = {"dtype": dtype, "torch_dtype": dtype}
    config = {**writer.describe(network.config), **tokens, "pad_token_id": None, **types}
    write_json(os.path.join(folder, "config.json"), config)
    # Where texts of several lengths are read at once, a stop token fills up the shorter ones.
    generation = {**tokens, "pad_token_id": tokenizer.end_id, "do_sample": False}
    write_json(os.path.join(folder, "generation_config.json"), generation)
    for name, content in files.items():
        with atomic_write(os.path.join(folder, name)) as file:
            file.write(content)
    write_checkpoint(folder, writer.tensors(network), dtype)


def _token_entries(tokenizer: Tokenizer) -> JsonObject:
    """Returns the tokens that begin and end a text; several end it where there are several."""
    stops = list(tokenizer.stop_ids)
    end = stops if len(stops) > 1 else stops[0]
    return {"bos_token_id": tokenizer.start_id, "eos_token_id": end}
