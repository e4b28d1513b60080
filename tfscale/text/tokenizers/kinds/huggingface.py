"""A `tokenizer.json` of Hugging Face's library `tokenizers`, as it is."""

import functools
import json
from collections.abc import Iterable
from typing import Any

from tfscale.errors import ExportError, TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.gguf_pieces import in_that_manner, piece_entries
from tfscale.text.tokenizers.gguf_words import byte_level_entries
from tfscale.text.tokenizers.hugging_face import import_tokenizers
from tfscale.text.tokenizers.special import split_at_special
from tfscale.text.tokenizers.spellings import ByteSpelling, spelling_of
from tfscale.text.tokenizers.taken import TakenTokenizer
from tfscale.text.tokenizers.tokenizer_json import (
    composes,
    keeps_all,
    read_content,
    unknown_id_of,
    without_prefix,
)


@register
class HuggingFaceFile(TakenTokenizer):
    """A tokenizer that somebody else made, read by Hugging Face's `tokenizers`.

    Ids are those of `encode(text, add_special_tokens=False)` with `encode_special_tokens`: a text
    does not spell special tokens unless `encode` is asked to parse them. Nothing is cut off or
    filled up, whatever the file says of truncation and padding. The file stays as it was.

    Args:
        model: the content of `tokenizer.json`.
        end_token: the token that follows every document, as the vocabulary spells it.
        name: what the file was called.

    Raises:
        TokenizerError: `tokenizers` is not installed, or the content is not such a file.
    """

    kind = "huggingface"
    bundled_as = "hugging_face"
    model_files = ("tokenizer.json",)

    def _read(self, end_token: str | None) -> None:
        self._content = read_content(self.model)
        self._tokenizer = _loaded(self.model)
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        for token in self._content.get("added_tokens") or []:
            # The library numbers them by their order, whatever the file says.
            if (own := vocabulary.get(token["content"])) != token["id"]:
                raise TokenizerError(
                    f"tokenizer.json gives its added token {token['content']!r} the id"
                    f" {token['id']}, and its library {own}, which follows the ids before; ids must"
                    " go on without a gap"
                )
        self.vocabulary_size = len(vocabulary)
        self._pieces = [""] * self.vocabulary_size
        taken = [False] * self.vocabulary_size
        for piece, id in vocabulary.items():
            if id < self.vocabulary_size:
                self._pieces[id], taken[id] = piece, True
        if not all(taken):
            raise TokenizerError(
                f"tokenizer.json has no token of the id {taken.index(False)}, and its highest id is"
                f" {max(vocabulary.values())}; ids must go from 0 to their number without a gap"
            )
        if end_token not in vocabulary:
            raise TokenizerError(f"tokenizer.json has no token {end_token!r} to end a document")
        self.end_token, self.end_id = end_token, vocabulary[end_token]
        # Where all bytes are tokens nothing is unknown, even if the file names a token for it. That
        # often is the end token.
        complete = keeps_all(self._content | {"normalizer": None})
        unknown = unknown_id_of(self._content["model"], vocabulary)
        self.unknown_id = None if complete else unknown
        self._spelling = spelling_of(self._content.get("decoder"))
        self.adds_spaces = self._spelling.adds_spaces
        self.composes = composes(self._content)
        self.lossless = keeps_all(self._content) and isinstance(self._spelling, ByteSpelling)

    @staticmethod
    def pieces_of(model: bytes) -> dict[int, str]:
        """Returns id -> text of all tokens of a `tokenizer.json`."""
        read_content(model)
        vocabulary = _loaded(model).get_vocab(with_added_tokens=True)
        return {id: piece for piece, id in vocabulary.items()}

    def id_of(self, text: str) -> int:
        id: int | None = self._tokenizer.token_to_id(text)
        if id is None:
            raise TokenizerError(f"tokenizer.json has no token {text!r}")
        return id

    def put_before(self) -> int | None:
        """Returns the token that the file's own post-processor puts before a text, if it does."""
        plain, whole = (
            self._tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True)
        )
        return whole[0] if whole[:1] != plain[:1] else None

    def special_ids(self) -> Iterable[int]:
        added = self._content.get("added_tokens") or []
        return [token["id"] for token in added if token.get("special")]

    @functools.cached_property
    def _continuing(self) -> Any:
        """The same tokenizer, which puts nothing before a text."""
        content = without_prefix(self._content)
        if content == self._content:
            return self._tokenizer
        return _loaded(json.dumps(content).encode())

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [
            self._plain(text, encoding.ids, self._tokenizer)
            for text, encoding in zip(texts, encoded, strict=True)
        ]

    def encode_continued(self, text: str) -> list[int]:
        reader = self._continuing
        return self._plain(text, reader.encode(text, add_special_tokens=False).ids, reader)

    def _plain(self, text: str, ids: list[int], reader: Any) -> list[int]:
        """Returns ids without special tokens, which Unigram for example has among its pieces.

        Where the model makes one of a text, the text is cut after the first character of it, and
        the parts are read by themselves.
        """
        if self.barred.isdisjoint(ids):
            return ids
        encoding = reader.encode(text, add_special_tokens=False)
        places = [
            place
            for id, place in zip(encoding.ids, encoding.offsets, strict=True)
            if id in self.barred
        ]
        cuts = sorted({start + 1 for start, end in places if end - start > 1})
        if not cuts:
            return [self._instead(id, text) if id in self.barred else id for id in encoding.ids]
        plain: list[int] = []
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            part_reader = self._continuing if start else reader
            part = text[start:end]
            part_ids = part_reader.encode(part, add_special_tokens=False).ids
            plain += self._plain(part, part_ids, part_reader)
        return plain

    def _instead(self, id: int, text: str) -> int:
        """Returns the unknown token for a single character that the model reads as a special
        token."""
        if self.unknown_id is None or self._pieces[id] in text:
            raise TokenizerError(
                f"the text spells the special token {self._pieces[id]!r}, and must not"
            )
        return self.unknown_id

    def _parse(self, text: str) -> list[int]:
        added = self._content.get("added_tokens") or []
        if not {*self.special_tokens.values()} <= {token["id"] for token in added}:
            return super()._parse(text)
        # Cut for the error of a mark that is no token; the library itself finds those that are,
        # with the white space that they take.
        list(split_at_special(text, self.special_tokens))
        ids: list[int] = self._parsing.encode(text, add_special_tokens=False).ids
        return ids

    @functools.cached_property
    def _parsing(self) -> Any:
        """The same tokenizer, for which the texts of special tokens are those tokens."""
        tokenizer = _loaded(self.model)
        tokenizer.encode_special_tokens = False
        return tokenizer

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def found_texts(self) -> list[str]:
        added = self._content.get("added_tokens") or []
        return [token["content"] for token in added if not token.get("special")]

    def whole_words(self) -> list[str]:
        if not self._content["model"].get("ignore_merges"):
            return []
        added = {token["content"] for token in self._content.get("added_tokens") or []}
        spelled = (self._spelling(piece, False) for piece in self._pieces if piece not in added)
        return [text for text in (word.decode(errors="ignore") for word in spelled) if text]

    def _merges(self) -> list[Any]:
        merges: list[Any] = self._content["model"].get("merges") or []
        return merges

    def _by_bytes(self) -> bool:
        """Returns whether bytes are merged in words, of texts that are composed at most."""
        plain = self._content.get("normalizer") is None or self.composes
        spelled = isinstance(self._spelling, ByteSpelling) and bool(self._merges())
        return plain and spelled and keeps_all(self._content | {"normalizer": None})

    def hub_assets(self) -> dict[str, object]:
        if not self._by_bytes():
            raise ExportError(
                "keras-hub has no form of this tokenizer.json, which is none of byte-level BPE, or"
                " normalizes texts; --format huggingface writes it as it is"
            )
        vocabulary = {piece: id for id, piece in enumerate(self._pieces)}
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in self._merges()]
        whole = sorted({*self.special_tokens, *self.found_texts()})
        named = {"unsplittable_tokens": whole} if self.found_texts() else {}
        return {"vocabulary": vocabulary, "merges": merges, **named}

    def gguf_vocabulary(self) -> dict[str, object]:
        special = {*self.special_tokens.values()}
        if in_that_manner(self._content):
            return piece_entries(self._content, self._pieces, special, self.unknown_id)
        if self._merges() and isinstance(self._spelling, ByteSpelling):
            return byte_level_entries(self._content, self._pieces, special)
        return super().gguf_vocabulary()

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        return self._spelling(self._pieces[id], previous is None)


def _loaded(model: bytes) -> Any:
    library = import_tokenizers()
    try:
        tokenizer = library.Tokenizer.from_str(model.decode())
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"tokenizer.json is not a tokenizer of Hugging Face's library ({error})"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer
