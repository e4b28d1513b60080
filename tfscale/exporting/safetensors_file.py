"""Writes checkpoints in the format of the package safetensors, one tensor in memory at a time.

The package's own functions take all tensors of a file at once, a second copy of the weights. A
file is the length of its header (8 bytes, little endian), the header (JSON: type, shape and place
of each tensor), and the numbers, one tensor after the other.
"""

import json
import math
import os
from collections.abc import Iterable, Sequence

import numpy as np

from tfscale.errors import ExportError
from tfscale.files.paths import atomic_write, read_json, write_json
from tfscale.models.hub_tensor import HubTensor

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LARGEST = 5_000_000_000
"""Bytes of a file, above which a checkpoint is cut, as transformers did until its version 5."""
_TYPES = {"float32": "F32", "float16": "F16"}
_ALIGNED = 8


def write_checkpoint(
    folder: str, tensors: Iterable[HubTensor], dtype: str, largest: int = _LARGEST
) -> list[str]:
    """Writes `model.safetensors`, or several such files and their index.

    Args:
        folder: where to write.
        tensors: in their order in the file.
        dtype: "float32" or "float16", of the numbers in the file.
        largest: bytes of a file; a larger tensor has a file of its own.

    Returns:
        The names of the files, the index first where there is one.

    Example:
        write_checkpoint("export", writer.tensors(network), "float32")    # ["model.safetensors"]
    """
    shards = _shards(tensors, np.dtype(dtype).itemsize, largest)
    if len(shards) == 1:
        _write_file(os.path.join(folder, FILE), shards[0], dtype)
        return [FILE]
    names: list[str] = []
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(os.path.join(folder, name), shard, dtype)
        names.append(name)
        places |= dict.fromkeys((tensor.name for tensor in shard), name)
    size = sum(_bytes_of(tensor, dtype) for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    write_json(os.path.join(folder, INDEX), index)
    return [INDEX, *names]


def checkpoint_files(folder: str) -> list[str]:
    """Returns the paths of the files with numbers in a folder."""
    path = os.path.join(folder, INDEX)
    if not os.path.exists(path):
        return [os.path.join(folder, FILE)]
    places = read_json(path, "the checkpoint's index")["weight_map"]
    return [os.path.join(folder, name) for name in sorted(set(places.values()))]


def _shards(tensors: Iterable[HubTensor], itemsize: int, largest: int) -> list[list[HubTensor]]:
    shards: list[list[HubTensor]] = [[]]
    size = 0
    for tensor in tensors:
        more = math.prod(tensor.shape) * itemsize
        if shards[-1] and size + more > largest:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += more
    return shards


def _bytes_of(tensor: HubTensor, dtype: str) -> int:
    return math.prod(tensor.shape) * np.dtype(dtype).itemsize


def _write_file(path: str, tensors: Sequence[HubTensor], dtype: str) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for tensor in tensors:
        end = place + _bytes_of(tensor, dtype)
        header[tensor.name] = {
            "dtype": _TYPES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces up to a multiple of 8, so that the numbers can be mapped into memory.
    text += b" " * (-len(text) % _ALIGNED)
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            with np.errstate(over="ignore"):
                numbers = np.ascontiguousarray(tensor.read(), dtype)
            if not np.isfinite(numbers).all():
                advice = "; try quantize=none" if dtype == "float16" else ""
                raise ExportError(
                    f"{tensor.name} has numbers that are not finite in {dtype}{advice}"
                )
            file.write(numbers.data.cast("B"))
