"""What a data folder holds, and the proof that it is whole."""

import dataclasses
import math
import os
from dataclasses import dataclass
from typing import Any, Literal

from tfscale.errors import DataError, TokenizerError
from tfscale.files import is_remote, read_json, sha256_file, write_json
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers import load_tokenizer

MANIFEST_FILE = "manifest.json"
FORMAT_VERSION = 1

Verification = Literal["size", "sha256"]


@dataclass(frozen=True)
class Shard:
    """A file of tokens.

    Attributes:
        file: name within the data folder.
        tokens: tokens in it.
        sha256: digest of the compressed file, in hexadecimal.
        size: bytes of the compressed file.
    """

    file: str
    tokens: int
    sha256: str
    size: int


@dataclass(frozen=True)
class Split:
    """The training, validation or test part of the text.

    Attributes:
        documents: documents in it.
        tokens: tokens of all shards; the end token that follows each document counts.
        utf8_bytes: bytes of the documents' text (as cleaned), over which bits per byte are taken.
        shards: its files; the split's token stream is theirs, one after the other.
        unknown_tokens, lost_bits: see `tfscale.score.ScoredText`; None in folders that were written before they were
            counted.
    """

    documents: int
    tokens: int
    utf8_bytes: int
    shards: list[Shard]
    unknown_tokens: int | None = None
    lost_bits: float | None = None


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
        format_version: of the folder's layout.
    """

    tokenizer_kind: str
    tokenizer_digest: str
    vocabulary_size: int
    end_id: int
    token_dtype: Literal["uint16", "uint32"]
    splits: dict[str, Split]
    how: dict[str, Any]
    counts: dict[str, int]
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, data_dir: str, verify: Verification = "size") -> "Manifest":
        """Reads and checks the manifest of a data folder, its tokenizer and its shards.

        Args:
            data_dir: folder that `tfscale prepare` wrote, local or remote.
            verify: "size" compares each shard's size, "sha256" also its content.

        Raises:
            DataError: the folder is no data folder, a shard is missing or damaged, or the tokenizer is another one; the
                message names the file.

        Example:
            manifest = Manifest.load("data", verify="sha256")
            manifest.splits["train"].tokens
        """
        manifest = cls._parse(os.path.join(data_dir, MANIFEST_FILE))
        try:
            digest = load_tokenizer(os.path.join(data_dir, "tokenizer")).digest
        except TokenizerError as error:
            raise DataError(f"the data folder {data_dir} has no usable tokenizer: {error}") from error
        if digest != manifest.tokenizer_digest:
            raise DataError(
                f"{os.path.join(data_dir, 'tokenizer')} is not the tokenizer of these shards: its digest is "
                f"{digest[:12]}, the manifest says {manifest.tokenizer_digest[:12]}; prepare the data again"
            )
        for split in manifest.splits.values():
            for shard in split.shards:
                _check_shard(os.path.join(data_dir, shard.file), shard, verify)
        return manifest

    @classmethod
    def _parse(cls, path: str) -> "Manifest":
        content = read_json(path, "the manifest of the data folder")
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise DataError(f"{path} has format_version={version!r}; this version of tfscale reads {FORMAT_VERSION}")
        try:
            splits = {
                name: Split(**{**split, "shards": [Shard(**shard) for shard in split["shards"]]})
                for name, split in content["splits"].items()
            }
            manifest = cls(**{**content, "splits": splits})
        except (TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} is not a manifest of tfscale ({error})") from error
        for name, split in splits.items():
            if not 0 <= (split.unknown_tokens or 0) <= split.tokens or not 0 <= (split.lost_bits or 0) < math.inf:
                raise DataError(
                    f"{path} contradicts itself: {name} has {split.tokens} tokens, unknown_tokens="
                    f"{split.unknown_tokens!r} and lost_bits={split.lost_bits!r}"
                )
            if sum(shard.tokens for shard in split.shards) != split.tokens:
                raise DataError(
                    f"{path} contradicts itself: the shards of {name} do not add up to {split.tokens} tokens"
                )
        return manifest

    def save(self, data_dir: str) -> None:
        """Writes `manifest.json` into `data_dir`."""
        write_json(os.path.join(data_dir, MANIFEST_FILE), dataclasses.asdict(self))

    @property
    def cleaner(self) -> Cleaner:
        """How the documents were cleaned."""
        default = Cleaner()
        return Cleaner(**{name: self.how.get(name, value) for name, value in vars(default).items()})

    def split(self, name: str) -> Split:
        """Returns a split.

        Raises:
            DataError: the folder has no such split; the message names those that it has.
        """
        if name not in self.splits:
            raise DataError(f"the data folder has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


def _check_shard(path: str, shard: Shard, verify: Verification) -> None:
    size = _size(path)
    if size is None:
        raise DataError(f"shard is missing: {path}")
    if size != shard.size:
        raise DataError(f"shard {path} has {size} bytes, the manifest says {shard.size}; prepare the data again")
    if verify == "sha256" and sha256_file(path) != shard.sha256:
        raise DataError(f"shard {path} is damaged: its SHA-256 is not the manifest's; prepare the data again")


def _size(path: str) -> int | None:
    if is_remote(path):
        import tensorflow as tf

        return tf.io.gfile.stat(path).length if tf.io.gfile.exists(path) else None
    return os.path.getsize(path) if os.path.isfile(path) else None
