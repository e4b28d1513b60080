"""Memory that was freed, and that the C library keeps."""

import ctypes
import sys


def give_memory_back() -> None:
    """Gives freed memory back to the system, where the C library can (glibc).

    It keeps what lies below anything that is in use, such as the weights of all layers but the last
    of a model that is gone.

    Example:
        del model
        give_memory_back()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
