"""Divergences between distributions over rankings: exact by streaming, by sums over subsets, estimated."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.distributions import kl_divergence
from torch.distributions.kl import _KL_REGISTRY as KL_REGISTRY

from padlab.rankings import large_n
from padlab.rankings.large_n import Divergence, is_large, js_divergence
from padlab.rankings.losses import DIVERGENCES, jensen_shannon, ppd_loss
from padlab.rankings.plackett_luce import PlackettLuce

F64 = torch.float64
values = st.floats(-8, 8, allow_nan=False, width=32)
pairs = st.integers(1, 5).flatmap(lambda n: st.tuples(*[st.lists(values, min_size=n, max_size=n)] * 2))
few = settings(max_examples=25, deadline=None)


def normal(*shape, scale=2.0, seed=0):
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@few
@given(pairs)
def test_kl_and_jsd_agree_with_the_oracle(oracle, pair):
    p, q = (torch.tensor(side, dtype=F64) for side in pair)
    assert kl_divergence(PlackettLuce(p), PlackettLuce(q)).item() == pytest.approx(oracle.kl(*pair), abs=1e-9)
    result = js_divergence(p, q)
    assert isinstance(result, Divergence)
    assert (result.method, result.standard_error.item()) == ("exact", 0)
    assert result.value.item() == pytest.approx(oracle.jsd(*pair), abs=1e-12)
    assert -1e-15 <= result.value.item() <= oracle.ln2 + 1e-12
    assert js_divergence(q, p).value.item() == pytest.approx(result.value.item(), abs=1e-14)


def test_kl_comes_with_the_distribution():
    """Whoever imports PlackettLuce alone has torch's kl_divergence too."""
    assert KL_REGISTRY[PlackettLuce, PlackettLuce].__module__ == PlackettLuce.__module__


@few
@given(pairs, values, values, st.randoms(use_true_random=False))
def test_shifts_change_nothing_and_a_common_order_of_the_items_does_not_matter(pair, shift, other_shift, random):
    p, q = (torch.tensor(side, dtype=F64) for side in pair)
    order = list(range(len(p)))
    random.shuffle(order)
    before, after = js_divergence(p, q).value, js_divergence(p[order] + shift, q[order] + other_shift).value
    torch.testing.assert_close(after, before, atol=1e-10, rtol=0)


def test_equal_distributions_have_divergence_and_gradient_zero():
    scores = normal(3, 6).requires_grad_()
    for shift in (0.0, 5.0):
        value = js_divergence(scores + shift, scores.detach()).value
        assert value.abs().max() < 1e-14
        (gradient,) = torch.autograd.grad(value.sum(), scores)
        assert gradient.abs().max() < 1e-14
    same = js_divergence(scores, scores.detach(), method="sampled").value
    assert same.abs().max() < 1e-14
    assert torch.autograd.grad(same.sum(), scores)[0].abs().max() < 1e-14


@pytest.mark.parametrize("n", [2, 6, 11])
def test_scores_ten_thousand_apart_stay_finite(n):
    p = (1e4 * torch.arange(n, dtype=F64)).requires_grad_()
    q = p.detach().flip(0).requires_grad_()
    results = [js_divergence(p, q).value, kl_divergence(PlackettLuce(p), PlackettLuce(q))]
    for result in results:
        assert result.isfinite()
        assert all(g.isfinite().all() for g in torch.autograd.grad(result, (p, q), allow_unused=True) if g is not None)
    assert results[0].item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("function", ["js", "kl"])
def test_gradients_are_right(function, masked):
    mask = torch.tensor([[True] * 4, [False, True, True, False]]) if masked else None
    functions = {"js": lambda p, q: js_divergence(p, q).value, "kl": kl_divergence}

    def value(p, q):
        return functions[function](*(PlackettLuce(s, mask) for s in (p, q)))

    assert gradcheck(
        value, (normal(2, 4, scale=0.5).requires_grad_(), normal(2, 4, scale=0.5, seed=1).requires_grad_())
    )


