"""All rankings and all prefixes, in lexicographic order."""

import itertools

import pytest
import torch

from padlab.rankings.enumeration import all_rankings, ranking_log_probs


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_rankings_are_those_of_itertools_in_order(n):
    assert all_rankings(n).tolist() == [list(r) for r in itertools.permutations(range(n))]


def test_nobody_can_spoil_the_kept_table():
    all_rankings(4).fill_(0)
    assert all_rankings(4)[-1].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_prefixes_gather_the_rankings_that_begin_with_them(length):
    scores = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prefixes = ranking_log_probs(scores, length=length).exp()
    whole = ranking_log_probs(scores).exp()
    torch.testing.assert_close(prefixes, whole.view(3, prefixes.shape[1], -1).sum(-1))


def test_rounding_to_single_precision_keeps_the_relative_precision():
    """All steps are negative, so nothing cancels."""
    scores = 100 * torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact, rounded = ranking_log_probs(scores), ranking_log_probs(scores, dtype=torch.float32)
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-6, atol=0)
