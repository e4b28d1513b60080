"""A SentencePiece model as `tokenizer.json`, which Hugging Face's library `tokenizers` reads.

As in transformers' own conversion a space is `SPACE_MARK`. Not as there, the texts of control and
byte pieces are no tokens: SentencePiece does not find them in a text either.
"""

import re
from typing import TYPE_CHECKING

from tfscale.errors import ExportError
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.sentencepiece_models import parse_model
from tfscale.text.tokenizers.spellings import SPACE_MARK

if TYPE_CHECKING:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

_NEVER = -1e5
"""Score of pieces that no text spells: below that of any way through the others."""


def as_tokenizer_json(model: bytes, leading_space: bool) -> bytes:
    """Returns the content of tokenizer.json, without marks of special tokens.

    Args:
        model: the serialized model, with byte fallback and without normalization.
        leading_space: whether the first word of a text is read with a space before it.

    Raises:
        ExportError: the model is neither one of unigram nor of byte-pair encoding.
    """
    library = import_tokenizers()
    proto = parse_model(model)
    kinds = {proto.trainer_spec.UNIGRAM: _unigram, proto.trainer_spec.BPE: _merges}
    kind = kinds.get(proto.trainer_spec.model_type)
    if kind is None:
        raise ExportError(
            "a SentencePiece model of words or of characters has no form of Hugging Face; unigram"
            " and byte-pair encoding have one"
        )
    ours = library.Tokenizer(kind(proto))
    normalizers = library.normalizers
    marks = [normalizers.Replace(" ", SPACE_MARK)]
    ours.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE_MARK), *marks] if leading_space else marks
    )
    if apart := _apart(proto):
        ours.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(apart), "isolated")
    decoders = library.decoders
    steps = [decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    if leading_space:
        steps.append(decoders.Strip(" ", 1, 0))
    ours.decoder = decoders.Sequence(steps)
    # Pieces that a text spells whatever stands around them.
    given = [piece.piece for piece in proto.pieces if piece.type == piece.USER_DEFINED]
    ours.add_tokens(
        [library.AddedToken(text, normalized=False) for text in given if SPACE_MARK not in text]
    )
    return ours.to_str().encode()


def _silent(proto: "ModelProto") -> list[str]:
    """Returns the pieces that SentencePiece does not find in a text."""
    kind = proto.SentencePiece
    silent = kind.CONTROL, kind.BYTE, kind.UNUSED, kind.UNKNOWN
    return [piece.piece for piece in proto.pieces if piece.type in silent]


def _apart(proto: "ModelProto") -> str:
    """Returns a regular expression of the characters that silent pieces alone have; "" for none.

    Beside an unknown character even a piece with the lowest score is the better way. Where such
    characters stand apart, no text spells the piece.
    """
    silent = set(_silent(proto))
    spelled = {char for piece in proto.pieces if piece.piece not in silent for char in piece.piece}
    apart = sorted({char for piece in silent for char in piece} - spelled)
    return f"[{''.join(map(re.escape, apart))}]" if apart else ""


def _unigram(proto: "ModelProto"):
    library = import_tokenizers()
    silent = set(_silent(proto))
    scored = [
        (piece.piece, _NEVER if piece.piece in silent else float(piece.score))
        for piece in proto.pieces
    ]
    unknown = proto.trainer_spec.unk_id
    return library.models.Unigram(scored, unk_id=unknown, byte_fallback=True)


def _merges(proto: "ModelProto"):
    """Returns byte-pair encoding that makes the better piece first, as SentencePiece does."""
    spelled = proto.SentencePiece.NORMAL, proto.SentencePiece.USER_DEFINED
    ids = {piece.piece: id for id, piece in enumerate(proto.pieces)}
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in spelled}
    merges = [
        (score, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    merges.sort(key=lambda merge: (-merge[0], ids[merge[1]], ids[merge[2]]))
    unknown = proto.pieces[proto.trainer_spec.unk_id].piece
    return import_tokenizers().models.BPE(
        vocab=ids,
        merges=[(first, second) for _, first, second in merges],
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=True,
    )