def test_chunks_split_rankings_and_recomputation_change_nothing(monkeypatch):
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(4)) < 0.7
    mask[:, 3] = True

    def run():
        p, q = normal(3, 5).requires_grad_(), normal(3, 5, seed=1).requires_grad_()
        value = js_divergence(PlackettLuce(p, mask), PlackettLuce(q, mask)).value
        return [value, *torch.autograd.grad((value * normal(3)).sum(), (p, q))]

    whole = run()
    for chunk in (1000, 100, 7):
        monkeypatch.setattr(large_n, "CHUNK_RANKINGS", chunk)
        monkeypatch.setattr(large_n, "CHECKPOINT_RANKINGS", 10 * chunk)
        for a, b in zip(whole, run(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_a_row_counts_alike_alone_and_in_a_batch_ragged_or_not():
    mask = torch.tensor([[True] * 5, [True, False, True, True, False], [False, False, False, False, True]])
    p, q = normal(3, 5), normal(3, 5, seed=1)
    together = js_divergence(PlackettLuce(p, mask), PlackettLuce(q, mask)).value
    kl = kl_divergence(PlackettLuce(p, mask), PlackettLuce(q, mask))
    for row, present in enumerate(mask):
        torch.testing.assert_close(together[row], js_divergence(p[row, present], q[row, present]).value)
        alone = kl_divergence(PlackettLuce(p[row, present]), PlackettLuce(q[row, present]))
        torch.testing.assert_close(kl[row], alone)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 9])
def test_the_streamed_value_and_gradient_are_those_of_the_formula_written_out(n, masked, monkeypatch):
    if n < 9:  # 9! rankings are streamed by the first item anyway
        monkeypatch.setattr(large_n, "CHUNK_RANKINGS", 50)
    mask = torch.rand(2, n, generator=torch.Generator().manual_seed(n)) < 0.6
    mask[:, -1] = True
    p, q = (PlackettLuce(normal(2, n, seed=s).requires_grad_(), mask if masked else None) for s in (1, 2))
    streamed = js_divergence(p, q, method="exact").value
    written_out = jensen_shannon(p.all_log_probs(), q.all_log_probs())
    torch.testing.assert_close(streamed, written_out, rtol=1e-12, atol=1e-15)
    gradients = (torch.autograd.grad(value.sum(), (p.scores, q.scores)) for value in (streamed, written_out))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("divergence", ["js", "forward_kl", "reverse_kl"])
def test_ppd_of_a_batch_too_large_for_enumeration_is_the_same(divergence, monkeypatch):
    def run():
        student = normal(5, 4).requires_grad_()
        losses = ppd_loss(student, normal(5, 4, seed=1), divergence, reduction="none")
        return losses.detach(), *torch.autograd.grad(losses.sum(), student)

    assert not is_large(PlackettLuce(normal(5, 4)))
    enumerated = run()
    monkeypatch.setattr(large_n, "CHECKPOINT_RANKINGS", 5 * math.factorial(4) - 1)
    assert is_large(PlackettLuce(normal(5, 4)))
    monkeypatch.setitem(DIVERGENCES, divergence, None)  # an error if it is used all the same
    for a, b in zip(enumerated, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)


def test_the_loss_of_many_responses_is_an_estimate_and_kls_are_exact_up_to_twenty():
    student, teacher = normal(2, 12), normal(2, 12, seed=1)
    torch.manual_seed(3)
    sampled = ppd_loss(student, teacher, reduction="none")
    assert torch.equal(sampled, js_divergence(student, teacher, generator=torch.Generator().manual_seed(3)).value)
    expected = kl_divergence(PlackettLuce(teacher), PlackettLuce(student))
    assert torch.equal(ppd_loss(student, teacher, "forward_kl", reduction="none"), expected)


def test_auto_is_exact_up_to_eight_and_an_estimate_above():
    assert js_divergence(normal(8), normal(8, seed=1)).method == "exact"
    above = js_divergence(normal(9), normal(9, seed=1))
    assert above.method == "sampled"
    assert above.standard_error > 0
    exact = js_divergence(normal(9), normal(9, seed=1), method="exact")
    assert abs(exact.value - above.value) < 4 * above.standard_error
    with pytest.raises(ValueError, match="sampled"):
        js_divergence(normal(11), normal(11), method="exact")


def test_batches_broadcast_and_dtypes_follow_the_input():
    p, q = normal(4, 1, 3), normal(2, 3, seed=1)
    for method in ("exact", "sampled"):
        assert js_divergence(p, q, method=method).value.shape == (4, 2)
        assert js_divergence(p, q, method=method).standard_error.shape == (4, 2)
        assert js_divergence(p.float(), q.float(), method=method).value.dtype == torch.float32
    assert kl_divergence(PlackettLuce(p), PlackettLuce(q)).shape == (4, 2)
    torch.testing.assert_close(js_divergence(p, q).value[3, 1], js_divergence(p[3, 0], q[1]).value)


def test_single_precision_agrees_with_double():
    p, q = (20 * torch.rand(2, 30, 6, generator=torch.Generator().manual_seed(0)) - 10).unbind()
    pairs = [
        (js_divergence(p, q).value, js_divergence(p.double(), q.double()).value),
        (kl_divergence(*map(PlackettLuce, (p, q))), kl_divergence(*map(PlackettLuce, (p.double(), q.double())))),
    ]
    for single, double in pairs:
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=0)


