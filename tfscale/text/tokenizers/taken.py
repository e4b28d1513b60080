"""`TakenTokenizer`: a tokenizer of another library whose files stay as they were."""

import abc
import functools
from collections.abc import Container, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.lost import difference_bits, utf8_length
from tfscale.text.tokenizers.special import SpecialTokens, split_at_special
from tfscale.text.tokenizers.streaming import StreamDecoder


class TakenTokenizer(Tokenizer):
    """A tokenizer that somebody else made: one file that its library reads.

    Files that lay beside it, such as `tokenizer_config.json`, are in `original`.

    Args:
        model: the content of the file.
        end_token: the token that follows every document, as the vocabulary spells it; None where
            the file itself says which.
        name: what the file was called; None, or a name that is none of `model_files`, for the
            first of them.

    Attributes:
        model_files: names of such a file; the first is that in our folders.
    """

    model_files: ClassVar[tuple[str, ...]]
    made_of_barred: ClassVar[tuple[str, ...]] = ()
    """Cached properties that go by `barred`."""
    end_token: str
    _pieces: list[str]

    def __init__(self, model: bytes, end_token: str | None = None, name: str | None = None):
        self.model = model
        self._name = name if name in self.model_files else self.model_files[0]
        self._read(end_token)

    @abc.abstractmethod
    def _read(self, end_token: str | None) -> None:
        """Reads the file.

        Raises:
            TokenizerError: the library is not installed, the content is not such a file, or it has
                no end token.
        """

    @abc.abstractmethod
    def id_of(self, text: str) -> int:
        """Returns the id of a token by its text.

        Raises:
            TokenizerError: there is none.
        """

    @abc.abstractmethod
    def _decode(self, ids: list[int]) -> str:
        """Returns the text of ids that are in the vocabulary and no special tokens."""

    @functools.cached_property
    def barred(self) -> frozenset[int]:
        """Ids that no text has: those of special tokens, but for the unknown one."""
        return frozenset({*self.special_tokens.values()} - {self.unknown_id})

    def with_special(self, special: SpecialTokens) -> Self:
        other = super().with_special(special)
        for cached in ("barred", *self.made_of_barred):
            other.__dict__.pop(cached, None)
        return other

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
        return self._decode(kept)

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def measured(
        self, texts: Sequence[str], tokens: np.ndarray, continued: Container[int] = ()
    ) -> tuple[int, int, float]:
        unknown = 0 if self.unknown_id is None else int(np.count_nonzero(tokens == self.unknown_id))
        if self.lossless:
            return utf8_length(texts), unknown, 0.0
        begun = self.encode_batch([t for number, t in enumerate(texts) if number not in continued])
        of_begun = map(self.decode, begun)
        lost = sum(
            difference_bits(text, self._rest(text) if number in continued else next(of_begun))
            for number, text in enumerate(texts)
        )
        return utf8_length(texts), unknown, lost

    def _rest(self, text: str) -> str:
        """Returns what the tokens of a text say that goes on with a document."""
        decoder = StreamDecoder(self, previous=self.end_id)
        return "".join(map(decoder.push, self.encode_continued(text))) + decoder.flush()

    def bundle_file(self) -> bytes:
        return self.model

    def to_config(self) -> dict[str, object]:
        named: dict[str, object] = {"end_token": self.end_token}
        named["special_tokens"] = self.special_tokens
        if self._name != self.model_files[0]:
            named["original_name"] = self._name
        return super().to_config() | named

    def files(self) -> dict[str, bytes]:
        return {self.model_files[0]: self.model}

    def given_files(self) -> dict[str, bytes]:
        return {self._name: self.model, **self.original}

    @classmethod
    def from_files(cls, config: Mapping[str, object], files: dict[str, bytes]) -> Self:
        name = str(config.get("original_name", ""))
        return cls(files[cls.model_files[0]], str(config["end_token"]), name)
