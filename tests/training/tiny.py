"""A task that tiny models learn in a few steps: each token follows from the one before, nine times out of ten."""

import dataclasses

import keras
import tensorflow as tf

from benchmarks.equivalence_worker import LENGTH, SMALL, VOCABULARY, make_windows

TWO_BLOCKS = SMALL["transformer"]
CONFIGS = SMALL | {"transformer": dataclasses.replace(TWO_BLOCKS, num_layers=1)}
"""A network of each family. To trace a step takes as long as it has blocks, and to take it a moment."""
__all__ = [
    "CONFIGS",
    "LENGTH",
    "TWO_BLOCKS",
    "VOCABULARY",
    "compiled_program",
    "gru_network",
    "make_windows",
]


def gru_network(vocabulary_size=VOCABULARY, mask_zero=False):
    """Returns the language model of the tutorials: embedding, GRU and a dense layer of logits."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(vocabulary_size, 8, mask_zero=mask_zero),
            layers.GRU(8, return_sequences=True),
            layers.Dense(vocabulary_size),
        ]
    )


def compiled_program(step, ids, targets):
    """Returns XLA's program for the gradients of a step on one device."""

    @tf.function(jit_compile=True)
    def gradients(ids, targets):
        return step._replica_gradients(ids, targets)

    return gradients.experimental_get_compiler_ir(ids, targets)(stage="optimized_hlo")
