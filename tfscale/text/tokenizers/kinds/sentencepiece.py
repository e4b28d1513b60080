"""SentencePiece (Kudo and Richardson 2018), set up so that every text comes back exactly."""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Self

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.cutting import LONG_TEXT, split_long
from tfscale.text.tokenizers.gguf_pieces import model_entries
from tfscale.text.tokenizers.joining import joined_ids
from tfscale.text.tokenizers.sentencepiece_json import as_tokenizer_json
from tfscale.text.tokenizers.sentencepiece_models import keeping_text, parse_model, train_model
from tfscale.text.tokenizers.special import CHAT_MARK
from tfscale.text.tokenizers.spellings import BYTE_PIECE, SPACE_MARK
from tfscale.text.tokenizers.training_options import TrainingOptions
from tfscale.text.tokenizers.vocabulary import UNKNOWN_TEXT

_ARRAY_FROM = 200
"""Characters of a text from which the library's arrays are faster than its lists: an array takes
more than a microsecond, a list some 30 ns for each token."""


@register
class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model with byte fallback and neither normalization nor a dummy prefix.

    A text that holds `SPACE_MARK` itself is spelled in bytes there.

    Args:
        model: the serialized model (`tokenizer.model`), which any SentencePiece library can read.

    Raises:
        TokenizerError: the bytes are not a SentencePiece model, or are one that would not bring
            text back exactly.

    Example:
        tokenizer = train_tokenizer("sentencepiece", documents, 8192)
        tokenizer.decode(tokenizer.encode("naïve 🙂\\r\\n"))    # "naïve 🙂\\r\\n"
    """

    kind = "sentencepiece"
    lossless = True
    trainable = True
    training_options = ("sentencepiece_model",)
    bundled_as = "sentencepiece"
    on_page = True

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
            match = BYTE_PIECE.fullmatch(piece)
            if match is None:
                raise TokenizerError(
                    f"the SentencePiece model has a byte that is spelt {piece!r}, not such as"
                    " <0x0A>"
                )
            return bytes((int(match[1], 16),))
        if id == self.unknown_id:
            return UNKNOWN_TEXT.encode()
        return piece.replace(SPACE_MARK, " ").encode()

    def special_ids(self) -> Iterable[int]:
        return [id for id in range(self.vocabulary_size) if self._processor.is_control(id)]

    def spelling_none(self, texts: Collection[str]) -> Self:
        model = keeping_text(self.model, texts)
        if model == keeping_text(self.model):
            return self
        other = type(self)(model).with_special(self.special)
        other.cleaner, other.original = self.cleaner, self.original
        return other

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

    def encode_joined(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        joined = "".join(texts)
        longest = max(map(len, texts), default=0)
        if self.special.leading_space or longest > LONG_TEXT or SPACE_MARK in joined:
            return super().encode_joined(texts)
        # Older versions of the library make lists only.
        has_arrays = hasattr(self._processor, "EncodeAsNumpy")
        if not has_arrays or len(joined) < _ARRAY_FROM * len(texts):
            return joined_ids(functools.partial(self._processor.encode, num_threads=1), texts)
        ids = self._processor.encode(texts, num_threads=1, return_type="numpy")
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.concatenate([np.empty(0, np.int32), *ids]), counts

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._processor.id_to_piece(id)

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        if previous is None and self.special.leading_space:
            return self._bytes[id].removeprefix(b" ")
        return self._bytes[id]

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "SentencePieceTokenizer":
        return cls(
            train_model(documents, vocabulary_size, options.seed, options.sentencepiece_model)
        )

    def removable(self, wanted: Iterable[int]) -> set[int]:
        model = parse_model(self.model)
        if model.trainer_spec.model_type != model.trainer_spec.UNIGRAM:
            raise TokenizerError(
                "only SentencePiece's unigram can be trimmed: BPE builds its pieces from shorter"
                " ones"
            )
        normal = [id for id, piece in enumerate(model.pieces) if piece.type == piece.NORMAL]
        # The score of unknown characters is counted from the lowest one.
        lowest = min(normal, key=lambda id: model.pieces[id].score)
        # Spelled in bytes, the sign for a space would come back as the sign.
        spaces = {id for id in normal if model.pieces[id].piece == SPACE_MARK}
        kept = {lowest, *spaces, self.start_id, *self.stop_ids}
        return set(normal) - set(map(int, wanted)) - kept

    def without(self, removed: set[int]) -> tuple["SentencePieceTokenizer", list[int]]:
        model = parse_model(self.model)
        kept = [id for id in range(len(model.pieces)) if id not in removed]
        pieces = [model.pieces[id] for id in kept]
        trimmed = type(model)()
        trimmed.CopyFrom(model)
        del trimmed.pieces[:]
        trimmed.pieces.extend(pieces)
        trimmed.trainer_spec.vocab_size = len(pieces)
        smaller = type(self)(trimmed.SerializeToString())
        smaller.cleaner = self.cleaner
        # The tokens that begin and end a text are never removable, and have new ids.
        new_id = {old: new for new, old in enumerate(kept)}
        start, stops = self.special.start_id, self.special.stop_ids
        special = dataclasses.replace(
            self.special,
            start_id=None if start is None else new_id[start],
            stop_ids=tuple(new_id[id] for id in stops),
        )
        return smaller.with_special(special), kept

    def bundle_file(self) -> bytes:
        """Returns the model as LiteRT-LM reads text with it.

        LiteRT-LM knows no option for special tokens, so that it finds those of chat formats
        wherever they are written, and adds the space before the first word by itself.
        """
        ends = {self.start_id, self.end_id}
        marks = [
            id
            for text, id in self.special_tokens.items()
            if id not in ends and (id in self.stop_ids or CHAT_MARK.fullmatch(text))
        ]
        if not marks and not self.special.leading_space:
            return self.model
        proto = parse_model(self.model)
        for id in marks:
            proto.pieces[id].type = proto.pieces[id].USER_DEFINED
        proto.normalizer_spec.add_dummy_prefix = self.special.leading_space
        return proto.SerializeToString(deterministic=True)

    def hub_assets(self) -> dict[str, object]:
        # keras-hub, too, knows no option for special tokens and adds the space by itself.
        return {"proto": self.bundle_file()}

    def gguf_vocabulary(self) -> dict[str, object]:
        special = {*self.special_tokens.values()}
        return model_entries(parse_model(self.model), special, self.special.leading_space)

    def tokenizer_json(self) -> bytes:
        return as_tokenizer_json(self.model, self.special.leading_space)

    def page_vocabulary(self) -> dict[str, object]:
        pieces = [self.piece(id) for id in range(self.vocabulary_size)]
        model = parse_model(self.model)
        types = [piece.type for piece in model.pieces]
        algorithms = {model.trainer_spec.UNIGRAM: "unigram", model.trainer_spec.BPE: "bpe"}
        return super().page_vocabulary() | {
            "kind": algorithms[model.trainer_spec.model_type],
            "pieces": pieces,
            "scores": [piece.score for piece in model.pieces],
            "leading_space": self.special.leading_space,
            "control_ids": np.flatnonzero(np.equal(types, model.SentencePiece.CONTROL)).tolist(),
            "user_defined_ids": np.flatnonzero(
                np.equal(types, model.SentencePiece.USER_DEFINED)
            ).tolist(),
            "byte_ids": [pieces.index(f"<0x{byte:02X}>") for byte in range(256)],
        }

    def files(self) -> dict[str, bytes]:
        return {"tokenizer.model": self.model}

    @classmethod
    def from_files(
        cls, config: Mapping[str, object], files: dict[str, bytes]
    ) -> "SentencePieceTokenizer":
        return cls(files["tokenizer.model"])
