"""A task that tiny models learn in a few steps: each token follows from the one before, nine times out of ten."""

import tensorflow as tf

from benchmarks.equivalence_worker import LENGTH, SMALL, VOCABULARY, make_windows

CONFIGS = SMALL
__all__ = ["CONFIGS", "LENGTH", "VOCABULARY", "compiled_program", "make_windows"]


def compiled_program(step, ids, targets):
    """Returns XLA's program for the gradients of a step on one device."""

    @tf.function(jit_compile=True)
    def gradients(ids, targets):
        return step._replica_gradients(ids, targets)

    return gradients.experimental_get_compiler_ir(ids, targets)(stage="optimized_hlo")
