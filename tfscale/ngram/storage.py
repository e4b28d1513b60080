"""The file of an n-gram model: NumPy arrays, checked when they are read.

Shapes: U n-grams of an order.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfscale.errors import DataError, ExportError, reason
from tfscale.files.fields import from_fields
from tfscale.files.json_text import parse_json, to_json
from tfscale.files.npz import read_npz
from tfscale.ngram.count import token_bits
from tfscale.ngram.levels import CODES, Level

FORMAT_VERSION = 1


def to_arrays(levels: Sequence[Level], vocabulary_size: int, end_id: int) -> dict[str, np.ndarray]:
    """Returns the arrays of a file.

    Per order the number of n-grams of each context, their last tokens, and logarithms: as they are,
    or a byte each and a codebook where they have `CODES` different values or fewer.
    """
    bits = np.uint64(token_bits(vocabulary_size))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    arrays: dict[str, np.ndarray] = {}
    for k, level in enumerate(levels, 1):
        if k > 1:
            per_context = np.bincount(
                (level.keys >> bits).astype(np.int64), minlength=len(levels[k - 2].keys)
            )
            arrays[f"children_{k}"] = _smallest(per_context)
            arrays[f"tokens_{k}"] = _smallest(level.keys & mask)
        named = [("probabilities", level.log_probabilities)]
        named += [("backoffs", level.log_backoffs)] if k < len(levels) else []
        for name, values in named:
            book, codes = np.unique(values, return_inverse=True)
            if len(book) <= CODES:
                arrays[f"{name}_{k}_values"] = book
                arrays[f"{name}_{k}_codes"] = codes.astype(np.uint8)
            else:
                arrays[f"{name}_{k}"] = values
    described = {
        "format_version": FORMAT_VERSION,
        "order": len(levels),
        "vocabulary_size": vocabulary_size,
        "end_id": end_id,
    }
    return {"description": np.frombuffer(to_json(described).encode(), np.uint8), **arrays}


def read_model(path: str) -> tuple[list[Level], int, int]:
    """Reads a file of `to_arrays`; returns the levels, the vocabulary size and the end token.

    Raises:
        ExportError: the file is missing, damaged or not an n-gram model.
    """
    try:
        # Opened here: NumPy leaves a file open that it finds damaged.
        with open(path, "rb") as file:
            arrays = read_npz(file)
        described = parse_json(arrays["description"].tobytes())
        version = described.get("format_version") if isinstance(described, dict) else None
        if version != FORMAT_VERSION:
            raise ExportError(
                f"{path} has format_version {version}; this version of tfscale reads"
                f" {FORMAT_VERSION}"
            )
        description = from_fields(_Description, described, "its description")
        size, order, end_id = description.vocabulary_size, description.order, description.end_id
        _require(order >= 1 and 0 <= end_id < size, "its order, vocabulary and end token")
        bits = np.uint64(token_bits(size))
        probabilities = _values(arrays, "probabilities", 1)
        _require(len(probabilities) == size <= 1 << 32, "its vocabulary")
        keys = np.arange(size, dtype=np.uint64)
        levels = []
        for k in range(1, order + 1):
            if k > 1:
                keys = _keys(arrays, k, len(keys), size, bits)
                probabilities = _values(arrays, "probabilities", k)
            backoffs = (
                _values(arrays, "backoffs", k) if k < order else np.zeros(len(keys), np.float32)
            )
            _require(len(probabilities) == len(backoffs) == len(keys), f"the {k}-grams")
            levels.append(Level(keys, probabilities, backoffs))
    except ExportError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        DataError,
    ) as error:
        raise ExportError(
            f"{path} is not an n-gram model, or is damaged ({reason(error)})"
        ) from error
    return levels, size, end_id


def _smallest(values: np.ndarray) -> np.ndarray:
    """Returns whole numbers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max())) if values.size else np.uint8)


@dataclass(frozen=True)
class _Description:
    """The figures that a file has of itself."""

    format_version: int
    order: int
    vocabulary_size: int
    end_id: int


def _is_unsigned(values: np.ndarray) -> bool:
    return np.issubdtype(values.dtype, np.unsignedinteger)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"{what} cannot be")


def _keys(
    arrays: dict[str, np.ndarray], k: int, contexts: int, vocabulary_size: int, bits: np.uint64
) -> np.ndarray:
    """Returns the keys (U,) of order k > 1.

    They hold the number of each n-gram's context, and its last token.
    """
    children, tokens = arrays[f"children_{k}"], arrays[f"tokens_{k}"]
    for values in (children, tokens):
        _require(values.ndim == 1 and _is_unsigned(values), f"the {k}-grams")
    # Compared one by one first: their sum could overflow.
    _require(
        len(children) == contexts and (not contexts or children.max() <= len(tokens)),
        f"the {k}-grams",
    )
    _require(int(children.sum(dtype=np.uint64)) == len(tokens), f"the {k}-grams")
    _require(not len(tokens) or tokens.max() < vocabulary_size, f"the tokens of {k}-grams")
    keys = (np.repeat(np.arange(contexts, dtype=np.uint64), children) << bits) | tokens.astype(
        np.uint64
    )
    _require(bool((keys[1:] > keys[:-1]).all()), f"the order of the {k}-grams")
    return keys


def _values(arrays: dict[str, np.ndarray], name: str, k: int) -> np.ndarray:
    """Returns logarithms (U,) of an order, stored as they are or by a codebook."""
    values = arrays.get(f"{name}_{k}")
    if values is None:
        book, codes = arrays[f"{name}_{k}_values"], arrays[f"{name}_{k}_codes"]
        _require(
            _is_unsigned(codes) and (not codes.size or codes.max() < len(book)),
            f"the codes of {k}-grams",
        )
        values = book[codes]
    _require(
        values.ndim == 1
        and np.issubdtype(values.dtype, np.floating)
        and not np.isnan(values).any(),
        f"the {name} of {k}-grams",
    )
    return values
