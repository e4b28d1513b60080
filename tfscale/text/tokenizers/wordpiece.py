"""WordPiece (Schuster and Nakajima 2012; Wu et al. 2016) by Hugging Face's `tokenizers`, with white
space kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import UNKNOWN_TEXT
from tfscale.text.tokenizers.hugging_face import HuggingFaceTokenizer, import_tokenizers
from tfscale.text.tokenizers.lost import spelled_bits

UNKNOWN, END = "[UNK]", "</s>"
CONTINUATION = "##"
LONGEST_WORD = 64
"""Characters of one word at most; longer runs are cut, because matching takes quadratic time in a
word's length."""

# A word takes the space before it; punctuation stands alone, so that a literal "##" can't be read
# as a continuation.
WORDS = rf" ?\w{{1,{LONGEST_WORD}}}| ?[^\w\s]|\s{{1,{LONGEST_WORD}}}(?!\S)|\s{{1,{LONGEST_WORD}}}"


def untrained(vocabulary: dict[str, int]) -> Any:
    """A `tokenizers.Tokenizer` with our word pattern around a WordPiece vocabulary."""
    tokenizers = import_tokenizers()
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(
            vocab=vocabulary,
            unk_token=UNKNOWN,
            # One more for the space before the word.
            max_input_chars_per_word=LONGEST_WORD + 1,
            continuing_subword_prefix=CONTINUATION,
        )
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(WORDS), behavior="isolated"
    )
    return tokenizer


class WordPieceTokenizer(HuggingFaceTokenizer):
    """Longest match first within words; text comes back exactly if all of its characters are in the
    vocabulary.

    A word with a character outside the alphabet becomes the unknown token, U+FFFD when decoded.

    Args:
        model: the content of `tokenizer.json`, which Hugging Face's `tokenizers` can read.

    Raises:
        TokenizerError: `tokenizers` is not installed, or the content is not such a file.
    """

    kind = "wordpiece"
    lossless = False

    def __init__(self, model: bytes):
        super().__init__(model)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        if UNKNOWN not in vocabulary or END not in vocabulary:
            raise TokenizerError(f"tokenizer.json has no {UNKNOWN} or no {END} in its vocabulary")
        self.vocabulary_size = len(vocabulary)
        self.end_id = vocabulary[END]
        self.unknown_id = vocabulary[UNKNOWN]
        self._pieces = sorted(vocabulary, key=vocabulary.__getitem__)
        if sorted(vocabulary.values()) != list(range(self.vocabulary_size)):
            raise TokenizerError(
                f"the ids in tokenizer.json are not 0 to {self.vocabulary_size - 1}"
            )

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        if id == self.unknown_id:
            return UNKNOWN_TEXT.encode()
        return self._pieces[id].removeprefix(CONTINUATION).encode()

    def _lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        return spelled_bits(utf8_bytes - int(self._known_bytes[tokens].sum()), unknown)

    @classmethod
    def _from_files(cls, config: dict[str, Any], files: dict[str, bytes]) -> "WordPieceTokenizer":
        return cls(files["tokenizer.json"])
