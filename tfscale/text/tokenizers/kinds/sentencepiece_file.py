"""A SentencePiece model that somebody else trained, as it is."""

import copy
import functools
from collections.abc import Iterable
from typing import Any

from tfscale.errors import ExportError, TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.gguf_pieces import model_entries
from tfscale.text.tokenizers.sentencepiece_models import parse_model
from tfscale.text.tokenizers.special import CHAT_MARK
from tfscale.text.tokenizers.spellings import SPACE_MARK
from tfscale.text.tokenizers.taken import TakenTokenizer

_HEAD = 64
"""Characters of a text that show whether it begins with a space when it is normalized."""


@register
class SentencePieceFile(TakenTokenizer):
    """A SentencePiece model with its own normalization, read by the library `sentencepiece`.

    Ids are those of the library: with the space that the model puts before a text, and without the
    characters that it normalizes. One thing differs: pieces that begin or end a text, and those of
    chat formats, such as `<end_of_turn>`, are spelled by no text unless `encode` is asked to parse
    them, even if the library finds them in any text. The file stays as it was.

    Args:
        model: the serialized model.
        end_token: the piece that follows every document; None for the model's own.
        name: what the file was called.

    Raises:
        TokenizerError: `sentencepiece` is not installed, the bytes are not a whole model, or it has
            no end token.
    """

    kind = "sentencepiece_file"
    lossless = False
    bundled_as = "sentencepiece"
    model_files = ("tokenizer.model", "spiece.model")
    made_of_barred = ("_reader", "_continuing", "_after_space", "_exact")

    def _read(self, end_token: str | None) -> None:
        self._proto = parse_model(self.model)
        proto = self._proto
        if not (proto.pieces and proto.HasField("trainer_spec")) or not proto.HasField(
            "normalizer_spec"
        ):
            raise TokenizerError(
                f"the SentencePiece model is cut off or empty: it has {len(proto.pieces)} pieces,"
                " and not the options that stand after them"
            )
        self._processor = _loaded(proto)
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
        self.trims_start = spec.remove_extra_whitespaces
        # Both are what the library goes by.
        self._takes_space = spec.add_dummy_prefix or spec.remove_extra_whitespaces

    def id_of(self, text: str) -> int:
        if text not in self._pieces:
            raise TokenizerError(f"the SentencePiece model has no piece {text!r}")
        return self._pieces.index(text)

    def special_ids(self) -> Iterable[int]:
        return [
            id
            for id, piece in enumerate(self._proto.pieces)
            if piece.type == piece.CONTROL
            or (piece.type == piece.USER_DEFINED and CHAT_MARK.fullmatch(piece.piece))
        ]

    @functools.cached_property
    def _reader(self) -> Any:
        """The same model, in which no text spells a special token."""
        return self._for_texts()

    @functools.cached_property
    def _continuing(self) -> Any:
        """The reader of a text that follows another one: it puts no space before it."""
        return self._for_texts(add_dummy_prefix=False)

    @functools.cached_property
    def _after_space(self) -> Any:
        """The reader of a text that follows another one and begins with spaces: one of them stays
        where the model joins spaces."""
        return self._for_texts(add_dummy_prefix=True)

    @functools.cached_property
    def _exact(self) -> Any:
        """The reader that leaves all spaces, and adds none."""
        return self._for_texts(add_dummy_prefix=False, remove_extra_whitespaces=False)

    def _for_texts(self, **spaces: bool) -> Any:
        """Returns a reader of texts, with other options of the model for spaces."""
        changed = copy.deepcopy(self._proto)
        for id in self.barred:
            piece = changed.pieces[id]
            if piece.type in (piece.NORMAL, piece.USER_DEFINED):
                piece.type = piece.CONTROL
        for name, value in spaces.items():
            setattr(changed.normalizer_spec, name, value)
        return _loaded(changed)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._reader.encode(texts, num_threads=1)
        return ids

    def encode_continued(self, text: str) -> list[int]:
        reader = self._continuing
        if self.trims_start and self._exact.normalize(text[:_HEAD]).startswith((SPACE_MARK, " ")):
            reader = self._after_space
        ids: list[int] = reader.encode(text)
        return ids

    def _decode(self, ids: list[int]) -> str:
        text: str = self._processor.decode(ids)
        return text

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        piece = self._pieces[id]
        if self._processor.is_byte(id):
            return bytes((int(piece[3:5], 16),))
        if id == self.unknown_id:
            return str(self._proto.trainer_spec.unk_surface).encode()
        if previous is None and self._takes_space:
            piece = piece.removeprefix(SPACE_MARK)
        return piece.replace(SPACE_MARK, " ").encode()

    def gguf_vocabulary(self) -> dict[str, object]:
        spec = self._proto.normalizer_spec
        if (
            spec.precompiled_charsmap
            or spec.remove_extra_whitespaces
            or not spec.escape_whitespaces
        ):
            raise ExportError(
                f"the SentencePiece model changes texts ({spec.name}) before it cuts them, which"
                " llama.cpp does not"
            )
        if not self._proto.trainer_spec.byte_fallback:
            raise ExportError(
                "the SentencePiece model has no token for each byte, by which llama.cpp spells"
                " what is not in the vocabulary"
            )
        special = {*self.special_tokens.values()}
        return model_entries(self._proto, special, spec.add_dummy_prefix)


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
