"""The rule of which source each window is of: pinned, and within its bounds everywhere."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from tfscale.data.mixing import Mixture
from tfscale.errors import ConfigError

WEIGHTS = [
    {"code": 0.3, "web": 0.7},
    {"a": 1, "b": 1},
    {"a": 0.123457, "b": 0.5},
    {"a": 5, "b": 3, "c": 2},
    {"a": 0.01, "b": 0.9, "c": 0.05, "d": 0.04},
]


def sources(mixture, windows, group=0, groups=1):
    numbers = mixture.source_of(
        tf.range(windows, dtype=tf.int64), tf.constant(group, tf.int64), groups
    )
    return numbers.numpy()


def test_the_order_of_a_small_mix_is_pinned():
    mixture = Mixture.of({"web": 0.7, "code": 0.3})
    assert mixture.names == ("code", "web")
    assert mixture.shares == (Fraction(3, 10), Fraction(7, 10))
    # floor(0.3 n) grows at n = 4, 7, 10, 14, 17 and 20: so the 4th window is of code, and so on.
    names = "".join("cw"[number] for number in sources(mixture, 20))
    assert names == "wwwcwwcwwcwwwcwwcwwc"
    # The second of two groups is half a window ahead: floor(0.3 n + 0.5) grows at 2, 5, 9 ...
    second = "".join("cw"[number] for number in sources(mixture, 10, 1, 2))
    assert second == "wcwwcwwwcw"


def test_three_sources_are_pinned():
    mixture = Mixture.of({"c": 1, "a": 2, "b": 1})
    # a is every other window, and of the rest b and c are in turn.
    assert sources(mixture, 8).tolist() == [2, 0, 1, 0, 2, 0, 1, 0]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("groups", [1, 3, 8])
def test_after_any_window_each_source_has_its_share(weights, groups):
    mixture = Mixture.of(weights)
    windows, kinds = 2000, len(mixture.names)
    shares = np.array([float(share) for share in mixture.shares])
    counts = np.zeros((groups, windows + 1, kinds), int)
    for group in range(groups):
        chosen = sources(mixture, windows, group, groups)
        counts[group, 1:] = np.cumsum(np.eye(kinds, dtype=int)[chosen], 0)
        # The count in closed form is the sum of the choices.
        for at in (0, 1, 17, 1000, windows):
            assert counts[group, at].tolist() == mixture.counts(at, group, groups)
    taken = np.arange(windows + 1)[:, None]
    of_group = np.abs(counts - taken * shares).max()
    of_all = np.abs(counts.sum(0) - taken * groups * shares).max()
    # Two sources are within one window, in each group and in all together; each further one may
    # add one.
    assert of_group < kinds - 1
    assert of_all < (1 if kinds == 2 else kinds)


def test_far_windows_are_counted_in_whole_numbers():
    mixture = Mixture.of({"a": 0.999999, "b": 0.000001})
    far = 10**15 + 12345
    counts = mixture.counts(far, 5, 4096)
    # floor(0.999999 * far + 5 / 4096) by hand: 999999 * (10**15 + 12345) // 10**6.
    assert counts == [999_999_000_012_344, 1_000_000_001]
    assert [
        int(count)
        for count in mixture.counts(tf.constant(far, tf.int64), tf.constant(5, tf.int64), 4096)
    ] == counts


def test_weights_need_not_add_up_to_one_and_zero_is_left_out():
    mixture = Mixture.of({"web": 21, "code": 9.0, "books": 0})
    assert mixture == Mixture.of({"web": 0.7, "code": 0.3})
    assert Mixture.of({"web": 5}).shares == (1,)
    assert Mixture.of({"web": 5}).counts(7, 0, 2) == [7]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"web": -0.1, "code": 1}, r"train\.mix\.web=-0\.1 is out of range; expected 0 or more"),
        ({"web": 0, "code": 0}, "reads nothing; give a source a weight above 0"),
        ({}, "reads nothing; give a source a weight above 0"),
        ({"web": 1, "code": 1e-9}, "the weight of code, 1e-09, is more than a million times"),
        ({1: 1.0}, "expected names of sources; received 1"),
    ],
)
def test_weights_that_make_no_mixture(weights, message):
    with pytest.raises(ConfigError, match=message):
        Mixture.of(weights)
