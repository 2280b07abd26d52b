"""Bootstrap intervals: they cover, they shrink with data, they ignore a common position bias."""

import math

import numpy as np
import pytest
import torch

from padlab.rankings.plackett_luce import PlackettLuce
from padlab.rankings.uncertainty import (
    bootstrap_preference,
    bootstrap_rewards,
    bootstrap_selection,
    preference_intervals,
)

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def responses(lengths=(40, 60, 50), means=(-1.0, -1.3, -1.1), seed=0):
    draw = np.random.default_rng(seed)
    return [list(m + 0.8 * draw.standard_normal(n)) for n, m in zip(lengths, means, strict=True)]


def test_rewards_are_the_means_and_spread_like_the_standard_error():
    tokens = responses()
    rewards, drawn = bootstrap_rewards(tokens, 4000, seeded())
    np.testing.assert_allclose(rewards, [np.mean(t) for t in tokens])
    expected = [np.std(t) / math.sqrt(len(t)) for t in tokens]
    np.testing.assert_allclose(drawn.std(0), expected, rtol=0.05)
    np.testing.assert_allclose(drawn.mean(0), rewards, atol=0.01)
    one_token = bootstrap_rewards([[-1.0], [-2.0, -2.0]], 10)[1]
    assert (one_token == torch.tensor([-1.0, -2.0], dtype=F64)).all()


def test_intervals_cover_the_true_preference():
    """Of 200 sets of responses, the 95 % interval of P(first before second) holds the true one about 190 times."""
    means, beta = (-1.0, -1.2), 5.0
    truth = torch.sigmoid(torch.tensor(beta * 0.2)).item()
    inside = 0
    for seed in range(200):
        intervals = bootstrap_preference(
            responses((80, 80), means, seed), beta=beta, num_resamples=400, generator=seeded(seed)
        )
        interval = intervals["pairwise"]
        inside += interval.low[0, 1].item() <= truth <= interval.high[0, 1].item()
    assert 180 <= inside <= 198


def test_more_tokens_make_narrower_intervals_and_a_surer_ranking():
    short, long = (
        bootstrap_preference(responses((n, n, n), seed=3), num_resamples=500, generator=seeded()) for n in (20, 2000)
    )
    assert set(short) == {"scores", "top_choice", "expected_rank", "pairwise", "entropy", "same_mode"}
    for name in ("scores", "top_choice", "expected_rank", "entropy"):
        assert (long[name].high - long[name].low).mean() < 0.5 * (short[name].high - short[name].low).mean()
        assert (short[name].low <= short[name].high).all()
    assert long["same_mode"].estimate > short["same_mode"].estimate
    assert long["same_mode"].high <= 1


def test_the_estimates_are_those_of_the_data():
    tokens = responses()
    intervals = bootstrap_preference(tokens, beta=10.0, num_resamples=50)
    p = PlackettLuce(10 * torch.tensor([np.mean(t) for t in tokens], dtype=F64))
    for name in ("top_choice", "expected_rank", "pairwise", "entropy"):
        torch.testing.assert_close(intervals[name].estimate, getattr(p, name)())


def test_the_same_generator_gives_the_same_intervals():
    first, second = (bootstrap_preference(responses(), num_resamples=50, generator=seeded(4)) for _ in range(2))
    assert all(torch.equal(a, b) for name in first for a, b in zip(first[name][:3], second[name][:3], strict=True))


def pairwise_votes(odds, bias=0.0, noise=0.0):
    """What a teacher with these log-odds and this bias to the first option answers."""
    odds = torch.as_tensor(odds, dtype=F64)
    extra = noise * torch.randn(odds.shape, dtype=F64, generator=seeded(9))
    return torch.sigmoid(odds + bias + extra)


ODDS = torch.tensor([[0.0, 1.0, -0.5], [-1.0, 0.0, 0.3], [0.5, -0.3, 0.0]], dtype=F64)


def test_pairwise_selection_is_two_over_n_times_the_mean_over_opponents():
    point, _ = bootstrap_selection(pairwise_votes(ODDS), num_resamples=10)
    wins = torch.sigmoid(ODDS).fill_diagonal_(0).sum(1) / 2
    torch.testing.assert_close(point, 2 / 3 * wins)
    assert point.sum().item() == pytest.approx(1)


