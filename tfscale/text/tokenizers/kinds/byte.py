"""Bytes as tokens: nothing to train, nothing unknown."""

from collections.abc import Iterable, Mapping

import numpy as np

from tfscale.registry import register
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.hugging_face import byte_characters, import_tokenizers
from tfscale.text.tokenizers.training_options import TrainingOptions


@register
class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8, and the end token 256.

    Example:
        ByteTokenizer().encode("é")    # [195, 169]
    """

    kind = "byte"
    lossless = True
    trainable = True
    reads_text = False
    bundled_as = "hugging_face"
    on_page = True
    vocabulary_size = 257
    end_id = 256
    unknown_id = None

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode("utf-8")) for text in texts]

    def encode_joined(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        encoded = [text.encode("utf-8") for text in texts]
        ids = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int32)
        return ids, np.fromiter(map(len, encoded), np.int64, len(encoded))

    def piece(self, id: int) -> str:
        self.check_id(id)
        if id == self.end_id:
            return "</s>"
        return chr(id) if 0x20 < id < 0x7F else f"<0x{id:02X}>"

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        return bytes((id,))

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "ByteTokenizer":
        return cls()

    def bundle_file(self) -> bytes:
        library = import_tokenizers()
        vocabulary = {character: byte for byte, character in byte_characters()}
        bytewise = library.Tokenizer(
            library.models.BPE(vocab=vocabulary | {"</s>": self.end_id}, merges=[])
        )
        bytewise.pre_tokenizer = library.pre_tokenizers.ByteLevel(
            add_prefix_space=False, use_regex=False
        )
        bytewise.decoder = library.decoders.ByteLevel()
        bytewise.add_special_tokens([library.AddedToken("</s>", special=True)])
        return bytewise.to_str().encode()

    def tokenizer_json(self) -> bytes:
        return self.bundle_file()

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def from_files(cls, config: Mapping[str, object], files: dict[str, bytes]) -> "ByteTokenizer":
        return cls()
