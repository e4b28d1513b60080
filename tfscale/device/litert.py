"""LiteRT's C interface, from the shared library in the package ai-edge-litert.

The package's Python `Interpreter` packs the weights again for each signature of a file, and its
`CompiledModel` holds Python's lock while it computes. The C interface shares one packed copy among
the signatures and does not hold the lock.
"""

import ctypes
import functools
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import ai_edge_litert
import numpy as np

_NAMES = {"win32": "libLiteRt.dll", "darwin": "libLiteRt.dylib"}
_CPU = 1
"""kLiteRtHwAcceleratorCpu."""
_SHARED_WEIGHTS = ":memory"
"""XNNPACK's name for a cache of packed weights in memory instead of a file."""
_TYPES = {1: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
"""LiteRtElementType -> type of NumPy, for inputs and outputs of files."""
_MOST_DIMENSIONS = 8
Buffers = ctypes.Array[ctypes.c_void_p]
"""LiteRtTensorBuffers, in the order of a signature."""


class _Layout(ctypes.Structure):
    """LiteRtLayout; `rank` holds the number of dimensions in its low 7 bits."""

    _fields_ = [
        ("rank", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * _MOST_DIMENSIONS),
        ("strides", ctypes.c_uint32 * _MOST_DIMENSIONS),
    ]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return tuple(self.dimensions[: self.rank & 127])


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType: the type and shape of a tensor."""

    _fields_ = [("element", ctypes.c_int32), ("layout", _Layout)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its dimensions."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of its numbers.

        Raises:
            ValueError: it holds no numbers that a file of tfscale has.
        """
        if self.element not in _TYPES:
            raise ValueError(f"LiteRT's element type {self.element} is none that tfscale writes")
        return np.dtype(_TYPES[self.element])


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the shared library; None where the package has none, or none that this system can
    load."""
    path = Path(ai_edge_litert.__file__).parent / _NAMES.get(sys.platform, "libLiteRt.so")
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def check(status: int, what: str) -> None:
    """Raises a RuntimeError for a LiteRtStatus that is not kLiteRtStatusOk."""
    if status:
        raise RuntimeError(f"{what} failed with status {status}")


def handle(function: str, *arguments: object) -> ctypes.c_void_p:
    """Calls a function that writes a handle to its last argument, and returns the handle."""
    result = ctypes.c_void_p()
    check(_function(function)(*arguments, ctypes.byref(result)), function)
    return result


def count(function: str, *arguments: object) -> int:
    """Calls a function that writes a size to its last argument, and returns the size."""
    result = ctypes.c_size_t()
    check(_function(function)(*arguments, ctypes.byref(result)), function)
    return result.value


def text(function: str, *arguments: object) -> str:
    """Calls a function that writes a string to its last argument, and returns the string."""
    result = ctypes.c_char_p()
    check(_function(function)(*arguments, ctypes.byref(result)), function)
    return (result.value or b"").decode()


def tensor_type(tensor: ctypes.c_void_p) -> TensorType:
    """Returns the type of a LiteRtTensor."""
    result = TensorType()
    check(
        _function("LiteRtGetRankedTensorType")(tensor, ctypes.byref(result)),
        "LiteRtGetRankedTensorType",
    )
    return result


class Compiled:
    """A file that is ready to run on the CPU by XNNPACK, with one packed copy of its weights.

    Its memory is freed when nothing refers to it anymore; at the process's end by the system.

    Args:
        path: the .tflite file, which is mapped into memory.
        threads: CPU threads.

    Raises:
        RuntimeError: LiteRT refuses the file.
    """

    def __init__(self, path: str, threads: int):
        owned: list[tuple[str, ctypes.c_void_p]] = []
        # A daemon thread may be computing with it while the process ends.
        weakref.finalize(self, _destroy, owned).atexit = False

        def own(kind: str, function: str, *arguments: object) -> ctypes.c_void_p:
            created = handle(function, *arguments)
            owned.append((f"LiteRtDestroy{kind}", created))
            return created

        environment = _environment()
        name = os.fsencode(path)
        self.model = own("Model", "LiteRtCreateModelFromFile", environment, name)
        options = _options(threads)
        try:
            self.compiled = own(
                "CompiledModel", "LiteRtCreateCompiledModel", environment, self.model, options
            )
        finally:
            _function("LiteRtDestroyOptions")(options)
        self._owned = owned

    def buffer(self, array: np.ndarray, kind: TensorType) -> ctypes.c_void_p:
        """Returns a LiteRtTensorBuffer over an array of `aligned_zeros`, which the caller keeps."""
        address = ctypes.c_void_p(array.ctypes.data)
        size = ctypes.c_size_t(array.nbytes)
        create = "LiteRtCreateTensorBufferFromHostMemory"
        created = handle(create, ctypes.byref(kind), address, size, None)
        self._owned.append(("LiteRtDestroyTensorBuffer", created))
        return created

    def output_shapes(self, signature: int, count: int) -> list[tuple[int, ...]]:
        """Returns the shapes in which a signature's outputs are computed, in the order of the file.

        The runtime writes as much, whatever shapes the file says and however small a buffer is.
        """
        layouts = (_Layout * count)()
        status = _function("LiteRtGetCompiledModelOutputTensorLayouts")(
            self.compiled,
            ctypes.c_size_t(signature),
            ctypes.c_size_t(count),
            layouts,
            # Prepares the signature; without that it repeats what the file says.
            ctypes.c_bool(True),
        )
        check(status, "LiteRtGetCompiledModelOutputTensorLayouts")
        return [layout.shape for layout in layouts]

    def run(self, signature: int, inputs: Buffers, outputs: Buffers) -> None:
        """Computes a signature, by its place in the file, on arrays of LiteRtTensorBuffers."""
        status = _function("LiteRtRunCompiledModel")(
            self.compiled,
            ctypes.c_size_t(signature),
            ctypes.c_size_t(len(inputs)),
            inputs,
            ctypes.c_size_t(len(outputs)),
            outputs,
        )
        check(status, "LiteRtRunCompiledModel")


def _function(name: str) -> Any:
    loaded = library()
    assert loaded is not None
    return getattr(loaded, name)


@functools.cache
def _environment() -> ctypes.c_void_p:
    """Returns the one LiteRtEnvironment of the process, which all files share."""
    return handle("LiteRtCreateEnvironment", 0, None)


def _options(threads: int) -> ctypes.c_void_p:
    """Returns a LiteRtOptions: CPU, and what XNNPACK is to do as TOML, under LiteRT's name."""
    options = handle("LiteRtCreateOptions")
    check(
        _function("LiteRtSetOptionsHardwareAccelerators")(options, _CPU),
        "LiteRtSetOptionsHardwareAccelerators",
    )
    toml = f'num_threads = {threads}\nweight_cache_file_path = "{_SHARED_WEIGHTS}"\n'
    payload = _PAYLOADS.setdefault(toml, ctypes.create_string_buffer(toml.encode()))
    opaque = handle(
        "LiteRtCreateOpaqueOptions", b"xnnpack", ctypes.cast(payload, ctypes.c_void_p), _KEEP
    )
    check(_function("LiteRtAddOpaqueOptions")(options, opaque), "LiteRtAddOpaqueOptions")
    return options


def _destroy(owned: list[tuple[str, ctypes.c_void_p]]) -> None:
    for function, created in reversed(owned):
        _function(function)(created)


_PAYLOADS: dict[str, ctypes.Array[ctypes.c_char]] = {}
"""Options in the form in which the library was given them; it does not copy them."""
_KEEP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
"""Called by the library when it is done with an option; frees nothing, as `_PAYLOADS` keeps it."""
