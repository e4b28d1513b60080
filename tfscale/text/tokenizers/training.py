"""Trains tokenizers, each with the library that owns its algorithm; the same text and seed give the
same bytes."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from tfscale.config import TokenizerKind, WordSegmenter
from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import Tokenizer, split_long
from tfscale.text.tokenizers.byte import ByteTokenizer
from tfscale.text.tokenizers.character import CharacterTokenizer
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.sentencepiece_tokenizer import SPACE_MARK, SentencePieceTokenizer
from tfscale.text.tokenizers.word import WordTokenizer, split_words
from tfscale.text.tokenizers.wordpiece import (
    CONTINUATION,
    END,
    UNKNOWN,
    WordPieceTokenizer,
    untrained,
)

AUTOMATIC_SIZE = 8192
"""Entries of a vocabulary of size 0 (automatic), where the text supports as many."""
_AUTOMATIC_SHARE = 7 / 8
"""Else this part of what it supports: the last entries are pieces that the text has a few times."""

PIECE_CHARACTERS = 4000
"""Characters per training sentence: SentencePiece passes over sentences that are much longer."""

_WORDPIECE_COVERAGE = 0.9999
"""Share of the training text's characters that a WordPiece alphabet holds; the rest are unknown."""

# Fixed, because the sums of unigram training are grouped by thread: the model must not depend on
# the machine's cores.
_TRAINING_THREADS = 4

# NUL separates sentences inside unigram training, U+2585 stands for unknown characters (a sentence
# with it would be passed over), and U+2581 for the space. All three are encoded by their bytes.
_RESERVED = str.maketrans({"\0": " ", "\u2585": " ", SPACE_MARK: " "})


def train_tokenizer(
    kind: TokenizerKind,
    documents: Iterable[str],
    vocabulary_size: int,
    *,
    seed: int = 0,
    sentencepiece_model: Literal["unigram", "bpe"] = "unigram",
    word_segmenter: WordSegmenter = "none",
) -> Tokenizer:
    """Trains a tokenizer.

    Args:
        kind: "sentencepiece", "wordpiece", "word", "char" or "byte" (which needs no text).
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
            the size that it does.

    Example:
        train_tokenizer("sentencepiece", ["to be or not to be"] * 100, 280).encode("to be")
    """
    if kind == "byte":
        return ByteTokenizer()
    if not vocabulary_size:
        texts = list(documents)
        return _of_fitting_size(
            lambda size: train_tokenizer(
                kind,
                texts,
                size,
                seed=seed,
                sentencepiece_model=sentencepiece_model,
                word_segmenter=word_segmenter,
            )
        )
    if kind == "sentencepiece":
        return _train_sentencepiece(documents, vocabulary_size, seed, sentencepiece_model)
    if kind == "wordpiece":
        return _train_wordpiece(documents, vocabulary_size)
    if kind == "word":
        lines = (line for text in documents for line in text.split("\n"))
        words = (split_words(line, word_segmenter) for line in lines)
        return WordTokenizer(_most_frequent(words, vocabulary_size - 3, "word"), word_segmenter)
    if kind == "char":
        return CharacterTokenizer(_most_frequent(documents, vocabulary_size - 2, "char"))
    raise TokenizerError(
        f"unknown tokenizer {kind!r}; expected sentencepiece, wordpiece, word, char or byte"
    )


class _SizeError(TokenizerError):
    """A vocabulary size that the text does not support, with the closest one that it does."""

    def __init__(self, message: str, possible: int):
        super().__init__(message)
        self.possible = possible


def _of_fitting_size(train: Callable[[int], Tokenizer]) -> Tokenizer:
    try:
        return train(AUTOMATIC_SIZE)
    except _SizeError as error:
        size = error.possible
    if size > AUTOMATIC_SIZE:  # A text of so many different characters.
        return train(size)
    try:
        return train(int(_AUTOMATIC_SHARE * size))
    except _SizeError as error:
        return train(error.possible)


def _most_frequent(texts: Iterable[Iterable[str]], count: int, kind: str) -> list[str]:
    counter: Counter[str] = Counter()
    for text in texts:
        counter.update(text)
    for special in ("<unk>", "</s>", "<eos>"):
        counter.pop(special, None)
    if not counter:
        raise TokenizerError(f"a {kind} tokenizer cannot be trained on empty text")
    if count < 1:
        raise TokenizerError(
            f"the vocabulary of a {kind} tokenizer is too small for a single entry beside its"
            " special ones"
        )
    return [
        entry for entry, _ in sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:count]
    ]


