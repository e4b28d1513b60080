"""The interface of all kinds of tokenizers, and the files that they are saved in."""

import abc
import copy
import dataclasses
import functools
from collections.abc import Container, Iterable, Sequence
from typing import ClassVar, Literal, Self

import numpy as np

from tfscale.config import WordSegmenter
from tfscale.errors import ExportError, TokenizerError
from tfscale.registry import TOKENIZERS
from tfscale.text.tokenizers.characters import check_characters
from tfscale.text.tokenizers.joining import joined_ids
from tfscale.text.tokenizers.lost import utf8_length
from tfscale.text.tokenizers.saving import SavedTokenizer
from tfscale.text.tokenizers.special import SpecialTokens, as_inputs, split_at_special
from tfscale.text.tokenizers.streaming import StreamDecoder
from tfscale.text.tokenizers.training_options import TrainingOptions


class Tokenizer(SavedTokenizer):
    """Turns text into ids 0 to `vocabulary_size` - 1 and back.

    A kind is a subclass in a file of its own, registered by `tfscale.register`. It defines the
    attributes below, `encode_batch`, `piece`, `token_bytes`, `files` and `from_files`;
    `trainable` and `train` if it can be trained, `lost_bits` if it loses text.

    Attributes:
        kind: the name that a user types, such as "sentencepiece".
        lossless: whether decode(encode(text)) == text for every text.
        adds_spaces: whether decoding writes spaces between words that no token holds.
        trims_start: whether decoding takes all spaces from the beginning of a text.
        vocabulary_size: number of ids, special ones included.
        end_id: the token that follows every document. `encode` never gives it, whatever the text.
        unknown_id: the token of what is not in the vocabulary; None where everything is.
        special: what begins and ends a text, where it is not the end token alone; see
            `with_special`.
        cleaner: how the text was cleaned that the tokenizer was made for, a part of its files.
            Whoever reads a text by the tokenizer cleans it so first: `encode` takes it as it is.
        trainable: whether `train` makes one.
        reads_text: whether `train` reads the documents, so that the vocabulary depends on them.
        training_options: fields of `TrainingOptions` that `train` uses, besides the seed.
        bundled_as: the library whose tokenizer LiteRT-LM gets from `bundle_file`; None where a
            bundle cannot hold this kind.
        on_page: whether the page of an export has code for `page_vocabulary`.
        segmenter: what finds the words of a text that has no white space between them.

    Example:
        @tfscale.register
        class Codepoints(tfscale.Tokenizer):
            kind = "codepoints"
            ...
    """

    lossless: bool
    adds_spaces: bool = False
    trims_start: bool = False
    trainable: ClassVar[bool] = False
    reads_text: ClassVar[bool] = True
    training_options: ClassVar[tuple[str, ...]] = ()
    bundled_as: ClassVar[Literal["sentencepiece", "hugging_face"] | None] = None
    on_page: ClassVar[bool] = False
    segmenter: WordSegmenter = "none"

    @classmethod
    def enter_registry(cls) -> None:
        """Makes the kind known by its name; `tfscale.register` calls it."""
        TOKENIZERS.add(getattr(cls, "kind", ""), cls)

    @classmethod
    def check_training(cls, options: TrainingOptions) -> None:
        """Refuses options that `train` cannot follow, before a text is read.

        Raises:
            TokenizerError: the kind cannot be trained, or a library is not installed.
        """
        if not cls.trainable:
            raise TokenizerError(f"a {cls.kind} tokenizer cannot be trained")

    @classmethod
    def train(
        cls, documents: Iterable[str], vocabulary_size: int, options: TrainingOptions
    ) -> "Tokenizer":
        """Makes a tokenizer of this kind from texts.

        Args:
            documents: texts; each is read once, or not at all if `reads_text` is false.
            vocabulary_size: entries, special ones included; 1 or more.
            options: those that `training_options` names, and the seed.

        Raises:
            TokenizerError: there is no text.
            SizeError: the text does not support that vocabulary (see `training_options.SizeError`).
        """
        raise TokenizerError(f"a {cls.kind} tokenizer cannot be trained")

    @property
    def start_id(self) -> int:
        """The token before the first of every text; the end token if there is no other."""
        return self.end_id if self.special.start_id is None else self.special.start_id

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a completion; the end token comes first."""
        return (self.end_id, *self.special.stop_ids)

    @property
    def prompt_start(self) -> tuple[int, ...]:
        """Tokens before a prompt: the start token, or none if the model was trained without."""
        return (self.start_id,) if self.special.in_prompts else ()

    @functools.cached_property
    def special_tokens(self) -> dict[str, int]:
        """Text -> id of the tokens that no text spells, unless `encode` is asked to parse them."""
        return {
            self.piece(id): id
            for id in sorted({self.start_id, *self.stop_ids, *self.special_ids()})
        }

    def special_ids(self) -> Iterable[int]:
        """Returns special tokens beside those that begin and end a text."""
        return ()

    def with_special(self, special: SpecialTokens) -> Self:
        """Returns the same tokenizer with other tokens at the beginning and the end of a text.

        Raises:
            TokenizerError: a token that is not in the vocabulary.

        Example:
            tokenizer.with_special(SpecialTokens(start_id=2, stop_ids=(107,))).start_id    # 2
        """
        stops = tuple(dict.fromkeys(id for id in special.stop_ids if id != self.end_id))
        start = None if special.start_id == self.end_id else special.start_id
        for id in (*stops, *(() if start is None else (start,))):
            self.check_id(id)
        other = copy.copy(self)
        other.special = dataclasses.replace(special, start_id=start, stop_ids=stops)
        for cached in ("digest", "special_tokens"):
            other.__dict__.pop(cached, None)
        return other

    def prompt_ids(self, ids: Sequence[int]) -> list[int]:
        """Returns what a decoder reads for a prompt of `ids`: never empty."""
        return [*self.prompt_start, *ids] or [self.start_id]

    def as_inputs(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Returns the tokens of a stream as a network reads them; see `special.as_inputs`."""
        return as_inputs(ids, self.end_id, self.start_id)

    def encode(self, text: str, parse_special: bool = False) -> list[int]:
        """Returns the ids of `text`, without a start or an end token.

        Args:
            text: a document, or a prompt.
            parse_special: whether the texts of special tokens, such as `<|eot_id|>`, become those
                tokens. They are plain text otherwise.

        Raises:
            TokenizerError: the text holds a lone surrogate, which is not a character.
            PromptError: with `parse_special`, a mark of a chat format that is not a token of this
                tokenizer.
        """
        check_characters(text)
        return self._parse(text) if parse_special else self.encode_batch([text])[0]

    def _parse(self, text: str) -> list[int]:
        """Returns the ids of a text with special tokens, as `encode` does with `parse_special`."""
        parts = list(split_at_special(self._lead(text), self.special_tokens))
        return [
            id
            for part in parts
            for id in ([part] if isinstance(part, int) else self.encode_continued(part))
        ]

    def encode_continued(self, text: str) -> list[int]:
        """Returns the ids of a text that follows another one: no space is added before it."""
        return self.encode_batch([text])[0]

    def _lead(self, text: str) -> str:
        """Returns the text with a space before it, if the model was trained so."""
        return " " + text if self.special.leading_space and text else text

    @abc.abstractmethod
    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Returns the ids of each text, as `encode` does; no text has a lone surrogate."""

    def encode_joined(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of many texts in one array: the faster way to many tokens.

        Returns:
            ids (N,) int32 of all texts, as `encode_batch` gives them, and how many are of each of
            the D texts (D,) int64.
        """
        return joined_ids(self.encode_batch, texts)

    @abc.abstractmethod
    def piece(self, id: int) -> str:
        """Returns the token as its vocabulary spells it, for display."""

    @abc.abstractmethod
    def token_bytes(self, id: int, previous: int | None) -> bytes:
        """Returns the UTF-8 bytes that the token adds to a text, perhaps a part of a character.

        Args:
            id: a token that is not the end token.
            previous: the token before it (end tokens are passed over); None at the beginning.
        """

    def measured(
        self, texts: Sequence[str], tokens: np.ndarray, continued: Container[int] = ()
    ) -> tuple[int, int, float]:
        """Returns what a perplexity has to know about texts besides their tokens.

        Args:
            texts: as they were encoded.
            tokens: ids (N,) of all of them; end tokens among them do not count.
            continued: numbers of the texts that go on with a document, which some kinds decode
                otherwise than the beginning of one.

        Returns:
            Their UTF-8 bytes, their unknown tokens, and the bits that spell what the tokens lose.
        """
        unknown = 0 if self.unknown_id is None else int(np.count_nonzero(tokens == self.unknown_id))
        utf8_bytes = utf8_length(texts)
        return utf8_bytes, unknown, self.lost_bits(texts, tokens, unknown, utf8_bytes)

    def lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        """Returns the bits that spell what tokens lose of their texts; see `tokenizers.lost`.

        Args:
            texts: as they were encoded.
            tokens: ids (N,) of all of them.
            unknown: how many of the tokens are the unknown one.
            utf8_bytes: bytes of the texts.
        """
        if not self.lossless:
            raise TokenizerError(
                f"a {self.kind} tokenizer loses text and must say how many bits spell it"
            )
        return 0.0

    @functools.cached_property
    def known_bytes(self) -> np.ndarray:
        """UTF-8 bytes (V,) that each token stands for; 0 for the unknown and the end token."""
        silent = (self.unknown_id, self.end_id)
        sizes = [
            0 if id in silent else len(self.token_bytes(id, None))
            for id in range(self.vocabulary_size)
        ]
        return np.array(sizes, np.int64)

    def removable(self, wanted: Iterable[int]) -> set[int]:
        """Returns the ids that a smaller vocabulary does without, so that wanted ones stay.

        A text whose tokens are all wanted has the same tokens as before.

        Raises:
            TokenizerError: entries of this kind cannot be removed.
        """
        raise TokenizerError(
            f"the vocabulary of a {self.kind} tokenizer cannot be trimmed; sentencepiece can"
        )

    def without(self, removed: set[int]) -> tuple["Tokenizer", list[int]]:
        """Returns the tokenizer without ids that are `removable`, and the old ids that it keeps."""
        raise TokenizerError(f"the vocabulary of a {self.kind} tokenizer cannot be trimmed")

    def given_files(self) -> dict[str, bytes]:
        """Returns the files of another library that it was taken from, as they were, by name."""
        return dict(self.original)

    def bundle_file(self) -> bytes:
        """Returns the tokenizer as the library that `bundled_as` names reads it.

        Raises:
            ExportError: LiteRT-LM has no form for this kind.
        """
        raise ExportError(f"LiteRT-LM has no tokenizer of kind {self.kind}")

    def page_vocabulary(self) -> dict[str, object]:
        """Returns what tokenizer.js of a web page needs, where `on_page` is true."""
        entries: dict[str, object] = {
            "kind": self.kind,
            "end_id": self.end_id,
            "unknown_id": self.unknown_id,
            "start_id": self.start_id,
            "prompt_start": list(self.prompt_start),
            "stop_ids": list(self.stop_ids),
        }
        return entries | ({"cleaning": self.cleaner.to_dict()} if self.cleaner.steps else {})

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`; special tokens give nothing, what is not UTF-8 U+FFFD."""
        decoder = StreamDecoder(self)
        return "".join([decoder.push(id) for id in ids]) + decoder.flush()

    def check_id(self, id: int) -> None:
        """Raises a TokenizerError if `id` is not in the vocabulary."""
        if not 0 <= id < self.vocabulary_size:
            raise TokenizerError(
                f"token id {id} is not in the vocabulary of {self.vocabulary_size} entries"
            )
