"""`HubCheckpoint`: the tensors of a Hugging Face folder, described without reading them, and read
in parts.

Files are read by the package safetensors, which checks their headers.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfscale.errors import ConfigError, reason
from tfscale.files.paths import read_json

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLED = "pytorch_model.bin"
_ANEW = "save it anew by save_pretrained of transformers 5"
_TYPES = ("F64", "F32", "F16", "BF16")
"""Types of numbers that are read."""
_PART = 1 << 22
"""Numbers that are read at a time."""


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
        # The order of transformers, where a folder has both.
        whole = os.path.isfile(os.path.join(folder, FILE)) or not os.path.isfile(index)
        places = {} if whole else _places(index)
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
            pickled = os.path.exists(os.path.join(self.folder, _PICKLED))
            pickled = pickled or os.path.exists(os.path.join(self.folder, f"{_PICKLED}.index.json"))
            raise ConfigError(
                f"{self.folder} has no {name}; the weights of a Hugging Face folder are read from"
                f" {FILE}, or from the files that {INDEX} names"
                + (f"; {_PICKLED}, which can run code, is not: {_ANEW}" if pickled else "")
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

    def parts(self, name: str, rows: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields the first rows of a tensor in float32, a part of them at a time, and which they
        are.

        Raises:
            ConfigError: a number is not finite.
        """
        stored = self._files[name].get_slice(name)
        for place in _pieces((rows, *self.shapes[name][1:])):
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = np.asarray(stored[place], np.float32)
            if not np.isfinite(numbers).all():
                raise ConfigError(f"{self.folder} has numbers in {name} that are not finite")
            yield place, numbers

    def same(self, one: str, other: str) -> bool:
        """Returns whether two tensors of one shape hold the same numbers."""
        stored = [self._files[name].get_slice(name) for name in (one, other)]
        return all(
            np.array_equal(*(tensor[place] for tensor in stored))
            for place in _pieces(self.shapes[one])
        )


def _pieces(shape: tuple[int, ...]) -> list[slice]:
    """Returns parts of the first axis."""
    step = max(1, _PART // max(1, math.prod(shape[1:])))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


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
