"""Rotary positions (Su et al. 2021): frequencies, and the turning of queries and keys.

Numbers of a head are turned in pairs, one of the first half with one of the second.

Shapes: B batch, T tokens, H heads, K width of a head, R numbers of it that are turned.
"""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from tfscale.config.rope import RopeOptions


def frequencies(base: float, options: RopeOptions, width: int) -> np.ndarray:
    """Returns radians per token (R / 2,) float32 of each pair of numbers.

    Args:
        base: the quotient of the first frequency, which is 1, and the one behind the last.
        options: which part of the numbers is turned, and how positions are stretched.
        width: K.

    Returns:
        `base` ** (-2 i / R) for pair i, stretched.

    Example:
        frequencies(10_000.0, RopeOptions(scaling="linear", factor=8.0), 256)
    """
    turned = options.turned(width)
    plain = base ** (-2 * np.arange(turned // 2) / turned)
    if options.scaling == "none":
        return plain.astype("float32")
    stretched = plain / options.factor
    if options.scaling == "linear":
        return stretched.astype("float32")
    # Llama 3.1: by how often a pair turns in the context before it was stretched.
    turns = options.original_length * plain / (2 * math.pi)
    low, high = options.low_frequency_factor, options.high_frequency_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (kept * plain + (1 - kept) * stretched).astype("float32")


def angles(positions, frequencies, np_):
    """Returns cosine and sine (T, 1, R / 2) of positions (T,) float32.

    Args:
        positions: places of tokens.
        frequencies: (R / 2,), radians per token.
        np_: `keras.ops`, or `tf` in files for TFLite.
    """
    turned = np_.reshape(positions, (-1, 1, 1)) * frequencies
    return np_.cos(turned), np_.sin(turned)


def rotate(x, angles, np_):
    """Returns x (B, T, H, K) with its first R numbers turned; `angles` as that function returns."""
    cosine, sine = (np_.cast(part, x.dtype) for part in angles)
    half = cosine.shape[-1]
    first, second, *rest = cut(x, [w for w in (half, half, x.shape[-1] - 2 * half) if w], np_)
    join = np_.concatenate if np_ is ops else np_.concat
    return join([first * cosine - second * sine, second * cosine + first * sine, *rest], axis=-1)


def cut(x, widths, np_):
    """Cuts the last axis into parts of the given widths.

    The gradient of a split joins those of its parts; that of each slice is as large as the whole,
    mostly zeros, and they are added up. Exported files keep slices, which every runtime has.
    """
    if np_ is ops:
        return tf.split(x, widths, axis=-1)
    ends = np.cumsum(widths)
    return [x[..., end - width : end] for width, end in zip(widths, ends, strict=True)]
