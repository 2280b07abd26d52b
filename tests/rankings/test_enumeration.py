"""All rankings, in lexicographic order, and their log-probabilities."""

import itertools

import pytest
import torch

from padlab.rankings.enumeration import all_rankings, ranking_log_probs


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_rankings_are_those_of_itertools_in_order(n):
    assert all_rankings(n).tolist() == [list(r) for r in itertools.permutations(range(n))]


def test_changing_a_result_does_not_change_the_cache():
    all_rankings(4).fill_(0)
    assert all_rankings(4)[-1].tolist() == [3, 2, 1, 0]


def test_rounding_to_single_precision_keeps_the_relative_precision():
    """All steps are negative, so nothing cancels."""
    scores = 100 * torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact, rounded = ranking_log_probs(scores), ranking_log_probs(scores, dtype=torch.float32)
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-6, atol=0)
