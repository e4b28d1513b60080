"""Documents that a Python program gives, instead of files."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfscale.errors import DataError
from tfscale.text.reader import Reading
from tfscale.text.records import MISSING, field_names, field_text, field_value, plain_text

WHERE = "texts"
"""The argument's name, for messages."""


def given_texts(texts: Iterable[object], reading: Reading) -> Iterator[str]:
    """Returns the documents of an iterable.

    Args:
        texts: strings (or bytes in the encoding); or records with the text field, such as the rows
            of a Hugging Face data set; or a `tf.data.Dataset` of either, with one string in each
            element.
        reading: the text field, the encoding, and where to count.

    Raises:
        DataError: it is no such iterable, has no end, or an element holds no text; the message has
            its number.

    Example:
        given_texts(["one", "two"], Reading())
    """
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise DataError(
            f"texts is a {type(texts).__name__}; expected an iterable of documents, such as a list"
            " of strings"
        )
    # Those of pandas give the names of their columns, one after the other.
    if getattr(type(texts), "columns", None) is not None:
        raise DataError(
            f"texts is a {type(texts).__name__}, a table; give one of its columns, such as"
            f" table[{reading.text_field!r}], or its rows as dictionaries"
        )
    import tensorflow as tf

    if isinstance(texts, tf.data.Dataset):
        texts = _dataset_elements(texts, reading)
    return reading.kept(_checked(texts, reading))


def _checked(texts: Iterable[object], reading: Reading) -> Iterator[str]:
    for number, element in enumerate(texts, 1):
        where = f"{WHERE}, element {number}"
        if isinstance(element, Mapping):
            yield field_text(element, where, reading)
        elif isinstance(element, str | bytes):
            yield plain_text(element, where, reading)
        else:
            raise DataError(
                f"{where} is a {type(element).__name__}; expected a string, or a record with the"
                f" field {reading.text_field!r}"
            )


def _dataset_elements(dataset: Any, reading: Reading) -> Iterable[object]:
    """Returns the elements of a `tf.data.Dataset` as bytes."""
    import tensorflow as tf

    spec = dataset.element_spec
    name = reading.text_field
    if isinstance(spec, dict):
        found = field_value(spec, name)
        if found is MISSING:
            names = ", ".join(field_names(spec))
            raise DataError(f"{WHERE}: the dataset has no field {name!r}; it has {names}")
        dataset, spec = dataset.map(lambda element: field_value(element, name)), found
    shape = getattr(spec, "shape", None)
    if getattr(spec, "dtype", None) != tf.string or shape is None or shape.rank != 0:
        raise DataError(
            f"{WHERE}: an element of the dataset is {spec}; expected one string (a batched dataset"
            " is taken apart by .unbatch())"
        )
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError(f"{WHERE}: the dataset repeats for ever; leave .repeat() out")
    elements: Iterable[object] = dataset.as_numpy_iterator()
    return elements
