"""Does a Plackett-Luce distribution describe pairwise choices? The fit, and the measures of its misfit."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from padlab.rankings.goodness_of_fit import fit_plackett_luce, goodness_of_fit
from padlab.rankings.plackett_luce import PlackettLuce

F64 = torch.float64
rows = st.integers(2, 7).flatmap(lambda n: st.lists(st.floats(-6, 6, width=32), min_size=n, max_size=n))
MEASURES = (
    "kl_per_pair",
    "largest_gap",
    "cyclic_share",
    "context_effect",
    "intransitive_triples",
    "weakened_triples",
)
CYCLE = torch.tensor([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]], dtype=F64)


def random_choices(n, batch=(), seed=0):
    odds = torch.randn(*batch, n, n, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return torch.sigmoid(odds - odds.mT)


@settings(max_examples=25, deadline=None)
@given(rows)
@example([0.0, 2.220446049250313e-16])
@example([0.0, 1e-9, 2e-16])
def test_choices_of_a_plackett_luce_distribution_give_its_scores_back_without_misfit(scores):
    scores = torch.tensor(scores, dtype=F64)
    result = goodness_of_fit(PlackettLuce(scores).pairwise())
    torch.testing.assert_close(result.scores, scores - scores.mean(), atol=1e-6, rtol=0)
    for name in MEASURES:
        assert getattr(result, name).item() == pytest.approx(0, abs=1e-6), name


def test_the_fit_is_the_maximum_that_scipy_finds():
    choices = random_choices(5).numpy()

    def loss(scores):
        fitted = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
        return -(choices * np.log(fitted))[~np.eye(5, dtype=bool)].sum()

    expected = minimize(loss, np.zeros(5), tol=1e-12).x
    fitted = fit_plackett_luce(torch.from_numpy(choices))
    np.testing.assert_allclose(fitted, expected - expected.mean(), atol=1e-5)


def test_permuting_the_items_permutes_the_fit_and_a_batch_is_rows_alone():
    choices, order = random_choices(6, (4,)), torch.tensor([3, 0, 5, 1, 2, 4])
    result = goodness_of_fit(choices)
    torch.testing.assert_close(goodness_of_fit(choices[:, order][:, :, order]).scores, result.scores[:, order])
    for row in range(4):
        for whole, alone in zip(result, goodness_of_fit(choices[row]), strict=True):
            torch.testing.assert_close(whole[row], alone)


def test_rock_paper_scissors_is_only_a_cycle():
    result = goodness_of_fit(CYCLE)
    torch.testing.assert_close(result.scores, torch.zeros(3, dtype=F64))
    assert result.cyclic_share.item() == pytest.approx(1)
    assert result.intransitive_triples.item() == 1
    assert result.context_effect.item() == pytest.approx(3 * np.log(4))
    assert result.largest_gap.item() == pytest.approx(0.3)
    coin = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert result.kl_per_pair.item() == pytest.approx(coin)


def test_best_against_worst_less_clear_than_its_steps_breaks_strong_transitivity_only():
    choices = torch.tensor([[0.5, 0.9, 0.6], [0.1, 0.5, 0.7], [0.4, 0.3, 0.5]], dtype=F64)
    result = goodness_of_fit(choices)
    assert (result.intransitive_triples.item(), result.weakened_triples.item()) == (0, 1)
    choices[0, 2], choices[2, 0] = 0.95, 0.05
    assert goodness_of_fit(choices).weakened_triples.item() == 0


def test_the_measures_grow_with_the_share_of_a_cycle():
    straight = PlackettLuce(torch.tensor([1.0, 0.0, -1.0], dtype=F64)).pairwise().logit()
    results = [goodness_of_fit(torch.sigmoid(straight + share * CYCLE.logit())) for share in (0.0, 0.3, 0.6, 1.5)]
    for name in ("kl_per_pair", "largest_gap", "cyclic_share", "context_effect"):
        values = [getattr(r, name).item() for r in results]
        assert values == sorted(values), name
        assert values[1] > values[0] + 1e-3, name


def test_two_items_and_certain_choices_stay_finite():
    for choices in (random_choices(2), torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=F64)):
        result = goodness_of_fit(choices)
        assert all(value.isfinite().all() for value in result)
        assert result.kl_per_pair.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([[0.5, 0.7], [0.7, 0.5]], r"P\(0 over 1\) = 0.7 .*sum to 1"),
        ([[0.5, 1.2], [-0.2, 0.5]], "between 0 and 1"),
        ([[0.5, float("nan")], [0.3, 0.5]], "between 0 and 1"),
    ],
)
def test_bad_choices_say_where(choices, message):
    with pytest.raises(ValueError, match=message):
        goodness_of_fit(torch.tensor(choices))
