"""Which source each training window is of, where several are mixed by weights.

Every group of rows reads one endless stream of each source. The n-th window of a group is of the
source that a rule of n alone names, so that a run goes on anywhere without looking back. For two
sources with the shares p and 1 - p, and the g-th of P groups, it is the first of them if

    floor((n + 1) p + g / P) > floor(n p + g / P)

After any number of windows each source is within one window of its share, in each group and, since
the groups are shifted against each other evenly, in all of them together: the sum over g of
floor(x + g / P) is floor(P x). More sources are a tree of twos: the first against the rest, the
second against the rest of the rest, and so on. Each level may add a window to a group, and has
another order of the groups, so that all together stay within a few.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import tensorflow as tf

from tfscale.config.mixing import check_weights
from tfscale.errors import ConfigError

Number = TypeVar("Number", int, tf.Tensor)

_FINEST = 1_000_000
"""The largest denominator of a share, so that its products fit into 64 bits."""


@dataclass(frozen=True)
class Mixture:
    """Sources and their shares of the windows.

    Attributes:
        names: of the sources that are read, sorted.
        shares: of each, above 0; they add up to 1.
    """

    names: tuple[str, ...]
    shares: tuple[Fraction, ...]

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> "Mixture":
        """Returns the mixture of weights, whose sum need not be 1; a weight of 0 is left out.

        Raises:
            ConfigError: a weight below 0, none above 0, or a source that has less than a millionth
                of those that it is mixed with.

        Example:
            Mixture.of({"web": 3, "code": 1}).shares    # code 1/4, web 3/4
        """
        check_weights(weights)
        # As they are written: 0.1 is a tenth, not the binary number next to it.
        exact = {name: Fraction(str(weight)) for name, weight in weights.items() if weight}
        total = sum(exact.values())
        mixture = cls(tuple(sorted(exact)), tuple(exact[name] / total for name in sorted(exact)))
        for name, chance in zip(mixture.names, mixture._chances, strict=False):
            if not 0 < chance < 1:
                raise ConfigError(
                    f"train.mix: the weight of {name}, {weights[name]!r}, is more than a million"
                    " times larger or smaller than others; set the smaller one to 0"
                )
        return mixture

    @property
    def _chances(self) -> list[Fraction]:
        """The share of each source, but the last, among itself and those that come after it."""
        return [
            (share / sum(self.shares[place:])).limit_denominator(_FINEST)
            for place, share in enumerate(self.shares[:-1])
        ]

    def counts(self, windows: Number, group: Number, groups: int) -> list[Number]:
        """Returns how many of the first windows of a group are of each source.

        Args:
            windows: how many first windows.
            group: number of the group.
            groups: P, their number.

        Example:
            Mixture.of({"code": 1, "web": 3}).counts(10, 0, 1)    # [2, 8]
        """
        counts: list[Number] = []
        ahead = group
        for chance in self._chances:
            count = _floor(windows, chance, ahead, groups)
            counts.append(count)
            windows = windows - count
            ahead = ahead * _stride(groups) % groups
        return [*counts, windows]

    def source_of(self, window: tf.Tensor, group: tf.Tensor, groups: int) -> tf.Tensor:
        """Returns the source, by its place in `names`, of windows of a group.

        Args:
            window: numbers of windows, int64.
            group: number of the group, int64.
            groups: P, the number of groups.
        """
        here = self.counts(window, group, groups)
        after = self.counts(window + 1, group, groups)
        grown = [later - count for count, later in zip(here, after, strict=True)]
        return tf.argmax(tf.stack(grown), 0)


def _stride(groups: int) -> int:
    """Returns a stride that visits all groups, and of which neighbours are far apart."""
    golden = max(1, round(groups * 0.618))
    return next(stride for stride in itertools.count(golden) if math.gcd(stride, groups) == 1)


def _floor(windows: Number, chance: Fraction, group: Number, groups: int) -> Number:
    """Returns floor(windows * chance + group / groups), in whole numbers."""
    above, below = chance.numerator, chance.denominator
    whole, rest = windows // below, windows % below
    return whole * above + (rest * above * groups + group * below) // (below * groups)
