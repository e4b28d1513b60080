"""`TakenTokenizer`: a tokenizer of another library whose files stay as they were."""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.lost import difference_bits

_KEPT = "huggingface_"
"""Before the name of a file that was beside the model: ours has one of the same name."""


class TakenTokenizer(Tokenizer):
    """A tokenizer that somebody else made: one file that its library reads, and others beside it.

    Args:
        model: the content of the file.
        end_token: the token that follows every document, as the vocabulary spells it; None where
            the file itself says which.
        beside: further files to keep, such as `tokenizer_config.json`, by the names that they had.

    Attributes:
        model_file: the name of the file.
    """

    model_file: ClassVar[str]
    end_token: str
    _pieces: list[str]

    def __init__(
        self, model: bytes, end_token: str | None = None, beside: Mapping[str, bytes] | None = None
    ):
        self.model, self.beside = model, dict(beside or {})
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

    def decode(self, ids: Sequence[int]) -> str:
        silent = {*self.special_tokens.values()}
        kept = [int(id) for id in ids if int(id) not in silent]
        for id in kept:
            self.check_id(id)
        return self._decode(kept)

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        if self.lossless:
            return 0.0
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
        return {self.model_file: self.model, **kept}

    def given_files(self) -> dict[str, bytes]:
        return {self.model_file: self.model, **self.beside}

    @classmethod
    def from_files(cls, config: Mapping[str, object], files: dict[str, bytes]) -> Self:
        beside = {
            name.removeprefix(_KEPT): content
            for name, content in files.items()
            if name != cls.model_file
        }
        return cls(files[cls.model_file], str(config["end_token"]), beside)
