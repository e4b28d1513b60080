"""`HubCheckpoint`: the tensors of a Hugging Face folder, described without reading them, and read
one at a time.

Files are read by the package safetensors, which checks their headers.
"""

import contextlib
import os
from typing import Any

import numpy as np

from tfscale.errors import ConfigError, reason
from tfscale.files.paths import read_json

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_TYPES = ("F64", "F32", "F16", "BF16")
"""Types of numbers that are read."""


class HubCheckpoint(contextlib.ExitStack):
    """The tensors of `model.safetensors`, or of the files that its index names.

    Args:
        folder: of Hugging Face.

    Raises:
        ConfigError: a file is missing, damaged or outside of the folder, or numbers are of a type
            that is not read.

    Attributes:
        shapes: name -> shape.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Any] = {}
        index = os.path.join(folder, INDEX)
        places = _places(index) if os.path.isfile(index) else {}
        try:
            for name in sorted(set(places.values())) or [FILE]:
                self._open(name)
        except BaseException:
            self.close()
            raise
        for tensor, name in places.items():
            if tensor not in self._files:
                raise ConfigError(f"{index} has {tensor} in {name}, which does not have it")

    def _open(self, name: str) -> None:
        from safetensors import SafetensorError, safe_open

        path = os.path.join(self.folder, name)
        if not os.path.isfile(path):
            raise ConfigError(
                f"{self.folder} has no {name}; the weights of a Hugging Face folder are read from"
                f" {FILE}, or from the files that {INDEX} names"
            )
        try:
            file = self.enter_context(safe_open(path, framework="np"))
        except (SafetensorError, OSError) as error:
            raise ConfigError(
                f"{path} is not a whole safetensors file ({reason(error)})"
            ) from error
        for tensor in file.keys():  # noqa: SIM118 (it is no mapping)
            if tensor in self._files:
                raise ConfigError(f"{path} has {tensor}, which another file of the folder has too")
            part = file.get_slice(tensor)
            if part.get_dtype() not in _TYPES:
                raise ConfigError(
                    f"{path} has {tensor} in {part.get_dtype()}; weights are read in"
                    f" {', '.join(_TYPES)}"
                )
            self._files[tensor] = file
            self.shapes[tensor] = tuple(part.get_shape())

    def read(self, name: str, rows: int) -> np.ndarray:
        """Returns the first rows of a tensor in float32.

        Raises:
            ConfigError: a number is not finite.
        """
        values = self._files[name].get_slice(name)[:rows]
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, np.float32)
        # The sum of the squares is finite where all numbers are, but for huge ones.
        if not np.isfinite(np.vdot(numbers, numbers)) and not np.isfinite(numbers).all():
            raise ConfigError(f"{self.folder} has numbers in {name} that are not finite")
        return numbers

    def same(self, one: str, other: str, step: int) -> bool:
        """Returns whether two tensors of one shape hold the same numbers; reads `step` rows at a
        time."""
        parts = [self._files[name].get_slice(name) for name in (one, other)]
        rows = self.shapes[one][0]
        return all(
            np.array_equal(*(part[start : min(start + step, rows)] for part in parts))
            for start in range(0, rows, step)
        )


def _places(index: str) -> dict[str, str]:
    """Returns which file of the folder each tensor is in."""
    content = read_json(index, "the checkpoint's index")
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise ConfigError(f"{index} has no weight_map of tensors and files")
    for tensor, name in places.items():
        if not isinstance(name, str) or os.path.basename(name) != name or not name:
            raise ConfigError(
                f"{index} has {tensor} in {name!r}; expected the name of a file in the same folder"
            )
    return places
