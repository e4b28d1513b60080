"""CoNLL: a word and its tag in each line."""

import itertools
from collections.abc import Iterator

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.reader import Row, TextFile
from tfscale.text.readers.text import TextReader


@register
class CoNLLReader(TextReader):
    """Rows are sentences: their words and tags.

    The first column of a line is the word, the last one its tag. An empty line ends a sentence;
    lines of -DOCSTART- are left out.
    """

    name = "conll"
    suffixes = (".conll", ".bio", ".iob")
    has_rows = True
    row_fields = ("words", "tags")

    def rows(self, file: TextFile, labelled: bool = True) -> Iterator[Row]:
        words: list[str] = []
        tags: list[str] = []
        start = 0
        for number, line in enumerate(itertools.chain(self.lines(file), [""]), 1):
            columns = line.split()
            if columns and columns[0] == "-DOCSTART-":
                continue
            if not columns:
                if words:
                    fields = {"words": words, "tags": tags} if labelled else {"words": words}
                    yield Row(f"line {start}", fields)
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
