"""The files of a tokenizer, its forms for other programs, and the digest that tells it."""

import abc
import functools
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import ClassVar, Self

from tfscale.errors import ExportError
from tfscale.files.paths import atomic_write
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.special import SpecialTokens

CONFIG_FILE = "tokenizer_config.json"
ORIGINAL_FOLDER = "original"
FORMAT_VERSION = 1


class SavedTokenizer(abc.ABC):
    """The part of a `Tokenizer` that is saved: its configuration, and the files of its kind; and
    its form in a GGUF file."""

    cleaner: Cleaner = Cleaner()
    special: SpecialTokens = SpecialTokens()
    kind: ClassVar[str]
    vocabulary_size: int
    end_id: int
    unknown_id: int | None
    original: Mapping[str, bytes] = MappingProxyType({})
    """The files of Hugging Face that the tokenizer was made of, as they were, by name; they are
    kept for an export to Hugging Face, and count nowhere else."""

    composes: bool = False
    """Whether the characters of a text are composed (NFC) before it is cut."""

    @abc.abstractmethod
    def files(self) -> dict[str, bytes]:
        """Returns the content of the saved files beside the configuration, by name."""

    @classmethod
    @abc.abstractmethod
    def from_files(cls, config: Mapping[str, object], files: dict[str, bytes]) -> Self:
        """Returns the tokenizer that was saved.

        Args:
            config: what `to_config` returned.
            files: what `files` returned.

        Raises:
            ValueError, KeyError, TypeError or TokenizerError: the files are damaged.
        """

    def hub_assets(self) -> dict[str, object]:
        """Returns the arguments of keras-hub's tokenizers: `proto`, or `vocabulary` and `merges`.

        Raises:
            ExportError: keras-hub has no tokenizer of this kind.
        """
        raise ExportError(f"keras-hub's decoders have no tokenizer of kind {self.kind}")

    def found_texts(self) -> list[str]:
        """Returns the texts that are a token wherever they stand, and no special token."""
        return []

    def whole_words(self) -> list[str]:
        """Returns the words that are a token without merges, whatever merges would make of them."""
        return []

    def spelling_none(self, texts: Collection[str]) -> Self:
        """Returns the same tokenizer, in which no text spells the special tokens of these texts.

        One whose vocabulary says by itself which tokens are special is returned as it is.
        """
        return self

    def gguf_vocabulary(self) -> dict[str, object]:
        """Returns the vocabulary as llama.cpp reads it from a GGUF file, by the names of entries
        after `tokenizer.ggml.`, without the tokens that begin and end a text.

        Raises:
            ExportError: llama.cpp would read other tokens.
        """
        raise ExportError(
            f"llama.cpp has no tokenizer of kind {self.kind}: it takes bpe, and sentencepiece of"
            " sentencepiece_model=bpe"
        )

    def tokenizer_json(self) -> bytes:
        """Returns the tokenizer as Hugging Face's library reads it, special tokens not yet marked.

        Raises:
            ExportError: the library has no form for this kind.
        """
        raise ExportError(f"Hugging Face's library has no form for a {self.kind} tokenizer")

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all that is saved; equal tokenizers have equal digests."""
        digest = hashlib.sha256(json.dumps(self.to_config(), sort_keys=True).encode())
        for name, content in sorted(self.files().items()):
            digest.update(f"\n{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def to_config(self) -> dict[str, object]:
        """Returns the saved configuration; a kind with more arguments adds entries of its own."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "vocabulary_size": self.vocabulary_size,
            "end_id": self.end_id,
            "unknown_id": self.unknown_id,
            "files": sorted(self.files()),
            # Left out where there is none, so that the digests of earlier tokenizers stay.
            **({"cleaning": self.cleaner.to_dict()} if self.cleaner.steps else {}),
            **self.special.to_config(),
        }

    def save(self, directory: str, originals: bool = True) -> None:
        """Writes the tokenizer's files to `directory`, which is made if it is missing.

        Args:
            directory: the folder.
            originals: whether `original` is kept too, in a folder of its own.
        """
        contents = dict(self.files())
        config = {**self.to_config(), "digest": self.digest}
        if originals and self.original:
            contents |= {
                os.path.join(ORIGINAL_FOLDER, name): content
                for name, content in self.original.items()
            }
            config["original"] = {
                name: hashlib.sha256(content).hexdigest() for name, content in self.original.items()
            }
        for name, content in contents.items():
            with atomic_write(os.path.join(directory, name)) as file:
                file.write(content)
        with atomic_write(os.path.join(directory, CONFIG_FILE), "w") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
