"""Intervals and tests for success rates: Wilson, exact McNemar, paired difference, episodes needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

QUANTILE = NormalDist().inv_cdf  # of the standard normal
FEW = 100  # pairs, below which a normal approximation may fall short of the exact test


def wilson(successes: int, episodes: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a success rate (Wilson, JASA 22:209-212, 1927).

    Args:
        successes: 0 <= successes <= episodes.
        episodes: n; with n = 0 nothing is known and the answer is (0, 1).
        level: two-sided confidence.

    Raises:
        ValueError: impossible counts or level.
    """
    if not 0 <= successes <= episodes or not 0 < level < 1:
        raise ValueError(f"wilson: expected 0 <= successes <= episodes, got {successes}/{episodes}, level {level}")
    if episodes == 0:
        return 0.0, 1.0
    z = QUANTILE(0.5 + level / 2)
    rate, shrink = successes / episodes, 1 + z * z / episodes
    centre = (rate + z * z / (2 * episodes)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / episodes + (z / (2 * episodes)) ** 2)
    # At 0/n and n/n the bound is exactly 0 or 1; rounding must not move it.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True)
class PairedCounts:
    """Two policies on the same trials.

    Attributes:
        both: trials both solved.
        only_a: trials only A solved.
        only_b: trials only B solved.
        neither: trials nobody solved.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_a, self.only_b, self.neither) < 0:
            raise ValueError(f"PairedCounts: expected counts >= 0, got {self}")

    @property
    def total(self) -> int:
        """Number of pairs."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """Rate of A minus rate of B; 0 without pairs."""
        return (self.only_a - self.only_b) / self.total if self.total else 0.0


def mcnemar_exact(pairs: PairedCounts) -> float:
    """Two-sided exact p-value that A and B are equally good: binomial on the discordant pairs.

    (McNemar, Psychometrika 12:153-157, 1947.) Without discordant pairs nothing speaks against it: 1.
    """
    discordant = pairs.only_a + pairs.only_b
    fewer = min(pairs.only_a, pairs.only_b)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1)) / (1 << discordant)  # exact integers
    return min(1.0, 2 * tail)  # the two tails are alike


def paired_difference_interval(pairs: PairedCounts, level: float = 0.95) -> tuple[float, float]:
    """Interval of rate(A) - rate(B) on paired trials.

    Method 10 of Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17:2635-2650 (1998): Wilson intervals of both rates, joined
    with their correlation. Without pairs: (-1, 1).
    """
    n = pairs.total
    if n == 0:
        return -1.0, 1.0
    solved_a, solved_b = pairs.both + pairs.only_a, pairs.both + pairs.only_b
    rate_a, rate_b = solved_a / n, solved_b / n
    (low_a, high_a), (low_b, high_b) = wilson(solved_a, n, level), wilson(solved_b, n, level)
    phi = _correlation(pairs)
    low = _joined(rate_a - low_a, high_b - rate_b, phi)
    high = _joined(high_a - rate_a, rate_b - low_b, phi)
    return max(-1.0, pairs.difference - low), min(1.0, pairs.difference + high)


def further_pairs_needed(pairs: PairedCounts, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """How many more paired episodes would decide it, if what was seen so far is the truth.

    Sample size of McNemar's test (Connor, Biometrics 43:207-211, 1987), and at least as many as the exact test
    needs to reject at the proportions seen. None when A and B solved equally many: then no number is large
    enough. 0 when the test rejects already.
    """
    if mcnemar_exact(pairs) < alpha:
        return 0
    difference = abs(pairs.difference)
    if difference == 0.0:
        return None
    discordance = (pairs.only_a + pairs.only_b) / pairs.total
    z_alpha, z_power = QUANTILE(1 - alpha / 2), QUANTILE(power)
    spread = math.sqrt(max(0.0, discordance - difference**2))
    needed = ((z_alpha * math.sqrt(discordance) + z_power * spread) / difference) ** 2
    total = max(pairs.total, math.ceil(needed))
    while total < FEW and mcnemar_exact(_scaled(pairs, total)) >= alpha:
        total += 1
    return total - pairs.total


def _scaled(pairs: PairedCounts, total: int) -> PairedCounts:
    """The discordant counts that `total` pairs would show at the proportions seen, rounded down."""
    only_a, only_b = pairs.only_a * total // pairs.total, pairs.only_b * total // pairs.total
    return PairedCounts(total - only_a - only_b, only_a, only_b, 0)


def _correlation(pairs: PairedCounts) -> float:
    """Newcombe's phi: correlation of the 2 x 2 table, with a continuity correction when it is positive."""
    rows = (pairs.both + pairs.only_a) * (pairs.only_b + pairs.neither)
    columns = (pairs.both + pairs.only_b) * (pairs.only_a + pairs.neither)
    if rows == 0 or columns == 0:
        return 0.0
    cross = float(pairs.both * pairs.neither - pairs.only_a * pairs.only_b)
    if cross > 0:
        cross = max(cross - pairs.total / 2, 0.0)
    return cross / math.sqrt(rows * columns)


def _joined(own: float, other: float, phi: float) -> float:
    # Rounding can bring the sum of squares a hair below zero when phi is 1.
    return math.sqrt(max(0.0, own**2 - 2 * phi * own * other + other**2))
