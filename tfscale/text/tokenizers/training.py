"""Trains tokenizers, each with the library that owns its algorithm.

The same text and seed give the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator

from tfscale.config import SentencePieceModel, WordSegmenter
from tfscale.errors import TokenizerError
from tfscale.registry import TOKENIZERS
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.cutting import split_long
from tfscale.text.tokenizers.training_options import SizeError, TrainingOptions

AUTOMATIC_SIZE = 8192
"""Entries of a vocabulary of size 0 (automatic), where the text supports as many."""
_AUTOMATIC_SHARE = 7 / 8
"""Else this part of what it supports: the last entries are pieces that the text has a few times."""

PIECE_CHARACTERS = 4000
"""Characters per training sentence: SentencePiece passes over sentences that are much longer."""


def train_tokenizer(
    kind: str,
    documents: Iterable[str],
    vocabulary_size: int,
    *,
    seed: int = 0,
    sentencepiece_model: SentencePieceModel = "unigram",
    word_segmenter: WordSegmenter = "none",
) -> Tokenizer:
    """Trains a tokenizer.

    Args:
        kind: "sentencepiece", "wordpiece", "word", "char", "byte" (which needs no text), or a kind
            that was registered.
        documents: texts; each is read once.
        vocabulary_size: entries, special ones included. Exact for sentencepiece and wordpiece, an
            upper bound for word and char, without effect for byte. 0 takes 8,192, or what the text
            supports.
        seed: seed of SentencePiece's random numbers. The others draw none.
        sentencepiece_model: SentencePiece's algorithm, "unigram" or "bpe".
        word_segmenter: what finds the words of a word tokenizer: "none" (white space) or "jieba".

    Returns:
        The tokenizer.

    Raises:
        TokenizerError: there is no text, or it does not support that vocabulary; the message names
            the size that it does. Or the kind is unknown, or cannot be trained.

    Example:
        train_tokenizer("sentencepiece", ["to be or not to be"] * 100, 280).encode("to be")
    """
    trained = trainable_kind(kind)
    options = TrainingOptions(seed, sentencepiece_model, word_segmenter)
    trained.check_training(options)
    if vocabulary_size or not trained.reads_text:
        return trained.train(documents, vocabulary_size, options)
    texts = list(documents)
    return _of_fitting_size(lambda size: trained.train(texts, size, options))


def trainable_kind(name: str) -> type[Tokenizer]:
    """Returns the class of a kind of tokenizers that can be trained.

    Raises:
        TokenizerError: there is no such kind, or it cannot be trained.
    """
    if name in TOKENIZERS and (kind := TOKENIZERS.get(name)).trainable:
        return kind
    trainable = [kind.kind for kind in TOKENIZERS if kind.trainable]
    raise TokenizerError(f"unknown tokenizer {name!r}; expected one of {', '.join(trainable)}")


def _of_fitting_size(train: Callable[[int], Tokenizer]) -> Tokenizer:
    try:
        return train(AUTOMATIC_SIZE)
    except SizeError as error:
        size = error.possible
    if size > AUTOMATIC_SIZE:  # A text of so many different characters.
        return train(size)
    try:
        return train(int(_AUTOMATIC_SHARE * size))
    except SizeError as error:
        return train(error.possible)


def training_sentences(documents: Iterable[str]) -> Iterator[str]:
    """Cuts documents into pieces of about `PIECE_CHARACTERS` characters, between words if it can.

    Example:
        list(training_sentences(["to be or not to be"]))    # ["to be or not to be"]
    """
    for document in documents:
        for part in split_long(document, PIECE_CHARACTERS):
            for start in range(0, len(part), 2 * PIECE_CHARACTERS):
                yield part[start : start + 2 * PIECE_CHARACTERS]
