"""Each agreement metric against SciPy or a plain NumPy definition: ties, undefined values, absent items."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from padlab.rankings.metrics import count_ties, kendall_tau, ndcg, pairwise_accuracy, top1

few_values = st.sampled_from([-1.5, -0.25, 0.0, 0.75, 2.0])  # few, so that ties are frequent
lists = st.integers(1, 7).flatmap(lambda n: st.tuples(*[st.lists(few_values, min_size=n, max_size=n)] * 2))
WITH_REFERENCE = {"kendall_tau": kendall_tau, "top1": top1, "pairwise_accuracy": pairwise_accuracy}


def slow_top1(scores, reference):
    if len(set(reference)) == 1:
        return math.nan
    first = [i for i, s in enumerate(scores) if s == max(scores)]
    return sum(reference[i] == max(reference) for i in first) / len(first)


def slow_pairwise_accuracy(scores, reference):
    points = []
    for i, j in itertools.combinations(range(len(scores)), 2):
        if reference[i] != reference[j]:
            better, worse = (i, j) if reference[i] > reference[j] else (j, i)
            points.append(1.0 if scores[better] > scores[worse] else 0.5 if scores[better] == scores[worse] else 0.0)
    return np.mean(points) if points else math.nan


def slow_ndcg(scores, reference):
    """The mean over all orders in which tied scores can be sorted is what sharing the mean gain must give."""
    if len(set(reference)) == 1:
        return math.nan
    gain = (np.array(reference) - min(reference)) / (max(reference) - min(reference))
    discount = 1 / np.log2(np.arange(2, len(scores) + 2))
    orders = [o for o in itertools.permutations(range(len(scores))) if all(np.diff([scores[i] for i in o]) <= 0)]
    return np.mean([gain[list(o)] @ discount for o in orders]) / (np.sort(gain)[::-1] @ discount)


@settings(max_examples=60, deadline=None)
@given(lists)
def test_tau_is_scipys_and_undefined_where_one_list_does_not_rank(pair):
    scores, reference = pair
    ranks = len(set(scores)) > 1 and len(set(reference)) > 1
    expected = kendalltau(scores, reference).statistic if ranks else math.nan
    assert kendall_tau(scores, reference).item() == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(lists)
def test_top1_pairwise_accuracy_and_ties_agree_with_their_definitions(pair):
    scores, reference = pair
    assert top1(scores, reference).item() == pytest.approx(slow_top1(scores, reference), nan_ok=True)
    expected = slow_pairwise_accuracy(scores, reference)
    assert pairwise_accuracy(scores, reference).item() == pytest.approx(expected, nan_ok=True)
    assert count_ties(scores).item() == sum(a == b for a, b in itertools.combinations(scores, 2))


@settings(max_examples=30, deadline=None)
@given(lists)
def test_ndcg_agrees_with_its_definition_over_all_orders_of_ties(pair):
    assert ndcg(*pair).item() == pytest.approx(slow_ndcg(*pair), nan_ok=True)


def test_ndcg_by_hand():
    """Gains 1, 1/2, 0 in the order worst, middle, best: (1/2 / log2 3 + 1 / 2) / (1 + 1/2 / log2 3)."""
    best_last = (0.5 / math.log2(3) + 0.5) / (1 + 0.5 / math.log2(3))
    assert ndcg([1.0, 2.0, 3.0], [6.0, 5.0, 4.0]).item() == pytest.approx(best_last)
    assert ndcg([3.0, 2.0, 1.0], [6.0, 5.0, 4.0]).item() == pytest.approx(1)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_absent_items_do_not_count_and_rows_are_as_alone(name):
    mask = torch.tensor([[True] * 5, [True, False, True, True, False], [False, False, False, False, True]])
    generator = torch.Generator().manual_seed(0)
    scores, reference = (torch.randn(3, 5, generator=generator).round(decimals=1) for _ in range(2))
    scores[~mask] = math.nan
    together = WITH_REFERENCE[name](scores, reference, mask)
    for row, present in enumerate(mask):
        alone = WITH_REFERENCE[name](scores[row, present], reference[row, present])
        torch.testing.assert_close(together[row], alone, equal_nan=True)
    assert together[2].isnan()
    assert count_ties(torch.zeros(3, 5), mask).tolist() == [10, 3, 0]


def test_lists_arrays_and_tensors_of_any_batch_shape_give_the_same_in_float64():
    scores, reference = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    for metric in (*WITH_REFERENCE.values(), ndcg):
        values = metric(scores, reference)
        assert (values.shape, values.dtype) == ((3, 4), torch.float64)
        for other in (metric(scores.tolist(), reference.tolist()), metric(*map(torch.from_numpy, (scores, reference)))):
            torch.testing.assert_close(other, values, rtol=0, atol=0)


def test_lists_are_compared_in_double_precision():
    assert kendall_tau([1.0, 1.0 + 1e-12], [0.0, 1.0]).item() == 1
    assert count_ties([1.0, 1.0 + 1e-12]).item() == 0


@pytest.mark.parametrize("metric", [*WITH_REFERENCE.values(), ndcg])
def test_bad_values_and_shapes_are_refused(metric):
    with pytest.raises(ValueError, match=r"row 0 .*item 1 .*nan"):
        metric([1.0, math.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"\(3,\), the reference \(2,\)"):
        metric([1.0, 2.0, 3.0], [1.0, 2.0])
