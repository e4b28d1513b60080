"""Words as tokens, with a closed vocabulary: how the Penn Treebank and WikiText are scored."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from tfscale.config import WordSegmenter
from tfscale.registry import register
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.lost import gap_bits, run_bits, spelled_bits, utf8_length
from tfscale.text.tokenizers.segmenting import jieba_words
from tfscale.text.tokenizers.training_options import TrainingOptions
from tfscale.text.tokenizers.vocabulary import (
    most_frequent,
    read_vocabulary,
    special_first,
    vocabulary_files,
)

_UNKNOWN, _LINE_END = 0, 2
_BLANKS = re.compile(r"\s+")


def split_words(line: str, segmenter: WordSegmenter) -> list[str]:
    """Returns the words of a line.

    Args:
        line: text without line ends.
        segmenter: "none" splits at white space; "jieba" finds words that stand side by side, and
            makes a word of each punctuation mark and of each run of white space, a single space.

    Example:
        split_words("我来到北京 2024", "jieba")    # ["我", "来到", "北京", " ", "2024"]
    """
    return line.split() if segmenter == "none" else jieba_words()(_BLANKS.sub(" ", line))


@register
class WordTokenizer(Tokenizer):
    """Splits at white space.

    A line end is the token `<eos>`, a word outside the vocabulary the token `<unk>`.

    Decoding joins words by one space and ends a line at `<eos>`: the amount of white space is lost,
    so the tokenizer is not lossless. A literal `<unk>` in the text, as those two corpora have it,
    is the unknown token. Literal `</s>` and `<eos>` are unknown words: a text cannot spell the end
    token.

    With jieba the space is a word like others, and decoding puts none in: the amount of white space
    is what is lost here, too, besides words outside the vocabulary.

    Args:
        words: the vocabulary without the special entries `<unk>` (0), `</s>` (1, the end token) and
            `<eos>` (2).
        segmenter: what finds the words, "none" (white space) or "jieba".

    Raises:
        TokenizerError: jieba is wanted and is not installed.

    Example:
        tokenizer = WordTokenizer(["the", "cat"])
        tokenizer.encode("the  cat\\nsat")             # [3, 4, 2, 0]
        tokenizer.decode([3, 4, 2, 0])                # "the cat\\n<unk>"
    """

    kind = "word"
    lossless = False
    adds_spaces = True
    trainable = True
    training_options = ("word_segmenter",)

    def __init__(self, words: Sequence[str], segmenter: WordSegmenter = "none"):
        _check_segmenter(segmenter)
        self.words, self.segmenter = list(words), segmenter
        self.unknown_id, self.end_id = _UNKNOWN, 1
        self.vocabulary_size = len(self.words) + 3
        self._pieces = list(special_first(("<unk>", "</s>", "<eos>"), self.words))
        self._ids = {word: id for id, word in enumerate(self._pieces) if id > _LINE_END}

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int]:
        ids = self._ids
        result: list[int] = []
        for number, line in enumerate(text.split("\n")):
            if number:
                result.append(_LINE_END)
            result.extend([ids.get(word, _UNKNOWN) for word in split_words(line, self.segmenter)])
        return result

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        if id == _LINE_END:
            return b"\n"
        space = "" if self.segmenter != "none" or previous is None or previous == _LINE_END else " "
        return (space + self._pieces[id]).encode()

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        # White space is not part of a word; with jieba a run of it is one, a single space, and so
        # is each line end.
        if self.segmenter == "none":
            words = utf8_length("".join(text.split()) for text in texts)
            gaps = sum(map(gap_bits, texts))
        else:
            words = utf8_length(
                "\n".join(_BLANKS.sub(" ", line) for line in text.split("\n")) for text in texts
            )
            gaps = sum(map(run_bits, texts))
        ends = int(np.count_nonzero(tokens == _LINE_END)) if self.segmenter == "none" else 0
        known = int(self.known_bytes[tokens].sum()) - ends
        return spelled_bits(words - known, unknown) + gaps

    @classmethod
    def check_training(cls, options: TrainingOptions) -> None:
        super().check_training(options)
        _check_segmenter(options.word_segmenter)

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "WordTokenizer":
        segmenter = options.word_segmenter
        lines = (line for text in documents for line in text.split("\n"))
        words = (split_words(line, segmenter) for line in lines)
        return cls(most_frequent(words, vocabulary_size - 3, cls.kind), segmenter)

    def to_config(self) -> dict[str, object]:
        # Left out where there is none, so that the digests of earlier tokenizers stay.
        entry = {} if self.segmenter == "none" else {"segmenter": self.segmenter}
        return super().to_config() | entry

    def files(self) -> dict[str, bytes]:
        return vocabulary_files(self.words)

    @classmethod
    def from_files(cls, config: Mapping[str, object], files: dict[str, bytes]) -> "WordTokenizer":
        named = config.get("segmenter", "none")
        for segmenter in get_args(WordSegmenter):
            if segmenter == named:
                return cls(read_vocabulary(files), segmenter)
        raise ValueError(f"unknown segmenter {named!r}")


def _check_segmenter(segmenter: WordSegmenter) -> None:
    if segmenter == "jieba":
        jieba_words()
