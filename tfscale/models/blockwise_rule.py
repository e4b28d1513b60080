"""Says where attention is computed block by block, as in `tfscale.models.blockwise_attention`,
because it takes less time than all scores at once.

It does in the steps of training and evaluation on a processor, for windows of `FROM_LENGTH` tokens
or more whose documents are kept apart. All else has all scores at once: files for devices and
cached decoding, which want no loop, GPUs and TPUs, for which its products are small and one after
the other, and windows of one text, where it was faster on one core and nobody measured many.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal

import tensorflow as tf

FROM_LENGTH = 512
"""Tokens of a window from which on it is faster, by `python -m benchmarks.document_mask`: 256 are
two blocks, which leave little to skip."""

_Step = Literal["here", "elsewhere", "none"]
"""The step that is traced: to be run by this machine, by another one, or none."""
_step: contextvars.ContextVar[_Step] = contextvars.ContextVar("step", default="none")


@contextlib.contextmanager
def blockwise_where_faster() -> Iterator[None]:
    """Has attention computed block by block in the step that is traced meanwhile, where that is
    faster.

    Example:
        with blockwise_where_faster():
            hidden = network.hidden_states(ids, training=True, documents=documents)
    """
    with _traced("elsewhere" if _step.get() == "elsewhere" else "here"):
        yield


@contextlib.contextmanager
def for_another_machine() -> Iterator[None]:
    """Has all scores computed at once in steps that are traced meanwhile, and run elsewhere."""
    with _traced("elsewhere"):
        yield


@contextlib.contextmanager
def _traced(step: _Step) -> Iterator[None]:
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def is_blockwise(length: int | tf.Tensor) -> bool:
    """Returns whether causal attention within documents is faster block by block.

    Args:
        length: tokens of a window, if it is known.
    """
    if _step.get() != "here" or not isinstance(length, int) or length < FROM_LENGTH:
        return False
    return not any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
