"""Intervals of means over prompts and over trainings, and of shares: against SciPy, and by what they must do."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from padlab.rankings.intervals import Interval, mean_interval, seed_interval, share_interval, wilson_interval

F64 = torch.float64
numbers = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


def test_the_interval_of_a_mean_is_the_percentile_bootstrap_over_the_defined_values():
    values = np.random.default_rng(0).exponential(size=40)
    interval = mean_interval([*values, math.nan, math.nan], seed=3)
    draws = np.random.default_rng(5).choice(values, (20_000, 40)).mean(1)
    assert (interval.estimate, interval.count) == (values.mean(), 40)
    assert [interval.low, interval.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)
    assert interval == mean_interval(values, seed=3) != mean_interval(values, seed=4)
    assert mean_interval(np.full(5, 2.0))[:3] == (2, 2, 2)


def test_fewer_than_two_defined_values_have_no_interval():
    one, none = mean_interval([math.nan, 0.5]), mean_interval([math.nan])
    assert (one.estimate, one.count, none.count) == (0.5, 1, 0)
    assert np.isnan([one.low, one.high, *none[:3]]).all()
    assert str(one) == "+0.500 [+nan, +nan]"


def test_the_wilson_interval_is_scipys_and_stays_inside_0_and_1():
    for successes, trials, level in ((3, 4, 0.95), (0, 20, 0.95), (20, 20, 0.9), (700, 1000, 0.99)):
        expected = binomtest(successes, trials).proportion_ci(level, "wilson")
        interval = wilson_interval(torch.tensor(successes, dtype=F64), trials, level)
        assert (interval.estimate.item(), interval.count) == (successes / trials, trials)
        assert [interval.low.item(), interval.high.item()] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_intervals_of_numbers_print_alike_and_those_of_several_values_show_them():
    numbers = (0.25, -0.1, 0.4)
    for interval in (Interval(*numbers), Interval(*torch.tensor(numbers)), Interval(*torch.tensor([numbers]).T)):
        assert str(interval) == "+0.250 [-0.100, +0.400]"
    assert "tensor" in str(Interval(torch.zeros(2), torch.zeros(2), torch.ones(2)))


def test_the_interval_of_a_share_is_wilsons_and_has_a_width_where_all_agree():
    expected = wilson_interval(torch.tensor(2.5, dtype=F64), 4)
    assert share_interval([1.0, 0.5, 1.0, 0.0])[:3] == pytest.approx([float(end) for end in expected[:3]])
    for value in (0.0, 1.0):
        estimate, low, high, count = share_interval([value] * 5)
        assert (estimate, count) == (value, 5)
        assert 0 <= low < high <= 1


@settings(deadline=None)
@given(numbers)
def test_the_interval_over_trainings_is_scipys(values):
    if np.std(values) < 1e-3:  # SciPy's own interval loses its digits there
        return
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = seed_interval(values)
    assert (found.estimate, found.count) == (pytest.approx(np.mean(values)), len(values))
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(numbers, st.floats(-5, 5), st.floats(0.1, 5))
def test_the_interval_over_trainings_moves_and_stretches_with_the_values(values, shift, scale):
    first, second = seed_interval(values), seed_interval([shift + scale * value for value in values])
    assert second[:3] == pytest.approx([shift + scale * end for end in first[:3]], abs=1e-6)
    assert first.low <= first.estimate <= first.high


def test_the_interval_over_trainings_covers_the_true_mean_also_with_few_of_them():
    """With 1.96 in place of the t quantile about 82 % of the intervals over three trainings would hold it."""
    draws = np.random.default_rng(0).normal(0.2, 0.05, (1000, 3))
    inside = [interval.low <= 0.2 <= interval.high for interval in map(seed_interval, draws)]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_trainings_that_agree_have_an_interval_without_width():
    assert seed_interval([0.25] * 3) == (0.25, 0.25, 0.25, 3)


@pytest.mark.parametrize("values", [[], [0.2]])
def test_an_interval_over_fewer_than_two_trainings_is_refused(values):
    with pytest.raises(ValueError, match=f"{len(values)} training.*at least two; train more seeds"):
        seed_interval(values)


def test_prompts_are_not_taken_for_trainings():
    with pytest.raises(ValueError, match=r"shape \(4, 64\).*one number per training; take the mean over prompts"):
        seed_interval(np.zeros((4, 64)))