def test_different_items_are_refused():
    mask = torch.tensor([True, True, False])
    with pytest.raises(ValueError, match="same mask"):
        js_divergence(PlackettLuce(normal(3), mask), PlackettLuce(normal(3), ~mask))
    with pytest.raises(ValueError, match="same mask"):
        kl_divergence(PlackettLuce(normal(3), mask), PlackettLuce(normal(3)))
    with pytest.raises(ValueError, match="3 items, the other 4"):
        js_divergence(normal(3), normal(4))
    with pytest.raises(ValueError, match="'auto', 'exact' or 'sampled'"):
        js_divergence(normal(3), normal(3), method="exakt")
    with pytest.raises(ValueError, match="at least 4"):
        js_divergence(normal(3), normal(3), method="sampled", num_samples=1)


def test_every_tensor_is_made_on_the_device_of_the_scores(monkeypatch):
    mask = torch.tensor([[True, True, False, True], [True, True, True, True]])
    p, q = PlackettLuce(normal(2, 4), mask), PlackettLuce(normal(2, 4, seed=1), mask)
    monkeypatch.setattr(large_n, "CHUNK_RANKINGS", 5)
    with torch.device("meta"):
        results = [*js_divergence(p, q)[:2], *js_divergence(p, q, "sampled")[:2], kl_divergence(p, q)]
        assert {r.device.type for r in results} == {"cpu"}


def repeated_estimates(p, q, repeats, num_samples, seed):
    """Independent estimates, one per row: the same pair of distributions repeated."""
    leaf = p.expand(repeats, -1).clone().requires_grad_()
    other = q.expand(repeats, -1).clone().requires_grad_()
    result = js_divergence(leaf, other, "sampled", num_samples, torch.Generator().manual_seed(seed))
    return result, torch.autograd.grad(result.value.sum(), (leaf, other))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_sampled_value_and_gradient_are_unbiased(scale):
    """z-test over repeats against exact enumeration at n = 5, in both arguments."""
    p, q = (normal(5, scale=scale, seed=s).requires_grad_() for s in (1, 2))
    exact = js_divergence(p, q).value
    exact_gradients = torch.autograd.grad(exact, (p, q))
    result, gradients = repeated_estimates(p.detach(), q.detach(), repeats=4000, num_samples=16, seed=5)
    pairs = [(result.value.detach()[:, None], exact[None]), *zip(gradients, exact_gradients, strict=True)]
    for estimate, truth in pairs:
        z = (estimate.mean(0) - truth) / (estimate.std(0) / math.sqrt(4000)).clamp(min=1e-300)
        assert z.abs().max() < 4  # 11 comparisons for each scale


def test_the_reported_error_is_the_spread_of_the_estimates():
    result, _ = repeated_estimates(normal(5, seed=1), normal(5, seed=2), repeats=2000, num_samples=200, seed=6)
    spread, reported = result.value.std().item(), result.standard_error.square().mean().sqrt().item()
    assert reported == pytest.approx(spread, rel=0.1)


def test_the_baseline_takes_noise_out_of_the_gradient(monkeypatch):
    """Far apart (gradient near zero) it must win a lot, and close together it must not lose."""
    for scale, gain in ((6.0, 10.0), (0.5, 0.9)):
        p, q = normal(6, scale=scale, seed=1), normal(6, scale=scale, seed=2)
        with_baseline = repeated_estimates(p, q, 500, 64, seed=7)[1][0].var(0).sum().item()
        with monkeypatch.context() as patch:
            patch.setattr(large_n, "_sampled_surrogate", plain_surrogate)
            without = repeated_estimates(p, q, 500, 64, seed=7)[1][0].var(0).sum().item()
        assert without > gain * with_baseline


def plain_surrogate(log_p, log_q):
    with torch.no_grad():
        log_w = math.log(2) + torch.nn.functional.logsigmoid(log_p - log_q)
    return (log_w.exp() * log_w / 2 * log_p).mean((0, 1))


@pytest.mark.slow
def test_four_thousand_draws_cover_the_truth_at_twelve_items():
    """100 repeats with fixed seeds: within 3 standard errors at least 97 times; the truth from a long run."""
    p, q = normal(12, scale=1.0, seed=8), normal(12, scale=1.0, seed=9)
    long_run = [js_divergence(p, q, "sampled", 200_000, torch.Generator().manual_seed(1000 + s)) for s in range(20)]
    truth = np.mean([r.value.item() for r in long_run])
    inside = 0
    for seed in range(100):
        result = js_divergence(p, q, "sampled", 4000, torch.Generator().manual_seed(seed))
        inside += abs(result.value.item() - truth) <= 3 * result.standard_error.item()
    assert inside >= 97
