"""Ragged batches: the mask leaves every row as it would be alone."""

import math

import torch

from padlab.rankings.plackett_luce import PlackettLuce

F64 = torch.float64
RAGGED = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0], [0, 1, 1, 1, 1]], dtype=torch.bool)


def ragged():
    return PlackettLuce(
        torch.randn(4, 5, dtype=F64, generator=torch.Generator().manual_seed(0)).masked_fill(~RAGGED, math.nan), RAGGED
    )


def test_absent_items_leave_every_row_as_it_is_alone():
    together = ragged()
    for row, present in enumerate(RAGGED):
        alone = PlackettLuce(together.scores[row, present])
        torch.testing.assert_close(together.entropy()[row], alone.entropy())
        torch.testing.assert_close(together.pairwise()[row][present][:, present], alone.pairwise())
        torch.testing.assert_close(together.top_choice()[row][present], alone.top_choice())
        torch.testing.assert_close(together.expected_rank()[row][present], alone.expected_rank())
        count = int(present.sum())
        torch.testing.assert_close(together.rank_marginals()[row][present][:, :count], alone.rank_marginals())
        for summary in (together.top_choice()[row], together.expected_rank()[row]):
            assert (summary[~present] == 0).all()
        both = present[:, None] & present
        assert (together.pairwise()[row][~both] == 0).all()
        assert (together.rank_marginals()[row][~present] == 0).all()
        assert (together.rank_marginals()[row][:, count:] == 0).all()


def test_absent_items_end_every_ranking_in_ascending_order(generator):
    p = ragged()
    for ranking in [p.mode, *p.sample((200,), generator)]:
        for row, present in enumerate(RAGGED):
            count = int(present.sum())
            assert present[ranking[row, :count]].all()
            assert ranking[row, count:].tolist() == (~present).nonzero().flatten().tolist()
    assert p.log_prob(p.sample((50,), generator)).isfinite().all()


def test_rankings_with_an_absent_item_too_early_are_impossible():
    p = ragged()
    log_probs = p.enumerate()[1]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(4, dtype=F64))
    assert (log_probs.exp() > 0).sum(-1).tolist() == [120, 6, 1, 24]
    torch.testing.assert_close(p.log_prob(p.enumerate_support()).T, log_probs)
    assert p.log_prob(torch.tensor([3, 0, 1, 2, 4])).tolist()[2] == 0
    assert p.log_prob(torch.tensor([3, 1, 0, 2, 4])).tolist()[2] == -math.inf
