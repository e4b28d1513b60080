"""The entries of a GGUF file that make llama.cpp read text as the tokenizer does."""

from tfscale.errors import ExportError
from tfscale.text.tokenizers import Tokenizer

_STOPS = ("eot_token_id", "eom_token_id")
"""Entries of further tokens that end a completion."""


def vocabulary_entries(tokenizer: Tokenizer) -> dict[str, object]:
    """Returns the entries of a tokenizer by their names after `tokenizer.ggml.`.

    Args:
        tokenizer: of a kind that has a form in llama.cpp; `Tokenizer.gguf_vocabulary` says.

    Raises:
        ExportError: llama.cpp has none, or it would read other tokens than the tokenizer.

    Example:
        vocabulary_entries(tokenizer)["eos_token_id"]    # 1
    """
    entries = dict(tokenizer.gguf_vocabulary())
    tokens = entries["tokens"]
    assert isinstance(tokens, list)
    if len(set(tokens)) < len(tokens):
        raise ExportError("llama.cpp takes no vocabulary in which two tokens have the same text")
    further = [id for id in tokenizer.stop_ids if id != tokenizer.end_id]
    if len(further) > len(_STOPS):
        raise ExportError(
            f"a GGUF file has room for {1 + len(_STOPS)} tokens that end a completion; the"
            f" tokenizer has {1 + len(further)}: {', '.join(map(tokenizer.piece, further))}"
        )
    entries |= {
        "bos_token_id": tokenizer.start_id,
        "eos_token_id": tokenizer.end_id,
        "add_bos_token": bool(tokenizer.prompt_start),
        "add_eos_token": False,
    }
    if tokenizer.unknown_id is not None:
        entries["unknown_token_id"] = tokenizer.unknown_id
    return entries | dict(zip(_STOPS, further, strict=False))
