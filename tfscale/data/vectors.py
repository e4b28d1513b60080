"""Word vectors: trained on a data folder's tokens by gensim, and read from the files of others.

Vectors belong to tokens by their text without the space before it, so that those of whole words fit
the tokens that are whole words, in any tokenizer.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from typing import TextIO

import numpy as np

from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.data.tokens import token_blocks
from tfscale.errors import ConfigError, DataError, check_installed, reason
from tfscale.files.paths import atomic_write
from tfscale.text.tokenizers import Tokenizer, load_tokenizer

_LONGEST = 10_000
"""Tokens of a sentence that gensim reads; it would drop the rest."""


@checks_arguments
def vectors(
    data: str,
    output: str,
    *,
    dim: int = 128,
    window: int = 5,
    epochs: int = 5,
    min_count: int = 5,
    seed: int = 0,
) -> dict[str, object]:
    """Trains word2vec's skip-gram (Mikolov et al. 2013) on the training split.

    Args:
        data: DATA_DIR of `tfscale prepare`.
        output: file to write, in word2vec's text format.
        dim: width of the vectors.
        window: tokens on either side that are predicted.
        epochs: passes over the text.
        min_count: tokens that occur less often get no vector.
        seed: of the initial vectors; one thread trains, so that the same seed gives the same
            vectors.

    Returns:
        `tokens` of the vocabulary with a vector, `dim`, `output`.

    Raises:
        ConfigError: a number out of range, or gensim is not installed.
        DataError: the data folder is damaged, or no token occurs often enough.

    Example:
        vectors("data", "vectors.txt", dim=100)
    """
    check_installed("vectors", "gensim")
    from gensim.models import Word2Vec

    numbers = {"dim": dim, "window": window, "epochs": epochs, "min_count": min_count}
    for name, value in numbers.items():
        if value < 1:
            raise ConfigError(f"{name}={value} is out of range; expected 1 or more")
    manifest = Manifest.load(data, verify="sha256")
    tokenizer = load_tokenizer(data)
    names = token_texts(tokenizer)
    sentences = list(_sentences(data, manifest, names))
    model = Word2Vec(
        vector_size=dim, window=window, min_count=min_count, sg=1, workers=1, seed=seed
    )
    model.build_vocab(sentences)
    if not len(model.wv):
        raise DataError(f"no token of {data} occurs {min_count} times; give a smaller min_count")
    model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
    with atomic_write(output, "w") as file:
        file.write(f"{len(model.wv)} {dim}\n")
        for word in model.wv.index_to_key:
            file.write(f"{word} {' '.join(f'{value:.6g}' for value in model.wv[word])}\n")
    return {"tokens": len(model.wv), "dim": dim, "output": output}


def read_vectors(path: str) -> tuple[dict[str, int], np.ndarray]:
    """Reads words and vectors of a file: word2vec's text or binary format, or GloVe's.

    GloVe's format has no head. All may be .gz.

    Returns:
        Word -> row, and the vectors (rows, width) float32.

    Raises:
        DataError: the file is missing, or of none of these formats.

    Example:
        words, vectors = read_vectors("glove.6B.100d.txt")
    """
    check_installed("vectors", "gensim")
    from gensim.models import KeyedVectors

    if not os.path.isfile(path):
        raise DataError(f"cannot read the vectors {path}: there is no such file")
    binary = path.removesuffix(".gz").endswith(".bin")
    try:
        _check_head(path, binary)
        if not binary and not _has_head(path):
            # Not by gensim, which leaves the file open that it counts.
            return _read_glove(path)
        vectors = KeyedVectors.load_word2vec_format(path, binary=binary)
    except (ValueError, EOFError, IndexError, OSError, OverflowError, zlib.error) as error:
        raise DataError(
            f"{path} holds no vectors of word2vec (.txt, .bin) or GloVe: {reason(error)}"
        ) from error
    return dict(vectors.key_to_index), np.asarray(vectors.vectors, np.float32)


def embedding_rows(path: str, tokenizer: Tokenizer, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of those tokens that a file knows.

    Args:
        path: the file.
        tokenizer: whose tokens are looked up, as they are and in lower case.
        width: of the model's embedding.

    Returns:
        ids (n,) and vectors (n, width).

    Raises:
        DataError: vectors of another width, or none for any token.
    """
    words, vectors = read_vectors(path)
    if vectors.shape[1] != width:
        raise DataError(
            f"the vectors of {path} have {vectors.shape[1]} numbers, and the model's embedding"
            f" {width}; give --model.embedding_dim {vectors.shape[1]} (of a Transformer,"
            " --model.hidden_dim)"
        )
    row_of = {}
    for token, text in enumerate(token_texts(tokenizer)):
        row = words.get(text, words.get(text.lower())) if text else None
        if row is not None:
            row_of[token] = row
    if not row_of:
        raise DataError(f"{path} has a vector for none of the {tokenizer.vocabulary_size} tokens")
    return np.array(list(row_of)), vectors[list(row_of.values())]


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """Returns each token's text without the space before it.

    Empty for a token that is not a word, holds white space or is special.
    """
    texts = []
    for token in range(tokenizer.vocabulary_size):
        special = token in (tokenizer.end_id, tokenizer.unknown_id)
        text = (
            "" if special else tokenizer.token_bytes(token, None).decode("utf-8", "replace").strip()
        )
        texts.append("" if "\N{REPLACEMENT CHARACTER}" in text or text.split() != [text] else text)
    return texts


def _sentences(data: str, manifest: Manifest, names: list[str]) -> Iterator[list[str]]:
    sentence: list[str] = []
    for block in token_blocks(data, manifest, "train"):
        for token in block.tolist():
            if names[token]:
                sentence.append(names[token])
            if token == manifest.end_id or len(sentence) == _LONGEST:
                yield sentence
                sentence = []
    yield sentence


def _open_text(path: str) -> TextIO:
    return (
        gzip.open(path, "rt", encoding="utf-8")
        if path.endswith(".gz")
        else open(path, encoding="utf-8")
    )


def _check_head(path: str, binary: bool) -> None:
    """Refuses a file of word2vec that promises more vectors than it has bytes for.

    A word and its numbers take 4 bytes a number in the binary format, and a digit and a space in
    text; gzip makes at most a thousandth of it.
    """
    if not binary and not _has_head(path):
        return
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as file:
        words = file.readline(100).split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise ValueError("its first line is not the number of words and of the numbers of each")
    count, width = map(int, words)
    largest = os.path.getsize(path) * (1032 if path.endswith(".gz") else 1)
    if count * width * (4 if binary else 2) > largest:
        raise ValueError(
            f"it is too small for the {count:,} x {width:,} numbers that its first line promises"
        )


def _has_head(path: str) -> bool:
    with _open_text(path) as file:
        first = file.readline().split()
    return len(first) == 2 and all(word.isdigit() for word in first)


def _read_glove(path: str) -> tuple[dict[str, int], np.ndarray]:
    words: dict[str, int] = {}
    rows: list[np.ndarray] = []
    with _open_text(path) as file:
        for line in file:
            # The first word says how many numbers there are; later ones may hold spaces, as in
            # glove.840B.300d.txt.
            word, *numbers = line.rstrip().rsplit(" ", len(rows[0]) if rows else -1)
            words[word] = len(rows)
            rows.append(np.array(numbers, np.float32))
    if not rows or not len(rows[0]) or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError("expected a word and as many numbers in every line")
    return words, np.stack(rows)
