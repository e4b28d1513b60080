"""WordPiece (Schuster and Nakajima 2012; Wu et al. 2016), with white space kept.

By Hugging Face's library `tokenizers`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.hugging_face import HuggingFaceTokenizer, import_tokenizers
from tfscale.text.tokenizers.lost import spelled_bits
from tfscale.text.tokenizers.training import training_sentences
from tfscale.text.tokenizers.training_options import SizeError, TrainingOptions
from tfscale.text.tokenizers.vocabulary import UNKNOWN_TEXT

if TYPE_CHECKING:
    import tokenizers

UNKNOWN, END = "[UNK]", "</s>"
CONTINUATION = "##"
LONGEST_WORD = 64
"""Characters of one word at most; longer runs are cut, because matching takes quadratic time in a
word's length."""

_COVERAGE = 0.9999
"""Share of the training text's characters that an alphabet holds; the rest are unknown."""

# A word takes the space before it; punctuation stands alone, so that a literal "##" can't be read
# as a continuation.
WORDS = rf" ?\w{{1,{LONGEST_WORD}}}| ?[^\w\s]|\s{{1,{LONGEST_WORD}}}(?!\S)|\s{{1,{LONGEST_WORD}}}"


def untrained(vocabulary: dict[str, int]) -> "tokenizers.Tokenizer":
    """Returns a `tokenizers.Tokenizer` with our word pattern around a WordPiece vocabulary."""
    library = import_tokenizers()
    tokenizer = library.Tokenizer(
        library.models.WordPiece(
            vocab=vocabulary,
            unk_token=UNKNOWN,
            # One more for the space before the word.
            max_input_chars_per_word=LONGEST_WORD + 1,
            continuing_subword_prefix=CONTINUATION,
        )
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(
        library.Regex(WORDS), behavior="isolated"
    )
    return tokenizer


@register
class WordPieceTokenizer(HuggingFaceTokenizer):
    """Takes the longest match first within words.

    A text comes back exactly if all of its characters are in the vocabulary.

    A word with a character outside the alphabet becomes the unknown token, U+FFFD when decoded.

    Args:
        model: the content of `tokenizer.json`, which Hugging Face's `tokenizers` can read.

    Raises:
        TokenizerError: `tokenizers` is not installed, or the content is not such a file.
    """

    kind = "wordpiece"
    lossless = False
    trainable = True

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

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        return spelled_bits(utf8_bytes - int(self.known_bytes[tokens].sum()), unknown)

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "WordPieceTokenizer":
        pieces = list(training_sentences(documents))
        alphabet = _alphabet(pieces)
        if not alphabet:
            raise TokenizerError("a wordpiece tokenizer cannot be trained on empty text")
        # The library numbers continuation characters in the order of a hash table, and breaks ties
        # by number: every run would give another vocabulary. As special tokens they are numbered in
        # our order.
        special = [UNKNOWN, END, *(CONTINUATION + character for character in alphabet)]
        smallest = len(special) + len(alphabet)
        if vocabulary_size < smallest:
            raise SizeError(
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
            raise SizeError.too_large(vocabulary_size, len(vocabulary))
        # Built anew, because special tokens are looked for in plain text, where a literal "##a"
        # must not match.
        return cls(untrained(vocabulary).to_str().encode())

    def bundle_file(self) -> bytes:
        library = import_tokenizers()
        joining = library.Tokenizer.from_str(self.model.decode())
        # A decoder that joins pieces as `token_bytes` does.
        joining.decoder = library.decoders.Sequence(
            [library.decoders.Replace(CONTINUATION, ""), library.decoders.Fuse()]
        )
        return joining.to_str().encode()

    def tokenizer_json(self) -> bytes:
        return self.bundle_file()

    @classmethod
    def from_files(
        cls, config: Mapping[str, object], files: dict[str, bytes]
    ) -> "WordPieceTokenizer":
        return cls(files["tokenizer.json"])


def _alphabet(pieces: Iterable[str]) -> list[str]:
    """Returns the most frequent characters, as many as make up `_COVERAGE` of the text, sorted."""
    counter: Counter[str] = Counter()
    for piece in pieces:
        counter.update(piece)
    total, covered = sum(counter.values()), 0
    alphabet = []
    for character, count in sorted(counter.items(), key=lambda item: (-item[1], item[0])):
        if covered >= _COVERAGE * total:
            break
        covered += count
        alphabet.append(character)
    return sorted(alphabet)
