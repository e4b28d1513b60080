"""The text of the benchmark, and the data folders and arrays that are made of it.

    python -m benchmarks.corpus characters --text FILE --output DIR

writes DIR/data (characters as tokens) and DIR/tokens.npz (the same tokens, for PyTorch);

    python -m benchmarks.corpus pieces --text FILE --output DIR

writes DIR/data (SentencePiece of 8,192 entries).
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from tfscale.config import PrepareConfig
from tfscale.errors import DataError
from tfscale.files.paths import atomic_write
from tfscale.text.builtin import builtin_corpus
from tfscale.text.corpora import find_text, read_documents
from tfscale.text.tokenizers import load_tokenizer

BUILT_IN_CHARACTERS = 1_100_000
"""Characters taken of the built-in corpus: about as many as tinyshakespeare has."""
TRAIN_SHARE = 0.9
VOCABULARY_SIZE = 8192


def read_text(path: str | None) -> str:
    """The text of a file, or the beginning of the built-in corpus python-docs.

    Raises:
        DataError: the file is missing, empty, or not UTF-8.
    """
    if path is not None:
        documents = list(read_documents(find_text([path])))
        if not documents:
            raise DataError(f"{path} is empty; give a plain text file")
        return "".join(documents)
    parts: list[str] = []
    characters = 0
    for file in builtin_corpus("python-docs"):
        if characters >= BUILT_IN_CHARACTERS:
            break
        assert file.text is not None
        parts.append(file.text())
        characters += len(parts[-1])
    return "".join(parts)[:BUILT_IN_CHARACTERS]


def cut(text: str) -> tuple[str, str]:
    """The first 90 % of the characters, to train on, and the rest, to validate on; as nanoGPT cuts
    them."""
    border = int(len(text) * TRAIN_SHARE)
    return text[:border], text[border:]


def repeated(text: str, characters: int) -> str:
    """The text as often as it takes to have `characters`, as paragraphs of their own."""
    return "\n\n".join([text] * -(-characters // len(text)))


def write(path: str | Path, text: str) -> str:
    """Writes a text file, without changing its line ends, and returns its SHA-256."""
    content = text.encode("utf-8")
    with atomic_write(str(path)) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    from tfscale.data.prepare import prepare

    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("characters", "pieces"))
    parser.add_argument("--text", required=True)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    paths = {}
    for name, part in zip(("train", "validation"), cut(read_text(options.text)), strict=True):
        paths[name] = os.path.join(options.output, f"{name}.txt")
        write(paths[name], part)
    data = os.path.join(options.output, "data")
    characters = options.kind == "characters"
    manifest = prepare(
        PrepareConfig(
            text=[paths["train"]],
            validation_text=[paths["validation"]],
            test_fraction=0,
            output=data,
            tokenizer="char" if characters else "sentencepiece",
            vocabulary_size=VOCABULARY_SIZE,
        ),
        progress=False,
    )
    if characters:
        tokenizer = load_tokenizer(data)
        streams = {}
        for name, path in paths.items():
            ids = [*tokenizer.encode(read_text(path)), tokenizer.end_id]
            assert len(ids) == manifest.splits[name].tokens
            streams[name] = np.array(ids, np.uint16)
        sizes = {"end_id": tokenizer.end_id, "vocabulary_size": tokenizer.vocabulary_size}
        np.savez(os.path.join(options.output, "tokens.npz"), **streams, **sizes)
    print(json.dumps({"tokens": {name: split.tokens for name, split in manifest.splits.items()}}))


if __name__ == "__main__":
    main()
