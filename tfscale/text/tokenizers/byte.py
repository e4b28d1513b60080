"""Bytes as tokens: nothing to train, nothing unknown."""

from typing import Any

import numpy as np

from tfscale.text.tokenizers.base import Tokenizer


class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8, and the end token 256.

    Example:
        ByteTokenizer().encode("é")    # [195, 169]
    """

    kind = "byte"
    lossless = True
    vocabulary_size = 257
    end_id = 256
    unknown_id = None

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode("utf-8")) for text in texts]

    def encode_arrays(self, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) for text in texts]

    def piece(self, id: int) -> str:
        self.check_id(id)
        if id == self.end_id:
            return "</s>"
        return chr(id) if 0x20 < id < 0x7F else f"<0x{id:02X}>"

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        return bytes((id,))

    def _files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def _from_files(cls, config: dict[str, Any], files: dict[str, bytes]) -> "ByteTokenizer":
        return cls()
