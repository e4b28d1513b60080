"""The signature `predict` of a file, as model.json describes it: named inputs and outputs, and what
the outputs mean.

Shapes: B rows of a call, C classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tfscale.device.text_input import RowLayout
from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject
from tfscale.tasks.values import log_probabilities

Gives = Literal["probabilities", "probability", "logits", "logit", "values"]
"""probabilities: of C classes, with sum 1; probability: each value is one by itself; logits: of C
classes, a softmax makes probabilities; logit: each value by itself, a sigmoid makes one; values:
any other numbers."""
ElementType = Literal["float32", "int32", "uint8", "bool"]
"""Types of numbers that a file reads and gives."""
Inputs = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]
"""An array for a model of one input; else arrays by name, or in the order of the inputs."""


@dataclass(frozen=True, kw_only=True)
class InputTensor:
    """An input: its name in the file, its shape (B, ...) and the type of its numbers."""

    name: str
    shape: list[int]
    dtype: ElementType


@dataclass(frozen=True, kw_only=True)
class OutputTensor(InputTensor):
    """An output.

    Attributes:
        gives: what its numbers are.
        labels: names of classes: of C values (B, C), or of "no" and "yes" where (B, 1) or (B,) says
            how likely yes is. None where they have no names.
    """

    gives: Gives = "values"
    labels: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """C; 2 where one value says how likely one of two is."""
        count = math.prod(self.shape[1:])
        return 2 if count == 1 and self.gives in ("logit", "probability") else count

    @property
    def has_several(self) -> bool:
        """Whether a row may have several of the labels, each by itself."""
        return self.gives in ("logit", "probability") and math.prod(self.shape[1:]) > 1

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Returns the probability (N, C) of each label, of values (N, ...) that have labels."""
        values = np.asarray(values, np.float64).reshape(len(values), -1)
        if self.gives == "logits":
            return np.exp(log_probabilities(values))
        if self.gives == "logit":
            values = 0.5 * (1 + np.tanh(values / 2))  # A sigmoid that does not overflow.
        one_of_two = values.shape[1] < self.classes
        return np.concatenate([1 - values, values], axis=1) if one_of_two else values

    def named(self, probabilities: np.ndarray) -> JsonObject:
        """Returns what a row's probabilities (C,) say: the label and its probability, and all."""
        named = dict(zip(self.labels, map(float, probabilities), strict=True))
        if self.has_several:
            likely = [label for label, chance in named.items() if chance > 0.5]
            return {"labels": likely, "probabilities": named}
        best = max(named, key=lambda label: named[label])
        return {"label": best, "probability": named[best], "probabilities": named}


@dataclass(frozen=True, kw_only=True)
class PredictSignature:
    """The inputs and outputs of a file, in order.

    Attributes:
        inputs: what it reads.
        outputs: what it gives.
        text: how a text becomes the row of ids that the one input reads; none where the file takes
            no text.
    """

    inputs: list[InputTensor]
    outputs: list[OutputTensor]
    text: list[RowLayout] = field(default_factory=list)

    def fault(self) -> str:
        """Returns what does not agree with itself, in words; "" where all does."""
        tensors = [*self.inputs, *self.outputs]
        if not self.inputs or not self.outputs or any(min(t.shape, default=0) < 1 for t in tensors):
            return "inputs and outputs should be one or more, each of one row or more"
        for tensor in self.outputs:
            if tensor.labels and len(tensor.labels) != tensor.classes:
                return f"output {tensor.name!r} has {len(tensor.labels)} labels of {tensor.classes}"
        if self.text and (len(self.inputs) > 1 or len(self.inputs[0].shape) != 2):
            return "a text is read by one input of shape (B, T)"
        return ""

    def arrays(self, given: Inputs) -> dict[str, np.ndarray]:
        """Returns arrays (N, ...) by name, in the types that the file reads.

        Raises:
            DataError: other inputs, another shape, no rows, or numbers that would change.
        """
        named = self._named(given)
        arrays = {tensor.name: _fitting(tensor, named[tensor.name]) for tensor in self.inputs}
        counts = {len(array) for array in arrays.values()}
        if len(counts) > 1:
            raise DataError(f"the inputs have {', '.join(map(str, sorted(counts)))} rows each")
        return arrays

    def _named(self, given: Inputs) -> Mapping[str, np.ndarray]:
        names = [tensor.name for tensor in self.inputs]
        if isinstance(given, Mapping):
            if set(given) != set(names):
                raise DataError(
                    f"the inputs are {', '.join(names)}; received {', '.join(map(str, given))}"
                )
            return given
        if len(names) == 1:
            one = isinstance(given, tuple | list) and len(given) == 1 and hasattr(given[0], "shape")
            return {names[0]: np.asarray(given[0]) if one else _array(given)}
        if not isinstance(given, tuple | list) or len(given) != len(names):
            received = (
                f"{len(given)} arrays" if isinstance(given, tuple | list) else type(given).__name__
            )
            raise DataError(
                f"the model has {len(names)} inputs, {', '.join(names)}: give a dict of arrays;"
                f" received {received}"
            )
        return dict(zip(names, given, strict=True))


def _array(given: Inputs) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise DataError("the input is not an array; received parts of unequal shapes") from error


def _fitting(tensor: InputTensor, given: np.ndarray) -> np.ndarray:
    expected = f"input {tensor.name!r} takes {tensor.dtype} of shape {shape_text(tensor)}"
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{expected}; received {array.dtype}")
    if list(array.shape[1:]) != tensor.shape[1:] or not array.ndim or not len(array):
        hint = ""
        if list(array.shape) == tensor.shape[1:]:
            hint = ": for one row give x[None]"
        raise DataError(f"{expected}; received shape {array.shape}{hint}")
    with np.errstate(invalid="ignore", over="ignore"):
        converted = array.astype(tensor.dtype)
        if tensor.dtype != "float32" and not np.array_equal(converted, array):
            raise DataError(f"{expected}; received {array.dtype} with values that do not fit it")
    return converted


def shape_text(tensor: InputTensor) -> str:
    """Returns the shape of any number of rows in words: "(N, 28, 28, 1)"."""
    return str(("N", *tensor.shape[1:])).replace("'", "")
