"""Runs the signatures of a .tflite file on arrays that stay in place from call to call."""

import contextlib
import ctypes
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfscale.compat.aligned import aligned_zeros
from tfscale.device import litert
from tfscale.device.interpreter import (
    check_readable,
    open_interpreter,
    running,
    without_log_lines,
)
from tfscale.errors import ExportError


@dataclass(frozen=True)
class Tensor:
    """An input or output: its shape and the type of its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def zeros(self) -> np.ndarray:
        """Returns an array for it, which a session reads and writes without a copy."""
        return aligned_zeros(self.shape, self.dtype)


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a signature by their names."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    def arrays(self, shared: Container[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Returns arrays of zeros for the inputs and the outputs; an output in `shared` is the
        input of its name."""
        inputs = {name: tensor.zeros() for name, tensor in self.inputs.items()}
        outputs = {
            name: inputs[name] if name in shared else tensor.zeros()
            for name, tensor in self.outputs.items()
        }
        return inputs, outputs


Arrays = Mapping[str, np.ndarray]


class Call(Protocol):
    """A signature with its arrays; calling it reads those of the inputs and fills the others."""

    def __call__(self) -> None:
        """Computes."""


class Session(Protocol):
    """An opened file.

    Attributes:
        signatures: what it can compute, by name.
    """

    signatures: dict[str, Signature]

    def call(self, name: str, inputs: Arrays, outputs: Arrays) -> Call:
        """Returns a call of a signature on arrays of `Tensor.zeros`, one for each name.

        An array may be an input and an output.

        Raises:
            ExportError: an array has another shape than its tensor, or LiteRT refuses it.
        """


def open_session(path: str, threads: int, xnnpack: bool) -> Session:
    """Opens a file.

    Args:
        path: the .tflite file.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: its structure is not sound, or LiteRT refuses it.
    """
    if not xnnpack or litert.library() is None:
        return InterpreterSession(path, threads, xnnpack)
    check_readable(path)
    with running(path), without_log_lines():
        return CompiledSession(path, threads)


class CompiledSession:
    """Runs by XNNPACK; all signatures share one packed copy of the weights.

    Args:
        path: the .tflite file.
        threads: CPU threads.

    Raises:
        RuntimeError: LiteRT refuses the file.
    """

    def __init__(self, path: str, threads: int):
        self._path = os.fspath(path)
        self._file = litert.Compiled(self._path, threads)
        self._arrays: list[np.ndarray] = []
        self._places: dict[str, int] = {}
        self._types: dict[str, tuple[dict[str, litert.TensorType], ...]] = {}
        for place in range(litert.count("LiteRtGetNumModelSignatures", self._file.model)):
            signature = litert.handle(
                "LiteRtGetModelSignature", self._file.model, ctypes.c_size_t(place)
            )
            name = litert.text("LiteRtGetSignatureKey", signature)
            self._places[name] = place
            self._types[name] = (
                _tensor_types(signature, "Input"),
                _tensor_types(signature, "Output"),
            )
        self.signatures = {
            name: Signature(
                *({n: Tensor(t.shape, t.dtype) for n, t in side.items()} for side in both)
            )
            for name, both in self._types.items()
        }

    def call(self, name: str, inputs: Arrays, outputs: Arrays) -> Call:
        """See `Session.call`."""
        # The runtime has their addresses alone.
        self._arrays += [*inputs.values(), *outputs.values()]
        with running(self._path), without_log_lines():
            self._check_outputs(name)
            sides = self._buffers(name, inputs, outputs)
        place, quiet = self._places[name], [without_log_lines()]

        def run() -> None:
            # What does not fit together shows when the signature is first prepared.
            with running(self._path), quiet.pop() if quiet else contextlib.nullcontext():
                self._file.run(place, *sides)

        return run

    def _check_outputs(self, name: str) -> None:
        """Refuses a file that says other shapes of a signature's outputs than are computed."""
        outputs = self.signatures[name].outputs
        shapes = self._file.output_shapes(self._places[name], len(outputs))
        for (tensor, said), shape in zip(outputs.items(), shapes, strict=True):
            if said.shape != shape:
                raise ExportError(
                    f"{self._path}: output {tensor} of `{name}` has shape {said.shape} by the file"
                    f" and is computed in shape {shape}"
                )

    def _buffers(self, name: str, inputs: Arrays, outputs: Arrays) -> list[litert.Buffers]:
        """Returns the buffers of a signature's inputs, and those of its outputs."""
        buffers: dict[int, ctypes.c_void_p] = {}
        sides: list[litert.Buffers] = []
        for types, arrays in zip(self._types[name], (inputs, outputs), strict=True):
            for tensor, kind in types.items():
                given = arrays[tensor]
                if (given.shape, given.dtype) != (kind.shape, kind.dtype):
                    raise ExportError(
                        f"{self._path}: {tensor} of {name} has shape {kind.shape} of {kind.dtype};"
                        f" another signature has {given.shape} of {given.dtype}"
                    )
                # The runtime knows an array that is input and output by its one buffer.
                if given.ctypes.data not in buffers:
                    buffers[given.ctypes.data] = self._file.buffer(given, kind)
            found = [buffers[arrays[tensor].ctypes.data] for tensor in types]
            sides.append((ctypes.c_void_p * len(found))(*(one.value for one in found)))
        return sides


class InterpreterSession:
    """Runs by the package's interpreter, which copies all arrays at each call.

    Args:
        path: the .tflite file.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels.

    Raises:
        ExportError: its structure is not sound, or LiteRT refuses it.
    """

    def __init__(self, path: str, threads: int, xnnpack: bool):
        self._path = path
        self._interpreter = open_interpreter(path, threads, xnnpack)
        self.signatures: dict[str, Signature] = {}
        with running(path), without_log_lines():
            for name in self._interpreter.get_signature_list():
                runner = self._interpreter.get_signature_runner(name)
                sides = runner.get_input_details(), runner.get_output_details()
                self.signatures[name] = Signature(
                    *(
                        {
                            n: Tensor(tuple(map(int, d["shape"])), np.dtype(d["dtype"]))
                            for n, d in side.items()
                        }
                        for side in sides
                    )
                )

    def call(self, name: str, inputs: Arrays, outputs: Arrays) -> Call:
        """See `Session.call`."""
        with running(self._path), without_log_lines():
            runner = self._interpreter.get_signature_runner(name)

        def run() -> None:
            with running(self._path):
                for tensor, value in runner(**inputs).items():
                    outputs[tensor][...] = value

        return run


def _tensor_types(signature: ctypes.c_void_p, side: str) -> dict[str, litert.TensorType]:
    """Returns the types of a signature's inputs or outputs by name, in the order of the file."""
    types = {}
    for place in range(litert.count(f"LiteRtGetNumSignature{side}s", signature)):
        index = ctypes.c_size_t(place)
        name = litert.text(f"LiteRtGetSignature{side}Name", signature, index)
        tensor = litert.handle(f"LiteRtGetSignature{side}TensorByIndex", signature, index)
        types[name] = litert.tensor_type(tensor)
    return types
