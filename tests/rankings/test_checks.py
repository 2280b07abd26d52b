"""Bad input says what, where and how to mend it; odd but sound input is welcome."""

import math

import pytest
import torch

from padlab.rankings.plackett_luce import PlackettLuce


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_name_row_and_item_and_point_to_the_mask(bad):
    scores = torch.zeros(4, 3)
    scores[2, 1] = bad
    with pytest.raises(ValueError, match=r"row 2 .*item 1 .*mask"):
        PlackettLuce(scores)
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[2, 1] = False
    assert PlackettLuce(scores, mask).entropy().isfinite().all()


def test_other_bad_input_says_what_to_do():
    with pytest.raises(ValueError, match="at least one item"):
        PlackettLuce(torch.zeros(3, 0))
    with pytest.raises(ValueError, match=r"row 1 .*no item"):
        PlackettLuce(torch.zeros(2, 2), torch.tensor([[True, False], [False, False]]))
    with pytest.raises(ValueError, match="bool"):
        PlackettLuce(torch.zeros(2, 2), torch.tensor([[1, 0], [1, 1]]))
    with pytest.raises(ValueError, match="must match"):
        PlackettLuce(torch.zeros(2, 2), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="stop at 20"):
        PlackettLuce(torch.zeros(21)).entropy()
    with pytest.raises(ValueError, match="39,916,800 rankings"):
        PlackettLuce(torch.zeros(11)).enumerate()
    with pytest.raises(ValueError, match="split the batch"):
        PlackettLuce(torch.zeros(100, 10)).enumerate()


@pytest.mark.parametrize("ranking", [[0, 0, 1], [0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0], [0, 1, 2, 3], [0, 1]])
def test_what_is_no_ranking_is_refused(ranking):
    with pytest.raises(ValueError, match="rank"):
        PlackettLuce(torch.zeros(3)).log_prob(torch.tensor(ranking))


def test_lists_whole_numbers_and_empty_batches_are_welcome():
    assert PlackettLuce([[3, 1, 2]]).mode.tolist() == [[0, 2, 1]]
    torch.testing.assert_close(PlackettLuce([1.0, 0.0]).top_choice(), torch.tensor([1.0, 0.0]).softmax(0))
    none = PlackettLuce(torch.zeros(0, 3))
    assert none.entropy().shape == (0,)
    assert none.rank_marginals().shape == (0, 3, 3)
    assert none.enumerate()[1].shape == (0, 6)
    assert none.log_prob(none.mode).shape == (0,)