def _pieces(documents: Iterable[str]) -> Iterator[str]:
    for document in documents:
        for part in split_long(document, PIECE_CHARACTERS):
            for start in range(0, len(part), 2 * PIECE_CHARACTERS):
                yield part[start : start + 2 * PIECE_CHARACTERS]


def _train_sentencepiece(
    documents: Iterable[str], vocabulary_size: int, seed: int, model_type: Literal["unigram", "bpe"]
) -> SentencePieceTokenizer:
    import sentencepiece

    pieces = (piece.translate(_RESERVED) for piece in _pieces(documents))
    pieces = (piece for piece in pieces if piece.strip())
    first = next(pieces, None)
    if first is None:
        raise TokenizerError("a sentencepiece tokenizer cannot be trained on empty text")

    stopped: list[BaseException] = []

    def sentences() -> Iterator[str]:
        try:
            yield first
            yield from pieces
        except BaseException as error:
            stopped.append(error)
            raise

    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocabulary_size,
            byte_fallback=True,
            # Text must come back exactly: no normalization, no space added in front, none removed.
            # Runs of blanks and line ends become pieces, which is what indentation is made of.
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=16 * PIECE_CHARACTERS,
            num_threads=_TRAINING_THREADS,
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if (
            stopped
        ):  # The library takes what ends its input, such as Ctrl-C, for a failure of its own.
            raise stopped[0] from None
        raise _training_error(str(error), vocabulary_size) from error
    return SentencePieceTokenizer(model.getvalue())


def _training_error(message: str, vocabulary_size: int) -> TokenizerError:
    if match := re.search(r"Vocabulary size too high .*value <= (\d+)", message):
        return _too_large(vocabulary_size, int(match[1]))
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return _SizeError(
            f"vocabulary_size={vocabulary_size} is too small for the text's characters and the 256"
            f" bytes; the smallest possible is {match[1]}",
            int(match[1]),
        )
    return TokenizerError(f"SentencePiece could not be trained: {message}")


def _too_large(vocabulary_size: int, largest: int) -> _SizeError:
    return _SizeError(
        f"vocabulary_size={vocabulary_size} is larger than the text supports; the largest possible"
        f" is {largest}",
        largest,
    )


def _train_wordpiece(documents: Iterable[str], vocabulary_size: int) -> WordPieceTokenizer:
    pieces = list(_pieces(documents))
    alphabet = _alphabet(pieces)
    if not alphabet:
        raise TokenizerError("a wordpiece tokenizer cannot be trained on empty text")
    # The library numbers continuation characters in the order of a hash table, and breaks ties by
    # number: every run would give another vocabulary. As special tokens they are numbered in our
    # order.
    special = [UNKNOWN, END, *(CONTINUATION + character for character in alphabet)]
    smallest = len(special) + len(alphabet)
    if vocabulary_size < smallest:
        raise _SizeError(
            f"vocabulary_size={vocabulary_size} is too small for the text's {len(alphabet)}"
            " characters, each as the beginning and as the continuation of a word; the smallest"
            f" possible is {smallest}",
            smallest,
        )
    tokenizer = untrained({UNKNOWN: 0})
    trainer = import_tokenizers().trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        special_tokens=special,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) < vocabulary_size:
        raise _too_large(vocabulary_size, len(vocabulary))
    # Built anew, because special tokens are looked for in plain text, where a literal "##a" must
    # not match.
    return WordPieceTokenizer(untrained(vocabulary).to_str().encode())


def _alphabet(pieces: Iterable[str]) -> list[str]:
    """The most frequent characters, as many as make up `_WORDPIECE_COVERAGE` of the text,
    sorted."""
    counter: Counter[str] = Counter()
    for piece in pieces:
        counter.update(piece)
    total, covered = sum(counter.values()), 0
    alphabet = []
    for character, count in sorted(counter.items(), key=lambda item: (-item[1], item[0])):
        if covered >= _WORDPIECE_COVERAGE * total:
            break
        covered += count
        alphabet.append(character)
    return sorted(alphabet)
