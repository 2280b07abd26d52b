"""Alpha sweeps on cached columns: against definitions by loops, and in worlds where the best alpha is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import padlab
from padlab.study.alpha_sweep import alpha_sweep, ranking_metrics


def by_hand(score, reference):
    """Tau-b by counting pairs, NDCG as the mean over all ways to break the scores' ties."""
    pairs = list(itertools.combinations(range(len(score)), 2))
    a, b = ([np.sign(x[i] - x[j]) for i, j in pairs] for x in (score, reference))
    untied = [sum(s != 0 for s in side) for side in (a, b)]
    tau = sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(untied[0] * untied[1]) if all(untied) else math.nan
    gain = [(r - min(reference)) / (max(reference) - min(reference)) for r in reference]
    total = lambda order: sum(gain[i] / math.log2(2 + k) for k, i in enumerate(order))  # noqa: E731
    orders = list(itertools.permutations(range(len(score))))
    allowed = [o for o in orders if all(score[x] >= score[y] for x, y in itertools.pairwise(o))]
    first = [o[0] for o in allowed]
    return {
        "kendall_tau": tau,
        "top1": np.mean([reference[i] == max(reference) for i in first]),
        "ndcg": np.mean([total(o) for o in allowed]) / max(map(total, orders)),
    }


values = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=5)


@settings(max_examples=80, deadline=None)
@given(values, st.data())
def test_metrics_are_their_definitions_ties_included(score, data):
    reference = data.draw(st.lists(st.integers(0, 4).map(float), min_size=len(score), max_size=len(score)))
    found = ranking_metrics(score, reference)
    if len(set(reference)) == 1:
        assert all(math.isnan(v) for v in found.values())
    else:
        assert found == pytest.approx(by_hand(score, reference), abs=1e-9, nan_ok=True)


def world(prompts=60, n=4, noise=(1.0, 1.0), seed=0):
    """A hidden quality; reward and log p_sel each see it through noise of the given size."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(prompts, n))
    reward = quality + noise[0] * rng.normal(size=quality.shape)
    odds = np.exp(quality + noise[1] * rng.normal(size=quality.shape))
    rows = [
        {"prompt": f"p{k}", "responses": [f"r{i}" for i in range(n)], "teacher_reward": reward[k].tolist(),
         "selection_prob": (odds[k] / odds[k].sum()).tolist(), "truth": quality[k].tolist()}
        for k in range(prompts)
    ]  # fmt: skip
    return padlab.check_candidates(rows)


def test_two_noisy_views_are_best_mixed():
    sweep = alpha_sweep(world(prompts=300), "truth")
    assert sweep.alphas[0] == 0
    assert sweep.alphas[-1] == 1
    assert 0.2 <= sweep.best() <= 0.8
    for end in (0.0, 1.0):
        assert sweep.gain(over=end).low > 0


@pytest.mark.parametrize(("noise", "best"), [((0.01, 3.0), 0.0), ((30.0, 0.01), 1.0)])
def test_where_one_view_is_clear_that_end_is_best(noise, best):
    sweep = alpha_sweep(world(noise=noise), "truth", match_scale=True)
    assert abs(sweep.best() - best) <= 0.3
    assert sweep.gain(over=1 - best).low > 0
    assert sweep.intervals()[sweep.alphas.index(best)].estimate > 0.9


def test_choosing_on_noise_gains_nothing():
    """The reference is independent of both: the best alpha looks better than the ends, the honest gain does not."""
    table, lucky, honest = world(prompts=40, noise=(1, 1)), [], []
    for seed in range(30):
        reference = np.random.default_rng(100 + seed).normal(size=(40, 4)).tolist()
        sweep = alpha_sweep(table.add_column("random", reference), "random")
        means = np.nanmean(sweep.per_prompt["kendall_tau"], axis=1)
        lucky.append(means.max() - means[0])
        honest.append(sweep.gain().estimate)
    assert np.mean(lucky) > 0.02
    assert abs(np.mean(honest)) < np.mean(lucky) / 2


def test_the_ends_are_the_two_columns():
    table = world(prompts=12)
    sweep = alpha_sweep(table, "truth")
    for end, column in ((0, "teacher_reward"), (-1, "selection_prob")):
        expected = [ranking_metrics(s, t)["kendall_tau"] for s, t in zip(table[column], table["truth"], strict=True)]
        assert sweep.per_prompt["kendall_tau"][end] == pytest.approx(expected)


def test_bad_sweeps_say_what_is_wrong():
    table = world(prompts=3)
    with pytest.raises(ValueError, match="alphas must rise"):
        alpha_sweep(table, "truth", alphas=[0.5, 0.2])
    with pytest.raises(ValueError, match=r"missing column.*quality"):
        alpha_sweep(table, "quality")
    with pytest.raises(ValueError, match="row 1: short has 2 entries for 4 responses"):
        alpha_sweep(table.add_column("short", [[1, 2, 3, 4], [1, 2], [1, 2, 3, 4]]), "short")
    with pytest.raises(ValueError, match=r"alpha 0.33 is not in the sweep; there are 0, 0.1"):
        alpha_sweep(table, "truth").gain(over=0.33)
