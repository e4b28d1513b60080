"""The options of `tfscale prepare`."""

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from tfscale.config.choices import SentencePieceModel, WordSegmenter
from tfscale.config.encodings import check_encoding
from tfscale.config.fields import rare
from tfscale.config.quality import QualityOptions
from tfscale.errors import ConfigError, check_range
from tfscale.registry import ENGINES, READERS, TOKENIZERS, NameIn

# Kinds that others made, and that are taken as they are.
_TAKEN = ("bpe", "huggingface", "sentencepiece_file")
_OF_ONE_KIND = {"word_segmenter": "word", "sentencepiece_model": "sentencepiece"}
"""Options of the training of one kind of tokenizer."""
_SOURCE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(QualityOptions):
    """Text to tokenizer, token shards and manifest."""

    text_from_files: ClassVar[bool] = True

    output: str
    """Data folder to write. It must be absent, empty, or an earlier data folder (which is
    replaced)."""
    text: list[str] = field(default_factory=list)
    """Files, folders, archives or globs of the training text, local or gs://: plain text, JSON
    lines, CSV, TSV, parquet, Arrow, TFRecord, WARC, also packed (.gz, .zst, .bz2, .xz)."""
    source: dict[str, list[str]] = field(default_factory=dict)
    """Training text of several named sources instead of --text, such as web=crawl/
    code='src/*.py': their shards are kept apart, so that train.mix can weigh them."""
    corpus: Literal["python-stdlib", "python-docs"] | None = None
    """A built-in corpus instead of --text, read from this Python installation."""
    validation_text: list[str] = field(default_factory=list)
    """Files of the validation split. Without them a fraction of the documents is held out."""
    test_text: list[str] = field(default_factory=list)
    """Files of the test split. Without them a fraction of the documents is held out."""
    validation_fraction: float = 0.05
    """Fraction of the documents held out for validation, 0 to 0.5; chosen by a hash of each
    document and the seed. A single document is cut: its end is held out."""
    test_fraction: float = 0.05
    """Fraction of the documents held out for the test split, 0 to 0.5."""
    documents: Literal["file", "paragraph", "line"] = "file"
    """One document of plain text: a file, a paragraph (blank lines between), or a line. An end
    token follows each. A record of the other formats, such as a row, is a document."""
    text_field: str = "text"
    """Field of a record that holds its text: a key or column, with dots for one within another
    (content.body). No effect on plain text."""
    format: Annotated[str, NameIn(READERS, or_empty=True)] = rare("")
    """How all files are read; empty takes the format of each, by its first bytes and its name. text
    reads JSON lines or CSV to the letter."""
    encoding: str = rare("utf-8")
    """Encoding of text, such as latin-1, gb18030, shift_jis or utf-16-le. A byte order mark in a
    file goes before it."""
    tokenizer: Annotated[str, NameIn(TOKENIZERS, leave_out=_TAKEN)] = "sentencepiece"
    """Kind of tokenizer to train on the training split."""
    tokenizer_from: str | None = None
    """Tokenizer to use instead of training one: its folder (or a data or run folder), a Hugging
    Face folder or tokenizer.json, or a SentencePiece model."""
    sentencepiece_model: SentencePieceModel = rare("unigram")
    """SentencePiece algorithm, with tokenizer=sentencepiece."""
    word_segmenter: WordSegmenter = rare("none")
    """How the word tokenizer finds words: by white space (none), or by jieba, for Chinese."""
    vocabulary_size: int = 0
    """Entries of the vocabulary, special tokens included; 0 takes 8,192, or what the text supports.
    No effect for byte; an upper bound for word and char."""
    tokenizer_sample: int = rare(10_000_000)
    """Characters of training text that the tokenizer is trained on, spread evenly over the
    documents."""
    unicode_normalization: Literal["none", "NFC", "NFKC"] = rare("none")
    """Cleaning: Unicode normal form."""
    strip_html: bool = rare(False)
    """Cleaning: remove HTML tags and comments, resolve entities."""
    collapse_whitespace: bool = rare(False)
    """Cleaning: runs of spaces and tabs become one space, of line ends at most two; ends are
    stripped."""
    lowercase: bool = False
    """Cleaning: lower case."""
    drop_duplicates: bool = False
    """Cleaning: keep the first of documents that are exactly the same."""
    invalid_utf8: Literal["error", "replace", "skip"] = rare("error")
    """Bytes that are not of the encoding: name the place and stop, replace them by U+FFFD, or skip
    the file; counted."""
    shards: int = rare(0)
    """Shards of the training split, or of each source of it; 0 takes one per 4 million tokens, and
    at least 4."""
    processes: int = rare(0)
    """Processes that filter and tokenize; 0 takes one per core. The output does not depend on
    it."""
    engine: Annotated[str, NameIn(ENGINES, explained=True)] = rare("local")
    """Engine that does the work. The output does not depend on it."""
    beam: dict[str, str | int | float | bool | list[str]] = rare({})
    """Options of Apache Beam for --engine beam, any of Beam's own, also as --beam.NAME VALUE, such
    as --beam.runner FlinkRunner."""
    seed: int = 0
    """Seed of the splits and of the tokenizer's training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_encoding(self.encoding)
        if self.source and (self.text or self.corpus):
            raise ConfigError(
                f"give one of text, source and corpus; received source={self.source!r} beside"
                f" text={self.text!r} and corpus={self.corpus!r}"
            )
        if self.text_from_files and not self.source and bool(self.text) == bool(self.corpus):
            raise ConfigError(
                f"give either text or corpus; received text={self.text!r} and"
                f" corpus={self.corpus!r} (for example --text 'books/*.txt', or --corpus"
                " python-stdlib)"
            )
        if self.beam and self.engine == "local":
            raise ConfigError(
                f"beam={self.beam!r} is for --engine beam; received engine={self.engine!r}"
            )
        for name in self.source:
            if not isinstance(name, str) or not _SOURCE_NAME.fullmatch(name):
                raise ConfigError(
                    f"source: the name {name!r} becomes a part of names of files; expected up to 64"
                    " letters, digits, - and _"
                )
        trains = () if self.tokenizer_from else TOKENIZERS.get(self.tokenizer).training_options
        for name, kind in _OF_ONE_KIND.items():
            value = getattr(self, name)
            if value != getattr(type(self), name) and name not in trains:
                raise ConfigError(
                    f"{name}={value!r} is for training a {kind} tokenizer: --tokenizer {kind}"
                )
        check_range(
            0 <= self.validation_fraction <= 0.5,
            "validation_fraction",
            self.validation_fraction,
            "0 to 0.5",
        )
        check_range(0 <= self.test_fraction <= 0.5, "test_fraction", self.test_fraction, "0 to 0.5")
        if self.tokenizer_from and self.vocabulary_size:
            raise ConfigError(
                f"vocabulary_size={self.vocabulary_size} is for training a tokenizer, and that of"
                f" tokenizer_from={self.tokenizer_from!r} is trained"
            )
        size = self.vocabulary_size
        check_range(size == 0 or size >= 4, "vocabulary_size", size, "4 or more, or 0 (automatic)")
        check_range(
            self.tokenizer_sample >= 1, "tokenizer_sample", self.tokenizer_sample, "1 or more"
        )
        check_range(self.shards >= 0, "shards", self.shards, "0 (automatic) or more")
        check_range(self.processes >= 0, "processes", self.processes, "0 (one per core) or more")


@dataclass(frozen=True, kw_only=True)
class PrepareTextsConfig(PrepareConfig):
    """Options of `tfscale.prepare(texts=...)`, whose training text comes from Python."""

    text_from_files: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("text", "source", "corpus"):
            if value := getattr(self, name):
                raise ConfigError(
                    f"give either texts or {name}; received {name}={value!r} beside it"
                )
