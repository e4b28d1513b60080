"""A SentencePiece model that somebody else trained, as it is."""

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.lost import difference_bits
from tfscale.text.tokenizers.sentencepiece_models import SPACE_MARK, parse_model
from tfscale.text.tokenizers.special import CHAT_MARK, split_at_special

MODEL_FILE = "tokenizer.model"
_KEPT = "huggingface_"
"""Before the name of a file that was beside the model: ours has one of the same name."""


@register
class SentencePieceFile(Tokenizer):
    """A SentencePiece model with its own normalization, read by the library `sentencepiece`.

    Ids are those of the library: with the space that the model puts before a text, and without the
    characters that it normalizes. One thing differs: pieces of chat formats, such as
    `<end_of_turn>`, which the library finds in any text, are spelled by no text unless `encode` is
    asked to parse them. The file stays as it was.

    Args:
        model: the serialized model.
        end_token: the piece that follows every document; None for the model's own.
        beside: further files to keep, such as `tokenizer_config.json`, by the names that they had.

    Raises:
        TokenizerError: `sentencepiece` is not installed, the bytes are not a whole model, or it has
            no end token.
    """

    kind = "sentencepiece_file"
    lossless = False
    bundled_as = "sentencepiece"

    def __init__(
        self,
        model: bytes,
        end_token: str | None = None,
        beside: Mapping[str, bytes] | None = None,
    ):
        self.model, self.beside = model, dict(beside or {})
        self._proto = parse_model(model)
        proto = self._proto
        if not (proto.pieces and proto.HasField("trainer_spec")) or not proto.HasField(
            "normalizer_spec"
        ):
            raise TokenizerError(
                f"the SentencePiece model is cut off or empty: it has {len(proto.pieces)} pieces,"
                " and not the options that stand after them"
            )
        self._processor = _loaded(_without_chat_marks(proto))
        self.vocabulary_size = self._processor.vocab_size()
        self._pieces = [piece.piece for piece in proto.pieces]
        own = self._processor.eos_id()
        if end_token is None and own < 0:
            raise TokenizerError(
                "the SentencePiece model has no end token; put a tokenizer_config.json with"
                ' "eos_token" beside it'
            )
        self.end_id = own if end_token is None else self.id_of(end_token)
        self.end_token = self._pieces[self.end_id]
        self.unknown_id = self._processor.unk_id()
        start = self._processor.bos_id()
        self.own_start_id = None if start < 0 else start
        spec = proto.normalizer_spec
        self._adds_space = spec.add_dummy_prefix
        # Both are what the library goes by.
        self._takes_space = spec.add_dummy_prefix or spec.remove_extra_whitespaces
        self._all_spaces = spec.remove_extra_whitespaces

    def id_of(self, text: str) -> int:
        """Returns the id of a token by its text.

        Raises:
            TokenizerError: there is none.
        """
        if text not in self._pieces:
            raise TokenizerError(f"the SentencePiece model has no piece {text!r}")
        return self._pieces.index(text)

    def special_ids(self) -> Iterable[int]:
        return [id for id in range(self.vocabulary_size) if self._processor.is_control(id)]

    @functools.cached_property
    def _continuing(self) -> Any:
        """The same model, which neither puts a space before a text nor takes spaces from it."""
        if not self._takes_space:
            return self._processor
        proto = _without_chat_marks(self._proto)
        proto.normalizer_spec.add_dummy_prefix = False
        proto.normalizer_spec.remove_extra_whitespaces = False
        return _loaded(proto)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._processor.encode(texts, num_threads=1)
        return ids

    def encode_continued(self, text: str) -> list[int]:
        ids: list[int] = self._continuing.encode(text)
        return ids

    def _parse(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate(split_at_special(text, self.special_tokens)):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self.encode_continued(part) if number else self.encode_batch([part])[0]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        silent = {*self.special_tokens.values()}
        kept = [int(id) for id in ids if int(id) not in silent]
        for id in kept:
            self.check_id(id)
        text: str = self._processor.decode(kept)
        return text

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        piece = self._pieces[id]
        if self._processor.is_byte(id):
            return bytes((int(piece[3:5], 16),))
        if id == self.unknown_id:
            return str(self._proto.trainer_spec.unk_surface).encode()
        if previous is None and self._takes_space:
            piece = piece.removeprefix(SPACE_MARK)
        return piece.replace(SPACE_MARK, " ").encode()

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        encoded = self.encode_batch(list(texts))
        return sum(
            difference_bits(text, self.decode(ids))
            for text, ids in zip(texts, encoded, strict=True)
        )

    def bundle_file(self) -> bytes:
        return self.model

    def to_config(self) -> dict[str, object]:
        named = {"end_token": self.end_token, "special_tokens": self.special_tokens}
        return super().to_config() | named

    def files(self) -> dict[str, bytes]:
        kept = {_KEPT + name: content for name, content in self.beside.items()}
        return {MODEL_FILE: self.model, **kept}

    def given_files(self) -> dict[str, bytes]:
        return {MODEL_FILE: self.model, **self.beside}

    @classmethod
    def from_files(
        cls, config: Mapping[str, object], files: dict[str, bytes]
    ) -> "SentencePieceFile":
        beside = {
            name.removeprefix(_KEPT): content
            for name, content in files.items()
            if name != MODEL_FILE
        }
        return cls(files[MODEL_FILE], str(config["end_token"]), beside)


def _without_chat_marks(proto: Any) -> Any:
    """Returns the model with the pieces of chat formats as control pieces, which no text spells."""
    changed = copy.deepcopy(proto)
    for piece in changed.pieces:
        if piece.type == piece.USER_DEFINED and CHAT_MARK.fullmatch(piece.piece):
            piece.type = piece.CONTROL
    return changed


def _loaded(proto: Any) -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise TokenizerError(
            "this tokenizer needs SentencePiece: pip install sentencepiece"
        ) from error
    try:
        return sentencepiece.SentencePieceProcessor(
            model_proto=proto.SerializeToString(deterministic=True)
        )
    except RuntimeError as error:
        raise TokenizerError(f"the file is not a SentencePiece model ({error})") from error
