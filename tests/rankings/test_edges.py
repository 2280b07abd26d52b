"""Numbers at the edge: right, or refused in words."""

import math

import numpy as np
import pytest
import torch

import padlab
from padlab.lm.generate import sample_top_p


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6, 1e9])
def test_divergence_of_sure_distributions_is_ln_2(size):
    a, b = torch.tensor([[size, 0.0, -size]] * 2, dtype=torch.float64), torch.tensor([[-size, 0.0, size]] * 2).double()
    for method in ("exact", "sampled", "auto"):
        value = padlab.js_divergence(a, b, method=method).value
        assert bool((value <= math.log(2) + 1e-12).all())
        if size >= 1e3:
            assert value.tolist() == pytest.approx([math.log(2)] * 2, abs=1e-6)


@pytest.mark.parametrize("size", [1.1e9, 1e15, 1e30, 1.7e308])
def test_scores_that_have_no_exact_probabilities_are_refused(size):
    scores = torch.tensor([[1.0, 2.0], [0.0, -size]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"row 1 \(prompt\), item 1 .*beyond 1e\+09"):
        padlab.ppd_loss(scores, scores)
    with pytest.raises(ValueError, match="item 1"):
        padlab.PlackettLuce(scores[1], torch.tensor([True, True]))
    assert padlab.PlackettLuce(scores[1], torch.tensor([True, False])).mode.tolist() == [0, 1]  # absent: any filler


@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_lists_arrays_and_tensors_are_taken_alike(form):
    a, b = [[1.0, 2.0, 0.5]], [[2.0, 1.0, 0.0]]
    pairs, table = ([-1.0], [-2.0], [-1.5], [-1.0]), [[0.5, 0.8], [0.2, 0.5]]
    results = [
        padlab.ppd_loss(form(a), form(b)),
        padlab.vpd_loss(form(a), form(b)),
        padlab.sft_loss(form(a[0])),
        padlab.dpo_loss(*(form(p) for p in pairs)),
        padlab.simpo_loss(form(pairs[0]), form(pairs[1])),
        padlab.fit_plackett_luce(form(table))[0],
        padlab.goodness_of_fit(form(table)).largest_gap,
        padlab.js_divergence(form(a[0]), form(b[0])).value,
    ]
    tensors = [torch.tensor(x) for x in (a, b)]
    assert float(results[0]) == pytest.approx(float(padlab.ppd_loss(*tensors)), abs=1e-6)
    assert float(results[4]) == pytest.approx(math.log1p(math.exp(-1.0)), abs=1e-6)
    assert float(results[5]) == pytest.approx(math.log(4) / 2, abs=1e-6)
    assert all(math.isfinite(float(r)) for r in results)
    with pytest.raises(ValueError, match="expected a tensor, an array or lists of numbers"):
        padlab.sft_loss(["a"] if form is list else [[1.0], [1.0, 2.0]])


@pytest.mark.parametrize(("items", "p"), [(2, 1.0), (15, 1.0), (20, 1.0), (60, 0.9), (200, 0.9), (50, 0.3)])
def test_a_chain_of_pairs_is_fitted_exactly(items, p):
    """Neighbours were asked, nobody else: their log-odds are the differences of the scores."""
    choices, weights = torch.full((items, items), 0.5, dtype=torch.float64), torch.zeros(items, items).double()
    for k in range(items - 1):
        choices[k, k + 1], choices[k + 1, k] = p, 1 - p
        weights[k, k + 1] = weights[k + 1, k] = 3.0
    scores, kept = padlab.fit_plackett_luce(choices, weights), min(p, 1 - 1e-6)
    assert (scores[:-1] - scores[1:]).tolist() == pytest.approx([math.log(kept / (1 - kept))] * (items - 1), abs=1e-4)
    assert float(scores.mean()) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("items", [3, 10, 30])
def test_unanimous_choices_among_all_pairs_reach_the_maximum(items):
    choices = torch.tensor([[0.5 if i == j else float(i < j) for j in range(items)] for i in range(items)]).double()
    kept = choices.clamp(1e-6, 1 - 1e-6)
    scores = padlab.fit_plackett_luce(choices)
    assert float((kept - torch.sigmoid(scores[:, None] - scores[None])).sum(-1).abs().max()) < 1e-6


def test_items_without_a_common_scale_are_refused():
    weights = torch.zeros(4, 4)
    weights[0, 1] = weights[1, 0] = weights[2, 3] = weights[3, 2] = 1
    with pytest.raises(ValueError, match="no chain of asked pairs connects items 0 and 2"):
        padlab.fit_plackett_luce(torch.full((4, 4), 0.5), weights)


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-39, 1e-5, float("nan"), float("inf")])
def test_temperatures_that_float32_cannot_hold_are_refused(tiny, temperature):
    with pytest.raises(ValueError, match="temperature must be"):
        padlab.sample_responses(tiny.student, ["Hi"], n=2, max_new_tokens=2, temperature=temperature)


def test_the_lowest_temperature_takes_the_likeliest_token(tiny):
    logits = torch.randn(64, 500, generator=torch.Generator().manual_seed(0))
    uniform = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for top_p in (0.9, 1.0):
        assert torch.equal(sample_top_p(logits / 1e-4, top_p, uniform), logits.argmax(-1))


def test_infinite_logits_are_an_error(tiny):
    network = padlab.load_pair("tiny").student.model
    hook = network.lm_head.register_forward_hook(lambda m, i, out: out.index_fill(-1, torch.tensor([40]), torch.inf))
    with pytest.raises(FloatingPointError, match="not finite"):
        padlab.sample_responses(
            padlab.LanguageModel(network, tiny.student.tokenizer, "inf"), ["Hi"], n=2, max_new_tokens=2
        )
    hook.remove()
