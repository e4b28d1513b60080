"""Random numbers as a hash of their purpose.

They are cheap to draw, and the same on every machine and in every order.
"""

import tensorflow as tf

ODD = 0x9E3779B9
"""2^32 over the golden ratio: it spreads neighbours (Knuth, The Art of Computer Programming,
6.4)."""


def mixed(x: tf.Tensor) -> tf.Tensor:
    """Turns uint32 of any shape into uint32 in which every bit depends on every bit.

    The mixing function is the best of its size in bias that is known (Wellons 2018, "Prospecting
    for hash functions").
    """
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint32)))
        x = x * tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(15, tf.uint32)))


def seeded(x: tf.Tensor, *words: tf.Tensor | int) -> tf.Tensor:
    """Returns uint32 numbers of places `x` and of integers that name their purpose."""
    x = x * tf.constant(ODD, tf.uint32)
    for word in words:
        x = mixed(tf.bitwise.bitwise_xor(x, tf.cast(word, tf.uint32) * tf.constant(ODD, tf.uint32)))
    return x


def threshold(rate: float) -> tf.Tensor:
    """Returns the bound that a hash is below with probability `rate`."""
    return tf.constant(min(round(rate * 2**32), 2**32 - 1), tf.uint32)
