"""Options of a tokenizer's training, and the error of a size that the text does not support."""

from dataclasses import dataclass

from tfscale.config import SentencePieceModel, WordSegmenter
from tfscale.errors import TokenizerError


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `tfscale prepare` that the training of a tokenizer may use.

    Attributes:
        seed: seed of random numbers.
        sentencepiece_model: SentencePiece's algorithm.
        word_segmenter: what finds the words of a word tokenizer.
    """

    seed: int = 0
    sentencepiece_model: SentencePieceModel = "unigram"
    word_segmenter: WordSegmenter = "none"


class SizeError(TokenizerError):
    """A vocabulary size that the text does not support, with the closest one that it does.

    Args:
        message: what is wrong.
        possible: the closest size, which `vocabulary_size=0` (automatic) tries next.
    """

    def __init__(self, message: str, possible: int):
        super().__init__(message)
        self.possible = possible

    @classmethod
    def too_large(cls, vocabulary_size: int, largest: int) -> "SizeError":
        """Returns the error of a size above the largest possible one."""
        return cls(
            f"vocabulary_size={vocabulary_size} is larger than the text supports; the largest"
            f" possible is {largest}",
            largest,
        )
