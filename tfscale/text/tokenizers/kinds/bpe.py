"""Byte-pair encoding over bytes (Sennrich et al. 2016; Radford et al. 2019).

GPT-2, Llama 3 and Qwen have it.

Such tokenizers come with models that others trained; a vocabulary of one's own is rather
SentencePiece's.
"""

import json
from collections.abc import Iterable, Mapping

from tfscale.errors import TokenizerError
from tfscale.registry import register
from tfscale.text.tokenizers.gguf_types import CONTROL, NORMAL, UNUSED
from tfscale.text.tokenizers.gguf_words import word_cutter
from tfscale.text.tokenizers.hugging_face import (
    HuggingFaceTokenizer,
    byte_characters,
    import_tokenizers,
)


@register
class BytePairTokenizer(HuggingFaceTokenizer):
    """Merges bytes in the order in which the merges were learned, within words.

    Args:
        model: the content of `tokenizer.json`, which Hugging Face's `tokenizers` can read.
        end_token: the token that follows every document, as the vocabulary spells it.

    Raises:
        TokenizerError: `tokenizers` is not installed, the content is not such a file, or it lacks a
            byte or the end.
    """

    kind = "bpe"
    lossless = True

    def __init__(self, model: bytes, end_token: str):
        super().__init__(model)
        self.end_token = end_token
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=False)
        bytes_of = {character: byte for byte, character in byte_characters()}
        missing = [character for character in bytes_of if character not in vocabulary]
        if missing or end_token not in vocabulary:
            byte = f"the byte 0x{bytes_of[missing[0]]:02X}" if missing else ""
            lacking = byte or f"the end token {end_token!r}"
            raise TokenizerError(f"the vocabulary has no entry for {lacking}")
        self.vocabulary_size = max(vocabulary.values()) + 1
        self.end_id = vocabulary[end_token]
        self.unknown_id = None
        # So many ids may be without a text.
        if self.vocabulary_size > 2 * len(vocabulary) + 10_000:
            raise TokenizerError(
                f"tokenizer.json has an id {self.vocabulary_size - 1} and {len(vocabulary)} tokens"
            )
        self._pieces = [""] * self.vocabulary_size
        self._bytes = [b""] * self.vocabulary_size
        for piece, id in vocabulary.items():
            self._pieces[id] = piece
            # Special tokens are spelled as they are.
            plain = all(character in bytes_of for character in piece)
            self._bytes[id] = (
                bytes(bytes_of[character] for character in piece) if plain else piece.encode()
            )

    @classmethod
    def from_merges(
        cls, vocabulary: Mapping[str, int], merges: Iterable[str], end_token: str, words: str = ""
    ) -> "BytePairTokenizer":
        """Returns the tokenizer of a vocabulary and its merges.

        Args:
            vocabulary: token, its bytes written as GPT-2's characters -> id; most models have it as
                `vocab.json`.
            merges: lines of `merges.txt`, two tokens and a space between, in their order; a line
                `#version` is passed over.
            end_token: the token that follows every document.
            words: regular expression of what is a word; empty takes GPT-2's.

        Raises:
            TokenizerError: a merge of tokens that do not exist, or what the class refuses.

        Example:
            BytePairTokenizer.from_merges(json.load(file), merges.splitlines(), "<|endoftext|>")
        """
        library = import_tokenizers()
        pairs = [
            tuple(line.split(" "))
            for line in merges
            if line.strip() and not line.startswith("#version")
        ]
        try:
            ours = library.Tokenizer(library.models.BPE(vocab=dict(vocabulary), merges=pairs))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"vocabulary and merges do not belong together ({error})"
            ) from error
        split, by_bytes = library.pre_tokenizers.Split, library.pre_tokenizers.ByteLevel
        ours.pre_tokenizer = by_bytes(add_prefix_space=False)
        if words:
            ours.pre_tokenizer = library.pre_tokenizers.Sequence(
                [
                    split(library.Regex(words), behavior="isolated"),
                    by_bytes(add_prefix_space=False, use_regex=False),
                ]
            )
        ours.decoder = library.decoders.ByteLevel()
        return cls(
            json.dumps(json.loads(ours.to_str()), sort_keys=True, ensure_ascii=False).encode(),
            end_token,
        )

    def special_ids(self) -> Iterable[int]:
        # Those that no merge makes and that are not a byte: they were added to the vocabulary, not
        # learned.
        merges = json.loads(self.model)["model"]["merges"]
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
        learned = {"".join(pair) for pair in pairs} | {
            character for _, character in byte_characters()
        }
        return [id for id, piece in enumerate(self._pieces) if piece and piece not in learned]

    def token_bytes(self, id: int, previous: int | None) -> bytes:
        return self._bytes[id]

    def hub_assets(self) -> dict[str, object]:
        merges = json.loads(self.model)["model"]["merges"]
        lines = [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]
        vocabulary = {piece: id for id, piece in enumerate(self._pieces) if piece}
        return {"vocabulary": vocabulary, "merges": lines}

    def gguf_vocabulary(self) -> dict[str, object]:
        content = json.loads(self.model)
        merges = content["model"]["merges"]
        special = set(self.special_tokens.values())
        return {
            "model": "gpt2",
            "pre": word_cutter(content),
            # Ids without a token have a text too, which is none that a text spells.
            "tokens": [piece or f"[PAD{id}]" for id, piece in enumerate(self._pieces)],
            "token_type": [
                (CONTROL if id in special else NORMAL) if piece else UNUSED
                for id, piece in enumerate(self._pieces)
            ],
            "merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in merges],
        }

    def bundle_file(self) -> bytes:
        library = import_tokenizers()
        marked = library.Tokenizer.from_str(self.model.decode())
        marked.add_special_tokens(
            [library.AddedToken(text, special=True) for text in self.special_tokens]
        )
        return marked.to_str().encode()

    def to_config(self) -> dict[str, object]:
        return super().to_config() | {"end_token": self.end_token}

    @classmethod
    def from_files(
        cls, config: Mapping[str, object], files: dict[str, bytes]
    ) -> "BytePairTokenizer":
        return cls(files["tokenizer.json"], str(config["end_token"]))
