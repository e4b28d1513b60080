"""SentencePiece (Kudo and Richardson 2018), set up so that every text comes back exactly."""

import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import LONG_TEXT, UNKNOWN_TEXT, Tokenizer, split_long
from tfscale.text.tokenizers.special import CHAT_MARK

SPACE_MARK = "\u2581"
"""How SentencePiece writes a space in its pieces; a text that holds the mark itself is spelt in
bytes there."""

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model with byte fallback and neither normalization nor a dummy prefix.

    Args:
        model: the serialized model (`tokenizer.model`), which any SentencePiece library can read.

    Raises:
        TokenizerError: the bytes are no SentencePiece model, or one that would not bring text back
            exactly.

    Example:
        tokenizer = train_tokenizer("sentencepiece", documents, 8192)
        tokenizer.decode(tokenizer.encode("naïve 🙂\\r\\n"))    # "naïve 🙂\\r\\n"
    """

    kind = "sentencepiece"
    lossless = True

    def __init__(self, model: bytes):
        try:
            import sentencepiece
        except ImportError as error:
            raise TokenizerError(
                "this tokenizer needs SentencePiece: pip install sentencepiece"
            ) from error
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise TokenizerError(
                f"tokenizer.model is not a SentencePiece model ({error})"
            ) from error
        self.vocabulary_size = self._processor.vocab_size()
        self.end_id = self._processor.eos_id()
        self.unknown_id = self._processor.unk_id()
        pieces = [self._processor.id_to_piece(id) for id in range(self.vocabulary_size)]
        self._bytes = [self._piece_bytes(id, piece) for id, piece in enumerate(pieces)]
        mark_pieces = [f"<0x{byte:02X}>" for byte in SPACE_MARK.encode()]
        if self.end_id < 0 or any(piece not in pieces for piece in mark_pieces):
            raise TokenizerError(
                "the SentencePiece model has no byte fallback or no end token </s>"
            )
        self._mark_ids = [self._processor.piece_to_id(piece) for piece in mark_pieces]

    def _piece_bytes(self, id: int, piece: str) -> bytes:
        if self._processor.is_byte(id):
            match = _BYTE_PIECE.fullmatch(piece)
            if match is None:
                raise TokenizerError(
                    f"the SentencePiece model has a byte that is spelt {piece!r}, not such as"
                    " <0x0A>"
                )
            return bytes((int(match[1], 16),))
        if id == self.unknown_id:
            return UNKNOWN_TEXT.encode()
        return piece.replace(SPACE_MARK, " ").encode()

    def _special_ids(self) -> Iterable[int]:
        return [id for id in range(self.vocabulary_size) if self._processor.is_control(id)]

    def encode_continued(self, text: str) -> list[int]:
        return self._encode_long([text])[0]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return self._encode_long(
            [self._lead(text) for text in texts] if self.special.leading_space else texts
        )

    def _encode_long(self, texts: list[str]) -> list[list[int]]:
        # The scores of unigram are summed over the text in float32: what came long before would
        # decide between almost equal pieces. Cut at fixed places, a long text has the same tokens
        # whoever cuts it.
        if not any(len(text) > LONG_TEXT for text in texts):
            return self._encode_batch(texts)
        parts = [list(split_long(text, LONG_TEXT)) for text in texts]
        encoded = iter(self._encode_batch([part for text_parts in parts for part in text_parts]))
        return [[id for _ in text_parts for id in next(encoded)] for text_parts in parts]

    def _encode_batch(self, texts: list[str]) -> list[list[int]]:
        marked = [number for number, text in enumerate(texts) if SPACE_MARK in text]
        if not marked:
            return self._processor.encode(texts, num_threads=1)
        result = self._processor.encode(
            [text if SPACE_MARK not in text else "" for text in texts], num_threads=1
        )
        for number in marked:
            ids: list[int] = []
            for part in self._processor.encode(texts[number].split(SPACE_MARK), num_threads=1):
                ids += self._mark_ids + part
            result[number] = ids[len(self._mark_ids) :]
        return result

    def encode_arrays(self, texts: list[str]) -> list[np.ndarray]:
        # Older versions of the library make lists only, which take a fifth of the time. The texts
        # are looked at all at once: a batch holds thousands of short ones.
        plain = hasattr(self._processor, "EncodeAsNumpy") and SPACE_MARK not in "".join(texts)
        plain = plain and not self.special.leading_space
        if not plain or max(map(len, texts), default=0) > LONG_TEXT:
            return super().encode_arrays(texts)
        return self._processor.encode(texts, num_threads=1, return_type="numpy")

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._processor.id_to_piece(id)

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        if previous is None and self.special.leading_space:
            return self._bytes[id].removeprefix(b" ")
        return self._bytes[id]

    def _files(self) -> dict[str, bytes]:
        return {"tokenizer.model": self.model}

    @classmethod
    def _from_files(
        cls, config: dict[str, Any], files: dict[str, bytes]
    ) -> "SentencePieceTokenizer":
        return cls(files["tokenizer.model"])


def keeping_text(model: bytes, special: Collection[str] = ()) -> bytes:
    """A SentencePiece model of somebody else's that reads text as it is.

    Most put a space before the first word (`SpecialTokens.leading_space` does it for them), and
    some join spaces or normalize characters: then a text would not come back. The pieces stay.
    Those of chat formats, which such models find in any text, become control pieces: a text spells
    them only where `encode` is asked to parse them.

    Args:
        model: the serialized model.
        special: pieces that are taken for those of a chat format, whatever they look like.

    Raises:
        TokenizerError: the bytes are no SentencePiece model.

    Example:
        SentencePieceTokenizer(keeping_text(pathlib.Path("llama/tokenizer.model").read_bytes()))
    """
    proto = parse_model(model)
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.precompiled_charsmap = b""
    for piece in proto.pieces:
        if piece.type == piece.USER_DEFINED and (
            piece.piece in special or CHAT_MARK.fullmatch(piece.piece)
        ):
            piece.type = piece.CONTROL
    return proto.SerializeToString(deterministic=True)


def parse_model(model: bytes) -> Any:
    """A serialized SentencePiece model as SentencePiece's `ModelProto`.

    Raises:
        TokenizerError: the bytes are no SentencePiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        return sentencepiece_model_pb2.ModelProto.FromString(model)
    except DecodeError as error:
        raise TokenizerError(f"not a SentencePiece model ({error})") from error
