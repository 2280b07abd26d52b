"""The distribution over rankings against a slow oracle, and the properties it must have."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.autograd import gradcheck

from padlab.rankings.plackett_luce import PlackettLuce

F64 = torch.float64
QUANTITIES = ("entropy", "pairwise", "rank_marginals", "top_choice", "expected_rank")
values = st.floats(-8, 8, allow_nan=False, width=32)
rows = st.integers(1, 6).flatmap(lambda n: st.lists(values, min_size=n, max_size=n))
few = settings(max_examples=25, deadline=None)


def tensor(scores):
    return torch.tensor(scores, dtype=F64)


def normal(*shape, scale=2.0, seed=0):
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def every_quantity(distribution):
    return [getattr(distribution, name)() for name in QUANTITIES] + [distribution.enumerate()[1]]


@few
@given(rows)
def test_every_quantity_agrees_with_the_oracle(oracle, scores):
    p, n = PlackettLuce(tensor(scores)), len(scores)
    rankings, log_probs = p.enumerate()
    assert [tuple(r) for r in rankings.tolist()] == oracle.rankings(n)
    np.testing.assert_allclose(log_probs.exp(), oracle.probabilities(scores), atol=1e-12, rtol=1e-9)
    np.testing.assert_allclose(p.log_prob(rankings), log_probs, atol=1e-10)
    np.testing.assert_allclose(p.entropy(), oracle.entropy(scores), atol=1e-10)
    np.testing.assert_allclose(p.pairwise(), oracle.pairwise(scores), atol=1e-12)
    marginals = oracle.rank_marginals(scores)
    np.testing.assert_allclose(p.rank_marginals(), marginals, atol=1e-12)
    np.testing.assert_allclose(p.top_choice(), marginals[:, 0], atol=1e-12)
    np.testing.assert_allclose(p.expected_rank(), marginals @ np.arange(1, n + 1), atol=1e-10)


@few
@given(rows)
def test_probabilities_sum_to_one_and_the_mode_is_the_likeliest(scores):
    p = PlackettLuce(tensor(scores))
    log_probs = p.enumerate()[1]
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert p.log_prob(p.mode).item() == pytest.approx(log_probs.max().item(), abs=1e-12)
    assert p.rank_marginals().sum(0).tolist() == pytest.approx([1] * len(scores))
    assert p.rank_marginals().sum(1).tolist() == pytest.approx([1] * len(scores))
    assert p.entropy().item() >= -1e-12
    assert p.entropy().item() <= math.lgamma(len(scores) + 1) + 1e-12


@few
@given(rows, values)
def test_a_shift_of_all_scores_changes_nothing(scores, shift):
    before, after = every_quantity(PlackettLuce(tensor(scores))), every_quantity(PlackettLuce(tensor(scores) + shift))
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


@few
@given(rows, st.randoms(use_true_random=False))
def test_permuting_the_items_permutes_and_does_nothing_else(scores, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    p, moved = PlackettLuce(tensor(scores)), PlackettLuce(tensor(scores)[order])
    torch.testing.assert_close(moved.entropy(), p.entropy())
    torch.testing.assert_close(moved.pairwise(), p.pairwise()[order][:, order])
    torch.testing.assert_close(moved.rank_marginals(), p.rank_marginals()[order])
    torch.testing.assert_close(moved.top_choice(), p.top_choice()[order])
    torch.testing.assert_close(moved.expected_rank(), p.expected_rank()[order])
    rankings = moved.enumerate()[0]
    torch.testing.assert_close(moved.log_prob(rankings), p.log_prob(torch.tensor(order)[rankings]))


def test_two_items_are_bradley_terry():
    difference = torch.linspace(-30, 30, 41, dtype=F64)
    p = PlackettLuce(torch.stack([difference, torch.zeros_like(difference)], -1))
    logistic = 1 / (1 + np.exp(-difference.numpy()))
    np.testing.assert_allclose(p.log_prob(torch.tensor([0, 1])).exp(), logistic, rtol=1e-12)
    np.testing.assert_allclose(p.pairwise()[:, 0, 1], logistic, rtol=1e-12)
    np.testing.assert_allclose(p.rank_marginals()[:, 0, 0], logistic, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 12, 17])
def test_equal_scores_have_the_entropy_of_all_orders(n):
    assert PlackettLuce(torch.full((n,), 3.7, dtype=F64)).entropy().item() == pytest.approx(math.lgamma(n + 1))


def test_large_n_marginals_agree_with_the_closed_forms():
    p = PlackettLuce(normal(3, 14))
    marginals = p.rank_marginals()
    torch.testing.assert_close(marginals[..., 0], p.top_choice())
    torch.testing.assert_close(marginals @ torch.arange(1, 15, dtype=F64), p.expected_rank())
    torch.testing.assert_close(marginals.sum(-2), torch.ones(3, 14, dtype=F64))


def test_first_and_last_place_at_large_n_against_inclusion_and_exclusion():
    scores = normal(13, seed=3)
    weights = scores.exp()
    last = []  # P(i last) = sum over sets T without i of (-1)^|T| w_i / (w_i + w(T))
    for i in range(13):
        sets = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=F64)] * 12)
        others = torch.cat([weights[:i], weights[i + 1 :]])
        last.append(((-1) ** sets.sum(-1) * weights[i] / (weights[i] + sets @ others)).sum())
    torch.testing.assert_close(PlackettLuce(scores).rank_marginals()[:, -1], torch.stack(last), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("n", [2, 6, 11])
def test_scores_ten_thousand_apart_give_finite_values_and_gradients(n):
    scores = (1e4 * torch.arange(n, dtype=F64)).requires_grad_()
    p = PlackettLuce(scores)
    results = [getattr(p, name)() for name in QUANTITIES] + [p.log_prob(p.mode), p.log_prob(p.mode.flip(0))]
    for result in results + ([p.enumerate()[1]] if n <= 6 else []):
        assert result.isfinite().all()
        (gradient,) = torch.autograd.grad(result.sum(), scores)
        assert gradient.isfinite().all()
    assert p.log_prob(p.mode).item() == pytest.approx(0)


@pytest.mark.parametrize("name", [*QUANTITIES, "log_prob", "enumerate"])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_are_right(name, ragged):
    mask = torch.tensor([[True] * 5, [True, False, True, True, False]]) if ragged else None

    def quantity(scores):
        p = PlackettLuce(scores, mask)
        if name == "log_prob":
            return p.log_prob(PlackettLuce(normal(2, 5, seed=7), mask).mode)
        result = p.enumerate()[1].exp() if name == "enumerate" else getattr(p, name)()
        return (result * normal(*result.shape, seed=9)).sum()

    assert gradcheck(quantity, normal(2, 5).requires_grad_())


def test_single_precision_agrees_with_double():
    scores = 30 * (2 * torch.rand(50, 6, generator=torch.Generator().manual_seed(1)) - 1)
    single, double = PlackettLuce(scores), PlackettLuce(scores.double())
    ranking = PlackettLuce(-scores).mode
    pairs = zip(
        [*every_quantity(single), single.log_prob(ranking)],
        [*every_quantity(double), double.log_prob(ranking)],
        strict=True,
    )
    for result, exact in pairs:
        assert result.dtype == torch.float32
        normal_range = exact.abs() > 1e-35  # below lie float32's subnormal numbers
        torch.testing.assert_close(result.double()[normal_range], exact[normal_range], rtol=1e-5, atol=0)


def test_half_precision_scores_are_computed_in_double():
    scores = normal(3, 5).to(torch.bfloat16)
    assert PlackettLuce(scores).entropy().dtype == torch.bfloat16
    torch.testing.assert_close(
        PlackettLuce(scores).entropy(), PlackettLuce(scores.double()).entropy().to(torch.bfloat16), rtol=0, atol=0
    )


def test_draws_have_the_probabilities_of_the_distribution(generator):
    p = PlackettLuce(tensor([1.0, 0.3, -0.5, 0.0]))
    draws = p.sample((20_000,), generator)
    rankings, log_probs = p.enumerate()
    counts = (draws[:, None] == rankings).all(-1).sum(0)
    assert counts.sum() == 20_000
    assert chisquare(counts, 20_000 * log_probs.exp()).pvalue > 1e-3


def test_draws_are_reproducible_and_shaped():
    p = PlackettLuce(normal(2, 3, 4))
    first, second = (p.sample((5, 6), torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (5, 6, 2, 3, 4)
    assert torch.equal(first, second)
    assert torch.equal(first.sort(-1).values, torch.arange(4).expand(5, 6, 2, 3, 4))


def test_it_is_a_torch_distribution():
    p = PlackettLuce(normal(2, 3, 4))
    assert (p.batch_shape, p.event_shape) == ((2, 3), (4,))
    assert p.expand((5, 2, 3)).log_prob(p.sample()).shape == (5, 2, 3)
    assert p.expand((5, 2, 3)).entropy().shape == (5, 2, 3)
    assert p.enumerate_support().shape == (24, 2, 3, 4)
    assert p.enumerate_support(expand=False).shape == (24, 1, 1, 4)
    torch.testing.assert_close(p.log_prob(p.enumerate_support()).movedim(0, -1), p.enumerate()[1])
    independent = torch.distributions.Independent(p, 1)
    torch.testing.assert_close(independent.log_prob(p.mode), p.log_prob(p.mode).sum(-1))


def test_ties_in_the_mode_keep_the_lower_number_first():
    assert PlackettLuce(tensor([1.0, 2.0, 1.0, 2.0])).mode.tolist() == [1, 3, 0, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "batch", "seconds"), [(16, 8, 2), (20, 1, 15)])
def test_exact_sums_at_many_items_are_quick(n, batch, seconds):
    p, q = PlackettLuce(normal(batch, n)), PlackettLuce(normal(batch, n, seed=1))
    for quantity in (p.entropy, p.rank_marginals, lambda: torch.distributions.kl_divergence(p, q)):
        start = time.perf_counter()
        quantity()
        assert time.perf_counter() - start < seconds


def test_every_tensor_is_made_on_the_device_of_the_scores():
    """With another default device, whatever forgets to say where it lives ends up there, and the arithmetic fails."""
    scores, ranking = normal(2, 4), torch.tensor([2, 0, 3, 1])
    mask = torch.tensor([[True, True, False, True], [True, True, True, True]])
    with torch.device("meta"):
        for p in (PlackettLuce(scores), PlackettLuce(scores, mask)):
            results = [*every_quantity(p), p.mode, p.sample((3,)), p.log_prob(ranking), p.enumerate_support()]
            assert {r.device.type for r in results} == {"cpu"}
