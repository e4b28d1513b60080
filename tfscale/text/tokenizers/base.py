"""What every tokenizer has in common: its interface, its files, and decoding as a stream."""

import abc
import codecs
import copy
import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from tfscale.errors import TokenizerError
from tfscale.files.json_text import parse_json
from tfscale.files.paths import atomic_write
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.lost import utf8_length
from tfscale.text.tokenizers.special import SpecialTokens, as_inputs, split_at_special

CONFIG_FILE = "tokenizer_config.json"
FORMAT_VERSION = 1
UNKNOWN_TEXT = "\N{REPLACEMENT CHARACTER}"
"""What the unknown token decodes to, but for the word tokenizer, which writes `<unk>`."""

LONG_TEXT = 1 << 16
"""Characters after which a long document is cut to be tokenized in parts."""

_WORD_BOUNDARY = re.compile(r"(?<=\S) (?=\S)")


class Tokenizer(abc.ABC):
    """Turns text into ids 0 to `vocabulary_size` - 1 and back.

    Attributes:
        kind: the name by which it is asked for, such as "sentencepiece".
        lossless: whether decode(encode(text)) == text for every text.
        vocabulary_size: ids, special ones included.
        end_id: the token that follows every document. `encode` never gives it, whatever the text.
        unknown_id: the token of what is not in the vocabulary; None where everything is.
        special: what begins and ends a text, where it is not the end token alone; see
            `with_special`.
        cleaner: how the text was cleaned that it was made for, a part of its files. Whoever reads a
            text by the tokenizer cleans it so first: `encode` takes it as it is.
    """

    cleaner: Cleaner = Cleaner()
    kind: ClassVar[str]
    lossless: ClassVar[bool]
    vocabulary_size: int
    end_id: int
    unknown_id: int | None
    special: SpecialTokens = SpecialTokens()

    @property
    def start_id(self) -> int:
        """The token that stands before the first of every text; the end token, unless the model has
        another one."""
        return self.end_id if self.special.start_id is None else self.special.start_id

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end a completion; the end token comes first."""
        return (self.end_id, *self.special.stop_ids)

    @property
    def prompt_start(self) -> tuple[int, ...]:
        """What is read before a prompt: the start token, or nothing where the model was trained
        without one."""
        return (self.start_id,) if self.special.in_prompts else ()

    @functools.cached_property
    def special_tokens(self) -> dict[str, int]:
        """Text -> id of the tokens that no text spells, unless `encode` is asked to parse them."""
        return {
            self.piece(id): id
            for id in sorted({self.start_id, *self.stop_ids, *self._special_ids()})
        }

    def _special_ids(self) -> Iterable[int]:
        """Special tokens beside those that begin and end a text."""
        return ()

    def with_special(self, special: SpecialTokens) -> "Tokenizer":
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
        """What a decoder reads for a prompt of `ids`: never empty."""
        return [*self.prompt_start, *ids] or [self.start_id]

    def as_inputs(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The tokens of a stream as a network reads them; see
        `tfscale.text.tokenizers.special.as_inputs`."""
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
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TokenizerError(
                f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character"
                f" {error.start}, which no UTF-8 text can hold; decode the text's bytes as UTF-8"
                " first"
            ) from error
        if not parse_special:
            return self.encode_batch([text])[0]
        parts = list(split_at_special(self._lead(text), self.special_tokens))
        return [
            id
            for part in parts
            for id in ([part] if isinstance(part, int) else self.encode_continued(part))
        ]

    def encode_continued(self, text: str) -> list[int]:
        """Returns the ids of a text that stands behind another one, so that no space is added
        before it."""
        return self.encode_batch([text])[0]

    def _lead(self, text: str) -> str:
        """The text with the space that its first word is read with, where the model was trained
        so."""
        return " " + text if self.special.leading_space and text else text

    @abc.abstractmethod
    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Returns the ids of each text, as `encode` does; the texts must be free of lone
        surrogates."""

    def encode_arrays(self, texts: list[str]) -> list[np.ndarray]:
        """As `encode_batch`, with the ids of each text as an int32 array: the faster way to many
        tokens."""
        return [np.array(ids, np.int32) for ids in self.encode_batch(texts)]

    @abc.abstractmethod
    def piece(self, id: int) -> str:
        """The token as its vocabulary spells it, for display."""

    @abc.abstractmethod
    def token_bytes(self, id: int, previous: int | None) -> bytes:
        """The UTF-8 bytes, perhaps of a part of a character, that the token adds to a text.

        Args:
            id: a token that is not the end token.
            previous: the token before it (end tokens are passed over); None at the beginning.
        """

    def measured(self, texts: Sequence[str], tokens: np.ndarray) -> tuple[int, int, float]:
        """The UTF-8 bytes of texts, their unknown tokens, and the bits that spell what the tokens
        lose of them.

        Args:
            texts: as they were encoded.
            tokens: ids (N,) of all of them; end tokens among them do not count.
        """
        unknown = 0 if self.unknown_id is None else int(np.count_nonzero(tokens == self.unknown_id))
        utf8_bytes = utf8_length(texts)
        return utf8_bytes, unknown, self._lost_bits(texts, tokens, unknown, utf8_bytes)

    def _lost_bits(
        self, texts: Sequence[str], tokens: np.ndarray, unknown: int, utf8_bytes: int
    ) -> float:
        """Bits that spell what the tokens of the texts lose; see `tfscale.text.tokenizers.lost`."""
        if not self.lossless:
            raise TokenizerError(
                f"a {self.kind} tokenizer loses text and must say how many bits spell it"
            )
        return 0.0

    @functools.cached_property
    def _known_bytes(self) -> np.ndarray:
        """UTF-8 bytes of the text that each token stands for (V,); 0 for the unknown token and the
        end token."""
        silent = (self.unknown_id, self.end_id)
        sizes = [
            0 if id in silent else len(self.token_bytes(id, None))
            for id in range(self.vocabulary_size)
        ]
        return np.array(sizes, np.int64)

    @abc.abstractmethod
    def _files(self) -> dict[str, bytes]:
        """Content of the files beside the config, by name."""

    @classmethod
    @abc.abstractmethod
    def _from_files(cls, config: dict[str, Any], files: dict[str, bytes]) -> "Tokenizer":
        """The tokenizer that was saved as `files`."""

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`; special tokens give nothing, bytes that are not UTF-8 give
        U+FFFD."""
        decoder = StreamDecoder(self)
        return "".join([decoder.push(id) for id in ids]) + decoder.flush()

    def check_id(self, id: int) -> None:
        """Raises a TokenizerError if `id` is not in the vocabulary."""
        if not 0 <= id < self.vocabulary_size:
            raise TokenizerError(
                f"token id {id} is not in the vocabulary of {self.vocabulary_size} entries"
            )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, over all that is saved: two tokenizers with the same digest are
        the same."""
        digest = hashlib.sha256(json.dumps(self._config(), sort_keys=True).encode())
        for name, content in sorted(self._files().items()):
            digest.update(f"\n{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def _config(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "vocabulary_size": self.vocabulary_size,
            "end_id": self.end_id,
            "unknown_id": self.unknown_id,
            "files": sorted(self._files()),
            # Left out where there is none, so that the digests of earlier tokenizers stay.
            **({"cleaning": self.cleaner.to_dict()} if self.cleaner.steps else {}),
            **self.special.to_config(),
        }

    def save(self, directory: str) -> None:
        """Writes the tokenizer's files to `directory`, which is made if it is missing."""
        for name, content in self._files().items():
            with atomic_write(os.path.join(directory, name)) as file:
                file.write(content)
        with atomic_write(os.path.join(directory, CONFIG_FILE), "w") as file:
            json.dump({**self._config(), "digest": self.digest}, file, indent=2)
            file.write("\n")


