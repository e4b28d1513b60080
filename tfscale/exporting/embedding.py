"""The signature `embed` of a file, which gives the hidden states of tokens, and its comparison.

It reads tokens into caches as `prefill` and `decode` do, and shares their weights.

Shapes: S tokens of a call, T tokens of a window, C context, D width of the hidden states.
"""

import os
from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from tfscale.device.embedder import SIGNATURE, Embedder
from tfscale.exporting.limits import Limits
from tfscale.exporting.report import Checks
from tfscale.exporting.skeleton import Placeholders
from tfscale.exporting.tflite import step_inputs
from tfscale.exporting.windows import Windows
from tfscale.files.json_text import JsonObject
from tfscale.models.cached_model import CachedModel
from tfscale.models.capability import capabilities
from tfscale.models.network import LanguageNetwork

_LONGEST = 64
_WINDOWS = 4
"""Windows of held-out tokens whose states are compared."""


def embed_length(network: LanguageNetwork | CachedModel) -> int:
    """Returns S: 1 for a network that reads one token a call, otherwise the longest call up to 64
    tokens by which the context can be read without a rest.

    A call that ran past the context would be written over earlier tokens.
    """
    context = network.config.sequence_length
    if capabilities(network).one_token:
        return 1
    return max(length for length in range(1, min(_LONGEST, context) + 1) if context % length == 0)


def embed_signature(
    network: LanguageNetwork | CachedModel, placeholders: Placeholders
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Returns the function by its name: tokens (1, S), and what `decode` reads -> caches, hidden
    (1, S, D).

    Args:
        network: has `cached_step`.
        placeholders: weights that are inputs of the function.
    """
    length = embed_length(network)
    ours = cast(LanguageNetwork, network)

    def step(tokens, input_pos=None, mask=None, **cache):
        with placeholders.scope(cache):
            hidden, cache = ours.cached_step(
                tokens, cache, input_pos=input_pos, mask=mask, with_hidden=True
            )
        return {**cache, "hidden": hidden}

    function = tf.function(step).get_concrete_function(
        **step_inputs(network, length), **placeholders.specs()
    )
    return {SIGNATURE: function}


def described_embedding(network: LanguageNetwork | CachedModel) -> JsonObject:
    """Returns what model.json says of the signature."""
    width = _states(network, np.zeros(1, np.int32)).shape[-1]
    return {"name": SIGNATURE, "length": embed_length(network), "width": width}


def states_of(windows: Windows) -> list[np.ndarray]:
    """Returns the hidden states (T, D) of windows whose states are compared."""
    return [_states(windows.reference, row) for row in _compared(windows)]


def _compared(windows: Windows) -> list[np.ndarray]:
    rows = [row for row in windows.inputs[:_WINDOWS] if len(row)]
    return [*rows, rows[0][: max(1, len(rows[0]) // 3)]]  # The last call has pads.


def compare_embeddings(
    checks: Checks, folder: str, windows: Windows, given: Sequence[np.ndarray], limits: Limits
) -> None:
    """Compares the hidden states of a file with those of its network, with XNNPACK's kernels and
    without.

    As logits are, they are compared with those of the network with rounded weights. The vectors of
    texts, which are what people use, are compared with those of the network itself, by the cosine
    between them: it falls short of 1 by at most twice the share by which the recipe may change a
    perplexity (the tests' random network of two layers, which is coarser than trained ones, falls
    short by 0.055 in int4).

    Args:
        checks: receives the compared values.
        folder: holds model.tflite.
        windows: held-out tokens with a network that has the weights that the file stores.
        given: `states_of` them with the network itself.
        limits: of the recipe.
    """
    stored = states_of(windows)
    for kernels in ("xnnpack", "plain"):
        path = os.path.join(folder, "model.tflite")
        reader = Embedder.from_path(path, xnnpack=kernels == "xnnpack")
        with np.errstate(invalid="ignore", over="ignore"):
            states = [reader.states(row) for row in _compared(windows)]
            squares = sum(np.square(a - b).sum() for a, b in zip(states, stored, strict=True))
            size = sum(np.square(b - b.mean(axis=0)).sum() for b in stored)
            error = float(np.sqrt(squares / max(size, 1e-12)))
            cosine = min(
                _cosine(pool(a), pool(b))
                for a, b in zip(states, given, strict=True)
                for pool in (lambda rows: rows.mean(axis=0), lambda rows: rows[-1])
            )
        checks.add(f"embedding_error ({kernels})", error, "<=", limits.relative_logit_error)
        least = 1 - 2 * limits.perplexity_change
        checks.add(f"embedding_cosine ({kernels})", cosine, ">=", least)


def _states(network: LanguageNetwork | CachedModel, ids: np.ndarray) -> np.ndarray:
    # Whole windows, so that every call has the same shape; what follows a token does not change its
    # states.
    ours = cast(LanguageNetwork, network)
    window = np.full(ours.config.sequence_length, ids[0], np.int32)
    window[: len(ids)] = ids
    return np.asarray(ours.features(window[None]), np.float64)[0, : len(ids)]


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