def test_a_common_position_bias_changes_neither_selection_nor_its_spread():
    plain, spread = bootstrap_selection(pairwise_votes(ODDS), num_resamples=200, generator=seeded())
    biased, biased_spread = bootstrap_selection(pairwise_votes(ODDS, 2.0), num_resamples=200, generator=seeded())
    torch.testing.assert_close(plain, biased)
    assert spread.std(0).max() < 1e-12
    assert biased_spread.std(0).max() < 1e-12


def test_orders_that_disagree_widen_the_interval():
    narrow, wide = (
        bootstrap_selection(pairwise_votes(ODDS, 1.0, noise), num_resamples=500, generator=seeded())[1].std(0)
        for noise in (0.1, 1.0)
    )
    assert (wide > 3 * narrow).all()


def test_rotations_average_as_log_probabilities():
    votes = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]], dtype=F64)
    point, drawn = bootstrap_selection(votes, "n-way", 2000, seeded())
    expected = votes.log().mean(0).exp()
    torch.testing.assert_close(point, expected / expected.sum())
    torch.testing.assert_close(drawn.sum(-1), torch.ones(2000, dtype=F64))
    same = bootstrap_selection(votes[:1].expand(3, 3), "n-way", 20)
    assert same[1].std(0).max() < 1e-12


def test_alpha_mixes_and_alpha_one_forgets_the_tokens():
    votes, tokens = pairwise_votes(ODDS, 0.5, 0.4), responses()
    by_votes = bootstrap_preference(tokens, votes, alpha=1.0, beta=2.0, num_resamples=100)
    p = PlackettLuce(2 * bootstrap_selection(votes)[0].log())
    torch.testing.assert_close(by_votes["top_choice"].estimate, p.top_choice())
    half = bootstrap_preference(tokens, votes, alpha=0.5, num_resamples=100)["scores"].estimate
    rewards = torch.tensor([np.mean(t) for t in tokens], dtype=F64)
    mixed = 10 * (0.5 * rewards + 0.5 * bootstrap_selection(votes)[0].log())
    torch.testing.assert_close(half, mixed - mixed.mean())


def test_the_intervals_of_a_mixture_lie_around_its_estimate():
    votes, tokens = pairwise_votes(ODDS, 0.5, 0.4), responses()
    for alpha in (0.0, 0.5, 1.0):
        scores = bootstrap_preference(tokens, votes, alpha=alpha, num_resamples=400, generator=seeded())["scores"]
        middle, width = (scores.low + scores.high) / 2, scores.high - scores.low
        assert ((middle - scores.estimate).abs() < 0.3 * width).all()


def test_more_than_twenty_responses_have_intervals_without_the_entropy():
    intervals = preference_intervals(torch.zeros(25), torch.randn(30, 25, generator=seeded()))
    assert "entropy" not in intervals
    assert intervals["pairwise"].low.shape == (25, 25)


def test_bad_input_says_what_is_missing():
    with pytest.raises(ValueError, match="response 1 has no tokens"):
        bootstrap_rewards([[-1.0], []])
    with pytest.raises(ValueError, match="response 0 has a token log-probability that is not finite"):
        bootstrap_rewards([[-math.inf], [-1.0]])
    with pytest.raises(ValueError, match="no selection_votes"):
        bootstrap_preference(responses(), alpha=0.5)
    with pytest.raises(ValueError, match="n x n probabilities"):
        bootstrap_selection([[0.5, 0.2]])
    with pytest.raises(ValueError, match="n x n probabilities"):
        bootstrap_selection([[0.5, 1.2], [0.1, 0.5]])
    with pytest.raises(ValueError, match="'pairwise' or 'n-way'"):
        bootstrap_selection([[0.5, 0.2], [0.1, 0.5]], "both")
    with pytest.raises(ValueError, match="level is 95"):
        preference_intervals(torch.zeros(2), torch.zeros(5, 2), level=95.0)
