"""Characters (Unicode code points) as tokens."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfscale.registry import register
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.lost import spelled_bits
from tfscale.text.tokenizers.training_options import TrainingOptions
from tfscale.text.tokenizers.vocabulary import (
    UNKNOWN_TEXT,
    most_frequent,
    read_vocabulary,
    special_first,
    vocabulary_files,
)


@register
class CharacterTokenizer(Tokenizer):
    """The code points of the training text, most frequent first.

    Others become the unknown token, U+FFFD when decoded.

    Args:
        characters: the vocabulary without the two special entries, `<unk>` (0) and `</s>` (1).

    Example:
        CharacterTokenizer("ab").encode("abc")    # [2, 3, 0]
    """

    kind = "char"
    lossless = False
    trainable = True
    on_page = True

    def __init__(self, characters: Sequence[str]):
        self.characters = list(characters)
        self.unknown_id, self.end_id = 0, 1
        self.vocabulary_size = len(self.characters) + 2
        # "<unk>" and "</s>" are not single characters, so that no text can spell them.
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

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        return spelled_bits(utf8_bytes - int(self.known_bytes[tokens].sum()))

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "CharacterTokenizer":
        return cls(most_frequent(documents, vocabulary_size - 2, cls.kind))

    def page_vocabulary(self) -> dict[str, object]:
        return super().page_vocabulary() | {"pieces": self._pieces}

    def tokenizer_json(self) -> bytes:
        library = import_tokenizers()
        ours = library.Tokenizer(library.models.WordLevel(vocab=self._ids, unk_token="<unk>"))
        every = library.Regex(r"[\s\S]")
        ours.pre_tokenizer = library.pre_tokenizers.Split(every, behavior="isolated")
        ours.decoder = library.decoders.Fuse()
        return ours.to_str().encode()

    def files(self) -> dict[str, bytes]:
        return vocabulary_files(self.characters)

    @classmethod
    def from_files(
        cls, config: Mapping[str, object], files: dict[str, bytes]
    ) -> "CharacterTokenizer":
        return cls(read_vocabulary(files))
