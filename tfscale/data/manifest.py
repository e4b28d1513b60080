"""The content of a data folder, and the check that it is whole."""

import dataclasses
import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from tfscale.errors import DataError, TokenizerError
from tfscale.files.fields import from_fields
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import is_remote, read_json, remote_errors, sha256_file, write_json
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1

_CHECKED = 16
"""Shards that are checked at a time."""

Verification = Literal["size", "sha256"]


@dataclass(frozen=True)
class Shard:
    """A file of tokens.

    Attributes:
        file: name within the data folder.
        tokens: tokens in it.
        sha256: digest of the compressed file, in hexadecimal.
        size: bytes of the compressed file.
        source: name of the source of its text; None where the sources were not named.
    """

    file: str
    tokens: int
    sha256: str
    size: int
    source: str | None = None


@dataclass(frozen=True)
class SourceCounts:
    """The documents of a source in a split; see `Split`."""

    documents: int
    tokens: int
    utf8_bytes: int


@dataclass(frozen=True)
class Split:
    """The training, validation or test part of the text.

    Attributes:
        documents: documents in it.
        tokens: tokens of all shards; the end token that follows each document counts.
        utf8_bytes: bytes of the documents' text (as cleaned), over which bits per byte are taken.
        shards: its files; the split's token stream is theirs, one after the other.
        unknown_tokens, lost_bits: see `tfscale.score.ScoredText`; None in folders that were written
            before they were counted.
        sources: name of each source -> what the split has of it; empty where they were not named.
    """

    documents: int
    tokens: int
    utf8_bytes: int
    shards: list[Shard]
    unknown_tokens: int | None = None
    lost_bits: float | None = None
    sources: dict[str, SourceCounts] = field(default_factory=dict)


