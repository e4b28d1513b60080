"""Characters (Unicode code points) as tokens."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfscale.text.tokenizers.base import UNKNOWN_TEXT, Tokenizer, read_vocabulary, special_first
from tfscale.text.tokenizers.lost import spelled_bits


class CharacterTokenizer(Tokenizer):
    """The code points of the training text, most frequent first; others become the unknown token,
    U+FFFD when decoded.

    Args:
        characters: the vocabulary without the two special entries, `<unk>` (0) and `</s>` (1).

    Example:
        CharacterTokenizer("ab").encode("abc")    # [2, 3, 0]
    """

    kind = "char"
    lossless = False

    def __init__(self, characters: Sequence[str]):
        self.characters = list(characters)
        self.unknown_id, self.end_id = 0, 1
        self.vocabulary_size = len(self.characters) + 2
        # "<unk>" and "</s>" are no single characters, so that no text can spell them.
        self._ids = special_first(("<unk>", "</s>"), self.characters)
        self._pieces = list(self._ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        ids = self._ids
        return [[ids.get(character, 0) for character in text] for text in texts]

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        return (UNKNOWN_TEXT if id == self.unknown_id else self._pieces[id]).encode()

    def _lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        return spelled_bits(utf8_bytes - int(self._known_bytes[tokens].sum()))

    def _files(self) -> dict[str, bytes]:
        return {
            "vocabulary.json": json.dumps(self.characters, ensure_ascii=False, indent=0).encode()
        }

    @classmethod
    def _from_files(cls, config: dict[str, Any], files: dict[str, bytes]) -> "CharacterTokenizer":
        return cls(read_vocabulary(files["vocabulary.json"]))
