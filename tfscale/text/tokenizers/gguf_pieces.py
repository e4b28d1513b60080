"""SentencePiece models, and a tokenizer.json in their manner, as the vocabulary of a GGUF file.

Llama 2, Mistral and Gemma have them: byte-pair encoding over whole texts in which a sign stands for
the space, with a token for each byte. A GGUF file has no merges for it: llama.cpp joins the
neighbours that make the token with the best score, as SentencePiece does, whatever it was learned
of. For a tokenizer.json scores are made of the order of its merges, and refused are merges of which
that does not make the same.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfscale.errors import ExportError
from tfscale.text.tokenizers.gguf_types import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    check_apart,
    found_in_texts,
)
from tfscale.text.tokenizers.spellings import SPACE_MARK
from tfscale.text.tokenizers.tokenizer_json import parts_of

if TYPE_CHECKING:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

_BYTES = {f"<0x{byte:02X}>": byte for byte in range(256)}
_SPACE_TO_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}
_PREPEND = {"type": "Prepend", "prepend": SPACE_MARK}


def in_that_manner(content: Mapping[str, Any]) -> bool:
    """Returns whether a tokenizer.json is byte-pair encoding that spells the unknown in bytes."""
    model = content["model"]
    if "merges" not in model or not model.get("byte_fallback"):
        return False
    # Gemma 1 and 2 have the tabulator itself instead of its byte.
    lacking = [byte for text, byte in _BYTES.items() if text not in model["vocab"]]
    return all(byte < 128 and chr(byte) in model["vocab"] for byte in lacking)


def piece_entries(
    content: Mapping[str, Any], pieces: Sequence[str], special: Collection[int], unknown: int | None
) -> dict[str, object]:
    """Returns the vocabulary by the names of llama.cpp.

    Args:
        content: the parsed tokenizer.json, which is `in_that_manner`.
        pieces: text of each token.
        special: ids of special tokens.
        unknown: the id of the unknown token; None where there is none.

    Raises:
        ExportError: llama.cpp would read other tokens.
    """
    space, found = _leading_space(content), found_in_texts(content)
    order = _order(content["model"]["merges"])
    # Runs of spaces, which Gemma adds too; llama.cpp spells the sign as a space in plain ones.
    found -= {text for text in found if SPACE_MARK in text and text in order}
    if space and found:
        raise ExportError(
            f"tokenizer.json has the added token {min(found)!r} and puts a space before texts;"
            " llama.cpp would put one after that token too"
        )
    _check_merges(content["model"]["merges"], order, {*pieces} - found - {*_BYTES})
    types = []
    for id, piece in enumerate(pieces):
        plain = BYTE if piece in _BYTES else USER_DEFINED if piece in found else NORMAL
        types.append(UNKNOWN if id == unknown else CONTROL if id in special else plain)
    return {
        "model": "llama",
        "pre": "default",
        "tokens": list(pieces),
        "scores": [-float(order.get(piece, 0)) for piece in pieces],
        "token_type": types,
        "add_space_prefix": space,
    }


def model_entries(
    proto: "ModelProto", special: Collection[int], leading_space: bool
) -> dict[str, object]:
    """Returns the vocabulary of a SentencePiece model by the names of llama.cpp.

    Args:
        proto: the model.
        special: ids of special tokens.
        leading_space: whether the first word of a text is read with a space before it.

    Raises:
        ExportError: it is not of byte-pair encoding, or llama.cpp would read other tokens.
    """
    kinds = proto.SentencePiece
    if proto.trainer_spec.model_type != proto.trainer_spec.BPE:
        raise ExportError(
            "llama.cpp has no SentencePiece unigram that spells unknown characters in bytes:"
            " prepare the data with --sentencepiece-model bpe, or export with --format tflite"
        )
    tokens, types = [], []
    for id, piece in enumerate(proto.pieces):
        text, kind = piece.piece, int(piece.type)
        if kind == kinds.USER_DEFINED:
            # llama.cpp looks for such a token before spaces become the sign, and SentencePiece
            # after it, where none is left.
            kind = CONTROL if id in special else UNUSED if " " in text else kind
            text = text.replace(SPACE_MARK, " ") if kind == USER_DEFINED else text
        tokens.append(text)
        types.append(kind)
    found = [text for text, kind in zip(tokens, types, strict=True) if kind == USER_DEFINED]
    check_apart(found)
    if leading_space and found:
        raise ExportError(
            f"the SentencePiece model finds {found[0]!r} in any text and puts a space before texts;"
            " llama.cpp would put one after that token too"
        )
    return {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": [piece.score for piece in proto.pieces],
        "token_type": types,
        "add_space_prefix": leading_space,
    }


def _leading_space(content: Mapping[str, Any]) -> bool:
    """Returns whether the first word of a text is read with a space before it.

    Raises:
        ExportError: a text is changed or cut in a way that llama.cpp does not have.
    """
    model = content["model"]
    steps = parts_of(content.get("normalizer"), "normalizers")
    cuts = parts_of(content.get("pre_tokenizer"), "pretokenizers")
    others = ("ignore_merges", "continuing_subword_prefix", "end_of_word_suffix")
    if other := [name for name in others if model.get(name)]:
        raise ExportError(f"tokenizer.json has {other[0]}, which llama.cpp does not apply")
    if steps in ([_SPACE_TO_MARK], [_PREPEND, _SPACE_TO_MARK]):
        # Where no space is left, none is cut at.
        if all(cut["type"] == "Split" and cut["pattern"] == {"String": " "} for cut in cuts):
            return len(steps) == 2
    elif not steps and [cut["type"] for cut in cuts] == ["Metaspace"]:
        cut = cuts[0]
        if cut.get("replacement") == SPACE_MARK and cut.get("split") is False:
            if cut.get("prepend_scheme") == "never":
                return False
            raise ExportError(
                "tokenizer.json puts a space before texts but for those that begin with one, and"
                " llama.cpp before all; --tokenizer-from takes the folder's tokenizer.model, by"
                " which SentencePiece does as llama.cpp"
            )
    raise ExportError(
        "tokenizer.json changes or cuts texts in another way than Llama 2, Mistral and Gemma do,"
        " which llama.cpp does not have"
    )


def _pairs(merges: Sequence[Any]) -> list[tuple[str, str]]:
    return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]


def _order(merges: Sequence[Any]) -> dict[str, int]:
    """Returns the tokens that merges make, in their order from 1 on.

    Raises:
        ExportError: the merges of two tokens stand mixed.
    """
    order: dict[str, int] = {}
    last = ""
    for first, second in _pairs(merges):
        token = first + second
        if token != last and token in order:
            raise ExportError(
                f"tokenizer.json makes {token!r} by several merges with those of another token"
                " between them; llama.cpp has one score for each token. --tokenizer-from takes"
                " the folder's tokenizer.model"
            )
        order.setdefault(token, len(order) + 1)
        last = token
    return order


def _check_merges(merges: Sequence[Any], order: Mapping[str, int], texts: Collection[str]) -> None:
    """Refuses a vocabulary of which llama.cpp would join pieces that no merge joins."""
    known = {*_pairs(merges)}
    for text in texts:
        for cut in range(1, len(text)):
            parts = text[:cut], text[cut:]
            if parts not in known and all(len(part) == 1 or part in order for part in parts):
                raise ExportError(
                    f"tokenizer.json has no merge of {parts[0]!r} and {parts[1]!r}, which llama.cpp"
                    f" would join to {text!r}; --tokenizer-from takes the folder's"
                    " tokenizer.model"
                )