def token_dtype(vocabulary_size: int) -> Literal["uint16", "uint32"]:
    """Returns how tokens are stored: "uint16" if the vocabulary allows it, else "uint32"."""
    return "uint16" if vocabulary_size <= 1 << 16 else "uint32"


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        tokenizer_kind: such as "sentencepiece".
        tokenizer_digest: of the tokenizer in `tokenizer/`.
        vocabulary_size: its entries.
        end_id: the token after each document.
        token_dtype: how tokens are stored, little-endian.
        splits: "train", and "validation" and "test" where they were asked for.
        how: the options that the folder was prepared with.
        counts: what was met while reading, such as empty files and replaced characters.
        start_id: the token that a model reads before each document, where it is not `end_id`; the
            shards do not hold it, see `tfscale.text.tokenizers.special.as_inputs`.
        format_version: of the folder's layout.
    """

    tokenizer_kind: str
    tokenizer_digest: str
    vocabulary_size: int
    end_id: int
    token_dtype: Literal["uint16", "uint32"]
    splits: dict[str, Split]
    how: JsonObject
    counts: dict[str, int]
    start_id: int | None = None
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        splits: dict[str, Split],
        how: JsonObject,
        counts: dict[str, int],
    ) -> "Manifest":
        """Returns the manifest of a folder of tokens of a tokenizer; see the attributes."""
        return cls(
            tokenizer_kind=tokenizer.kind,
            tokenizer_digest=tokenizer.digest,
            vocabulary_size=tokenizer.vocabulary_size,
            end_id=tokenizer.end_id,
            start_id=tokenizer.special.start_id,
            token_dtype=token_dtype(tokenizer.vocabulary_size),
            splits=splits,
            how=how,
            counts=counts,
        )

    @classmethod
    def load(cls, data_dir: str, verify: Verification = "size") -> "Manifest":
        """Reads and checks the manifest of a data folder, its tokenizer and its shards.

        Args:
            data_dir: folder that `tfscale prepare` wrote, local or remote.
            verify: "size" compares each shard's size, "sha256" also its content.

        Raises:
            DataError: the folder is not a data folder, a shard is missing or damaged, or the
                tokenizer is another one; the message names the file.

        Example:
            manifest = Manifest.load("data", verify="sha256")
            manifest.splits["train"].tokens
        """
        path = os.path.join(data_dir, MANIFEST_FILE)
        manifest = cls._parse(path)
        try:
            with remote_errors(data_dir, "the tokenizer of the data folder"):
                tokenizer = load_tokenizer(os.path.join(data_dir, "tokenizer"))
            digest = tokenizer.digest
        except TokenizerError as error:
            raise DataError(
                f"the data folder {data_dir} has no usable tokenizer: {error}"
            ) from error
        if digest != manifest.tokenizer_digest:
            raise DataError(
                f"{os.path.join(data_dir, 'tokenizer')} is not the tokenizer of these shards: its"
                f" digest is {digest[:12]}, the manifest says {manifest.tokenizer_digest[:12]};"
                " prepare the data again"
            )
        facts = {
            "tokenizer_kind": tokenizer.kind,
            "vocabulary_size": tokenizer.vocabulary_size,
            "end_id": tokenizer.end_id,
        }
        for name, value in facts.items():
            if getattr(manifest, name) != value:
                raise DataError(
                    f"{path} says {name}={getattr(manifest, name)!r}, and its tokenizer {value!r}"
                )
        shards = [shard for split in manifest.splits.values() for shard in split.shards]
        # A digest leaves the interpreter to others while it is computed, and remote files wait.
        with remote_errors(data_dir, "the data folder"), ThreadPoolExecutor(_CHECKED) as pool:
            paths = [os.path.join(data_dir, shard.file) for shard in shards]
            for _ in pool.map(_check_shard, paths, shards, [verify] * len(shards)):
                pass
        return manifest

    @classmethod
    def _parse(cls, path: str) -> "Manifest":
        content = read_json(path, "the manifest of the data folder")
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise DataError(
                f"{path} has format_version={version!r}; this version of tfscale reads"
                f" {FORMAT_VERSION}"
            )
        manifest = from_fields(cls, content, f"{path} is not a manifest of tfscale")
        for name, split in manifest.splits.items():
            for shard in split.shards:
                if os.path.basename(shard.file) != shard.file or min(shard.tokens, shard.size) < 0:
                    raise DataError(
                        f"{path} has a shard that cannot be: {shard.tokens} tokens in"
                        f" {shard.file!r}"
                    )
            if min(split.documents, split.utf8_bytes) < 0:
                raise DataError(f"{path} counts less than 0 documents or bytes in {name}")
            if (
                not 0 <= (split.unknown_tokens or 0) <= split.tokens
                or not 0 <= (split.lost_bits or 0) < math.inf
            ):
                raise DataError(
                    f"{path} contradicts itself: {name} has {split.tokens} tokens, unknown_tokens="
                    f"{split.unknown_tokens!r} and lost_bits={split.lost_bits!r}"
                )
            if sum(shard.tokens for shard in split.shards) != split.tokens:
                raise DataError(
                    f"{path} contradicts itself: the shards of {name} do not add up to"
                    f" {split.tokens} tokens"
                )
            _check_sources(path, name, split)
        return manifest

    def save(self, data_dir: str) -> None:
        """Writes `manifest.json` into `data_dir`."""
        content = dataclasses.asdict(self)
        # What there is not is left out, so that earlier versions read it.
        splits = content["splits"].values()
        for holder in (content, *splits, *(shard for split in splits for shard in split["shards"])):
            for name in ("start_id", "sources", "source"):
                if name in holder and holder[name] in (None, {}):
                    del holder[name]
        write_json(os.path.join(data_dir, MANIFEST_FILE), content)

    @property
    def cleaner(self) -> Cleaner:
        """The cleaning of the documents."""
        default = Cleaner()
        return Cleaner(**{name: self.how.get(name, value) for name, value in vars(default).items()})

    def split(self, name: str) -> Split:
        """Returns a split.

        Raises:
            DataError: the folder has no such split; the message names those that it has.
        """
        if name not in self.splits:
            raise DataError(
                f"the data folder has no split {name!r}; it has {', '.join(self.splits)}"
            )
        return self.splits[name]


def _check_sources(path: str, name: str, split: Split) -> None:
    """Refuses counts of sources that are not those of the shards."""
    tokens: Counter[str] = Counter()
    for shard in split.shards:
        if shard.source is not None:
            tokens[shard.source] += shard.tokens
    counted = {source: counts.tokens for source, counts in split.sources.items()}
    if counted != dict(tokens) or (tokens and sum(tokens.values()) != split.tokens):
        raise DataError(
            f"{path} contradicts itself: the shards of {name} have other sources than it counts"
        )


def _check_shard(path: str, shard: Shard, verify: Verification) -> None:
    size = _size(path)
    if size is None:
        raise DataError(f"shard is missing: {path}")
    if size != shard.size:
        raise DataError(
            f"shard {path} has {size} bytes, the manifest says {shard.size}; prepare the data again"
        )
    if verify == "sha256" and sha256_file(path) != shard.sha256:
        raise DataError(
            f"shard {path} is damaged: its SHA-256 is not the manifest's; prepare the data again"
        )


def _size(path: str) -> int | None:
    if is_remote(path):
        import tensorflow as tf

        return tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
    return os.path.getsize(path) if os.path.isfile(path) else None