class StreamDecoder:
    """Decodes tokens one by one and holds back the bytes of a character that is not yet whole.

    The pieces joined are exactly what `Tokenizer.decode` gives, after a token `previous` if there
    is one.

    Args:
        tokenizer: of the tokens.
        previous: the token before the first; None at the beginning of a text.

    Example:
        decoder = StreamDecoder(tokenizer)
        for id in ids:
            print(decoder.push(id), end="", flush=True)
        print(decoder.flush())
    """

    def __init__(self, tokenizer: Tokenizer, previous: int | None = None):
        self._tokenizer = tokenizer
        self._previous = previous
        self._silent = set(tokenizer.special_tokens.values())
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """Returns the text that `id` completes, often none."""
        id = int(id)
        self._tokenizer.check_id(id)
        if id in self._silent:
            return ""
        new_bytes = self._tokenizer.token_bytes(id, self._previous)
        self._previous = id
        return self._utf8.decode(new_bytes)

    def flush(self) -> str:
        """Returns U+FFFD for bytes that are still held back, and begins anew."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._previous = None
        return text


def split_long(text: str, limit: int = LONG_TEXT) -> Iterator[str]:
    """Cuts a long text where no token can lie across the cut.

    The cut is before a single space between two characters that are not white space: there every
    tokenizer of this package begins a token. So the pieces' tokens joined are the tokens of the
    whole text. Where no such place comes, a piece stays longer than `limit`.

    Args:
        text: a document.
        limit: characters after which the next place is taken.

    Example:
        list(split_long("one two three", 4))    # ["one two", " three"]
    """
    start = 0
    while len(text) - start > limit:
        boundary = _WORD_BOUNDARY.search(text, start + limit)
        if boundary is None:
            break
        yield text[start : boundary.start()]
        start = boundary.start()
    yield text[start:]


def read_vocabulary(content: bytes) -> list[str]:
    """Returns the entries in a file vocabulary.json.

    Raises:
        ValueError: it is not a JSON list of texts.
    """
    entries = parse_json(content)
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("vocabulary.json is not a list of texts")
    return entries


def special_first(special: Iterable[str], entries: Iterable[str]) -> dict[str, int]:
    """Numbers the entries of a vocabulary, special ones first.

    Raises:
        ValueError: an entry is there twice, or is one of the special ones.
    """
    together = [*special, *entries]
    numbers = {entry: id for id, entry in enumerate(together)}
    if len(numbers) != len(together):
        raise ValueError("the vocabulary has an entry twice")
    return numbers
