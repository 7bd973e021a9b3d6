import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from vla.evaluation.statistics import (
    PairedCounts,
    further_pairs_needed,
    mcnemar_exact,
    paired_difference_interval,
    wilson,
)

counts = st.integers(0, 60)
tables = st.builds(PairedCounts, counts, counts, counts, counts)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(case):
    successes, episodes = case
    expected = binomtest(successes, episodes).proportion_ci(0.95, method="wilson")
    low, high = wilson(successes, episodes)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / episodes <= high <= 1


def test_wilson_at_the_edges():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="11/10"):
        wilson(11, 10)


@given(tables)
def test_mcnemar_equals_the_binomial_test(pairs):
    discordant = pairs.only_a + pairs.only_b
    expected = binomtest(pairs.only_a, discordant).pvalue if discordant else 1.0
    assert mcnemar_exact(pairs) == pytest.approx(expected)


def test_paired_interval_of_the_papers_example():
    low, high = paired_difference_interval(PairedCounts(20, 12, 2, 16))  # Newcombe 1998, method 10
    assert (round(low, 4), round(high, 4)) == (0.0562, 0.3292)


@given(tables)
def test_paired_interval_holds_the_difference_and_is_antisymmetric(pairs):
    low, high = paired_difference_interval(pairs)
    assert -1 <= low <= pairs.difference <= high <= 1
    swapped = PairedCounts(pairs.both, pairs.only_b, pairs.only_a, pairs.neither)
    assert paired_difference_interval(swapped) == pytest.approx((-high, -low), abs=1e-12)


def test_without_pairs_nothing_is_known():
    nothing = PairedCounts(0, 0, 0, 0)
    assert paired_difference_interval(nothing) == (-1.0, 1.0)
    assert mcnemar_exact(nothing) == 1.0
    assert further_pairs_needed(nothing) is None


def test_further_pairs_by_hand():
    pairs = PairedCounts(80, 12, 8, 0)  # discordance 0.2, difference 0.04
    needed = math.ceil(((1.959964 * math.sqrt(0.2) + 0.841621 * math.sqrt(0.2 - 0.0016)) / 0.04) ** 2)
    assert further_pairs_needed(pairs) == needed - 100
    assert further_pairs_needed(PairedCounts(0, 50, 0, 50)) == 0
    assert further_pairs_needed(PairedCounts(0, 6, 0, 4)) == 0  # p = 0.031
    assert further_pairs_needed(PairedCounts(3, 5, 5, 3)) is None


@given(tables)
def test_further_pairs_is_a_count_or_none(pairs):
    further = further_pairs_needed(pairs)
    assert further == 0 or mcnemar_exact(pairs) >= 0.05
    assert (further is None) == (pairs.only_a == pairs.only_b)
    assert further is None or further >= 0


def test_further_pairs_of_a_few_are_enough_for_the_exact_test():
    # 4 of 4 against 0 of 4: p = 0.125; six discordant pairs are the fewest with p < 0.05.
    assert further_pairs_needed(PairedCounts(0, 4, 0, 0)) == 2
