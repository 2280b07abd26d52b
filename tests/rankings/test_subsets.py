"""The tables of subsets that every exact sum walks over."""

import itertools

import pytest
import torch

from padlab.rankings import subsets
from padlab.rankings.checks import working_scores
from padlab.rankings.subsets import subset_entropy, subset_kl, subset_level, subset_rank_marginals

CPU = torch.device("cpu")


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_each_level_holds_every_set_once_and_knows_where_it_goes(n):
    for size in range(1, n + 1):
        members, children = subset_level(n, size, CPU)
        sets = [tuple(s) for s in members.tolist()]
        assert sorted(sets) == list(itertools.combinations(range(n), size))
        if size == 1:
            assert (children == 0).all()
            continue
        smaller = subset_level(n, size - 1, CPU)[0].tolist()
        for items, places in zip(sets, children.tolist(), strict=True):
            assert [smaller[p] for p in places] == [[i for i in items if i != gone] for gone in items]


def test_the_full_set_meets_its_children_in_order():
    assert subset_level(6, 6, CPU)[1].tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("grad", [False, True])
def test_chunks_of_rows_and_recomputed_levels_change_nothing(monkeypatch, grad):
    scores, others = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(1)) < 0.7
    mask[:, 0] = True

    def run():
        leaves = [scores.clone().requires_grad_(grad), others.clone().requires_grad_(grad)]
        p, q = (working_scores(leaf, mask) for leaf in leaves)
        results = [subset_entropy(p), subset_kl(p, q), subset_rank_marginals(p)]
        weights = [torch.randn(r.shape, dtype=r.dtype, generator=torch.Generator().manual_seed(2)) for r in results]
        if not grad:
            return results
        return results + list(
            torch.autograd.grad(sum((w * r).sum() for w, r in zip(weights, results, strict=True)), leaves)
        )

    whole = run()
    monkeypatch.setattr(subsets, "CHUNK_DRAWS", 100)
    monkeypatch.setattr(subsets, "INT64_LIMIT", 10)
    subsets._level_tables.cache_clear()
    for a, b in zip(whole, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
