"""The names that llama.cpp has for how a tokenizer.json of byte-level BPE cuts a text into words.

A GGUF file has no regular expression: it names one that is built into llama.cpp. A name is given
only for a tokenizer.json whose way is known to be that one; with any other, other tokens would be
read without a word.

Source: `src/llama-vocab.cpp` of llama.cpp, release v0.5.0.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfscale.errors import ExportError
from tfscale.text.tokenizers.gguf_types import CONTROL, NORMAL, USER_DEFINED, found_in_texts
from tfscale.text.tokenizers.tokenizer_json import composes, keeps_all
from tfscale.text.tokenizers.word_patterns import LLAMA_3, QWEN

_NAMES = {
    ("gpt-2", False): "gpt-2",
    ("gpt-2, single digits", False): "smollm",
    (QWEN, False): "qwen2",
    (LLAMA_3, True): "llama-bpe",
    # The same words as Llama 3's, whose merges count for words of the vocabulary too.
    (LLAMA_3, False): "dbrx",
}
"""Way, and whether a word that is in the vocabulary is taken as it is -> llama.cpp's name."""


def word_cutter(content: Mapping[str, Any]) -> str:
    """Returns llama.cpp's name for how words are cut, `tokenizer.ggml.pre`.

    Args:
        content: the parsed tokenizer.json, of byte-level BPE.

    Raises:
        ExportError: llama.cpp has no such way, or the text is changed before.

    Example:
        word_cutter(json.loads(tokenizer.model))    # "gpt-2"
    """
    model = content["model"]
    changed = {
        # It composes characters: what is composed already has the same tokens without.
        "a normalizer": content.get("normalizer") and not composes(content),
        "dropout of merges": model.get("dropout"),
        "byte_fallback": model.get("byte_fallback"),
        "a prefix of inner pieces": model.get("continuing_subword_prefix"),
        "a suffix of words": model.get("end_of_word_suffix"),
    }
    if has := [name for name, value in changed.items() if value]:
        raise ExportError(f"tokenizer.json has {' and '.join(has)}, which llama.cpp does not apply")
    way = words_of(content.get("pre_tokenizer") or {})
    name = _NAMES.get((way, bool(model.get("ignore_merges"))))
    if name is None:
        raise ExportError(
            f"tokenizer.json cuts words by {_short(way)}, for which llama.cpp has no name that is"
            " known to be the same; it has GPT-2's, SmolLM's, Qwen 2's and Llama 3's"
        )
    return name


def byte_level_entries(
    content: Mapping[str, Any], pieces: Sequence[str], special: Collection[int]
) -> dict[str, object]:
    """Returns the vocabulary of a tokenizer.json of byte-level BPE by the names of llama.cpp.

    Its tokens are those of the file for every text whose characters are composed (NFC).

    Args:
        content: the parsed tokenizer.json.
        pieces: text of each token.
        special: ids of special tokens.

    Raises:
        ExportError: llama.cpp would read other tokens.
    """
    way, found = word_cutter(content), found_in_texts(content)
    if not keeps_all({**content, "normalizer": None}):
        raise ExportError("tokenizer.json has no token for each byte, or puts a space before texts")
    types = [USER_DEFINED if piece in found else NORMAL for piece in pieces]
    merges = content["model"]["merges"]
    return {
        "model": "gpt2",
        "pre": way,
        "tokens": list(pieces),
        "token_type": [CONTROL if id in special else kind for id, kind in enumerate(types)],
        "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
    }


def words_of(cutter: Mapping[str, Any]) -> str:
    """Returns by what the `pre_tokenizer` of a tokenizer.json cuts words: a regular expression, or
    GPT-2's by name; "" for another arrangement."""
    parts = cutter.get("pretokenizers", [cutter])
    if not parts or not _is_bytes(parts[-1]):
        return ""
    with_words = parts[-1].get("use_regex", True)
    if len(parts) == 1:
        return "gpt-2" if with_words else ""
    if len(parts) > 2:
        return ""
    first = parts[0]
    if first == {"type": "Digits", "individual_digits": True} and with_words:
        return "gpt-2, single digits"
    expected = {"type": "Split", "behavior": "Isolated", "invert": False}
    if with_words or any(first.get(key) != value for key, value in expected.items()):
        return ""
    return str(first["pattern"].get("Regex", ""))


def _is_bytes(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "ByteLevel" and not part.get("add_prefix_space", True)


def _short(way: str) -> str:
    return (
        "an arrangement of its own" if not way else repr(way if len(way) < 60 else way[:57] + "...")
    )
