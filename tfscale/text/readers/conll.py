"""CoNLL: a word and its tag in each line."""

import itertools
from collections.abc import Iterator

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Reading, Row, TextFile
from tfscale.text.readers.text import TextReader


@register
class CoNLLReader(TextReader):
    """Rows are sentences: their words and tags.

    The first column of a line is the word, the last one its tag. An empty line ends a sentence;
    lines of -DOCSTART- are left out. A document is a sentence: its words with spaces between.
    """

    name = "conll"
    suffixes = (".conll", ".bio", ".iob")
    has_rows = True
    row_fields = ("words", "tags")

    def documents(self, file: TextFile, reading: Reading) -> Iterator[str]:
        if self._is_skipped(file, reading):
            return
        for words, _, _ in self._sentences(file, reading, labelled=False):
            yield " ".join(words)

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        for words, tags, line in self._sentences(file, Reading(), labelled):
            fields = {"words": words, "tags": tags} if labelled else {"words": words}
            yield Row(f"line {line}", fields)

    def _sentences(
        self, file: TextFile, reading: Reading, labelled: bool
    ) -> Iterator[tuple[list[str], list[str], int]]:
        """Yields the words, the tags and the first line of each sentence."""
        words: list[str] = []
        tags: list[str] = []
        start = 0
        for number, line in enumerate(itertools.chain(self.lines(file, reading), [""]), 1):
            columns = line.split()
            if columns and columns[0] == "-DOCSTART-":
                continue
            if not columns:
                if words:
                    yield words, tags, start
                words, tags = [], []
                continue
            if labelled and len(columns) < 2:
                raise DataError(
                    f"{file.name}, line {number}: expected a word and its tag; received"
                    f" {line.strip()!r}"
                )
            start = start if words else number
            words.append(columns[0])
            tags.append(columns[-1])
