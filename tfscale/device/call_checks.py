"""Checks that a signature of a language model's file has the tensors that its caller writes and
reads.

Shapes: S tokens of a call, C context.
"""

from collections.abc import Iterable

import numpy as np

from tfscale.device.session import Signature, Tensor
from tfscale.errors import ExportError


def check_inputs(
    path: str, name: str, signature: Signature, length: int, context: int | None
) -> None:
    """Checks that a signature takes tokens (1, S) int32, and of a Transformer also input_pos (S,)
    int32 and mask (1, 1, S, C) float32.

    Args:
        path: the file, for messages.
        name: that of the signature.
        signature: its inputs and outputs.
        length: S.
        context: C; None where the file has neither input_pos nor mask.

    Raises:
        ExportError: an input is missing or has another shape or type.

    Example:
        check_inputs("model.tflite", "prefill_8", session.signatures["prefill_8"], 8, 256)
    """
    integer, real = np.dtype(np.int32), np.dtype(np.float32)
    expected = {"tokens": Tensor((1, length), integer)}
    if context is not None:
        expected["input_pos"] = Tensor((length,), integer)
        expected["mask"] = Tensor((1, 1, length, context), real)
    for tensor, wanted in expected.items():
        found = signature.inputs.get(tensor)
        if found != wanted:
            has = "is missing" if found is None else f"has shape {found.shape} of {found.dtype}"
            raise ExportError(
                f"{path}: input {tensor} of `{name}` {has}, expected {wanted.shape} of"
                f" {wanted.dtype}"
            )


def check_caches(
    path: str, name: str, signature: Signature, caches: Iterable[str], context: int | None
) -> None:
    """Checks that a signature gives its caches back as it takes them.

    Args:
        path: the file, for messages.
        name: that of the signature.
        signature: its inputs and outputs, which have the caches.
        caches: names of the caches, or of the parts of a state.
        context: tokens that a cache holds along its second dimension; None for a state.

    Raises:
        ExportError: a cache has another shape or type as output, or does not hold the context.

    Example:
        check_caches("model.tflite", "decode", signature, ["kv_cache_k_0", "kv_cache_v_0"], 256)
    """
    for cache in caches:
        given, back = signature.inputs[cache], signature.outputs[cache]
        if back.shape != given.shape:
            raise ExportError(
                f"{path}: `{cache}` has shape {given.shape} as input of `{name}` and another as"
                " output"
            )
        if back.dtype != given.dtype or (context is not None and given.shape[1:2] != (context,)):
            raise ExportError(
                f"{path}: the cache `{cache}` of `{name}` has shape {given.shape}, which does not"
                " fit"
            )
