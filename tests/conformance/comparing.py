"""The differences between what two sides saw, each in one line."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Number

import numpy as np

from tests.conformance.habit import Tolerance


def differences(
    stock: object, found: object, tolerance: Tolerance, place: str = ""
) -> Iterator[str]:
    """Yields a line for every value of `found` that is not the one of `stock`."""
    if isinstance(stock, Mapping) and isinstance(found, Mapping):
        if list(stock) != list(found):
            yield f"{place}: names {list(stock)} and {list(found)}"
        for key in stock:
            if key in found:
                yield from differences(stock[key], found[key], tolerance, f"{place}/{key}")
    elif _is_sequence(stock) and _is_sequence(found):
        if len(stock) != len(found):
            yield f"{place}: {len(stock)} values and {len(found)}: {_short(stock)}, {_short(found)}"
        for index, (one, other) in enumerate(zip(stock, found, strict=False)):
            yield from differences(one, other, tolerance, f"{place}[{index}]")
    elif _is_numeric(stock) and _is_numeric(found):
        yield from _numbers(np.asarray(stock), np.asarray(found), tolerance, place)
    elif type(stock) is not type(found) or stock != found:
        yield f"{place}: {_short(stock)} and {_short(found)}"


def _numbers(
    stock: np.ndarray, found: np.ndarray, tolerance: Tolerance, place: str
) -> Iterator[str]:
    if stock.shape != found.shape:
        yield f"{place}: shapes {stock.shape} and {found.shape}"
    elif stock.dtype.kind != found.dtype.kind:
        yield f"{place}: types {stock.dtype} and {found.dtype}"
    elif stock.dtype.kind not in "fiub":
        if not np.array_equal(stock, found):
            yield f"{place}: {_short(stock)} and {_short(found)}"
    elif not np.allclose(
        found, stock, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True
    ):
        apart = np.abs(stock.astype("float64") - found.astype("float64"))
        most = np.max(apart[np.isfinite(apart)], initial=0.0)
        yield f"{place}: {_short(stock)} and {_short(found)}, apart by {most:.3g}"


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_numeric(value: object) -> bool:
    return isinstance(value, Number | np.ndarray | np.generic)


def _short(value: object) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 120 else f"{text[:120]}..."
