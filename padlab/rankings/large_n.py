"""Divergences between distributions over rankings beyond plain enumeration: streamed, sampled, or summed over subsets.

`losses.jensen_shannon` is the readable form over all n! rankings at once. The functions here give the same numbers in
little memory (streamed, n up to 10) or an unbiased estimate at any n.
"""

from collections.abc import Callable
from functools import partial
from math import factorial, log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from padlab.rankings.checks import Numbers, working_dtype
from padlab.rankings.enumeration import check_enumerable, ranking_log_probs
from padlab.rankings.plackett_luce import PlackettLuce, expand_pair, kl_divergence

AUTO_LIMIT = 8  # items: method "auto" is exact up to 8! = 40,320 rankings
CHUNK_RANKINGS = 2**18  # rows x rankings processed at once (2 MiB per float64 tensor, fits a CPU cache)
CHECKPOINT_RANKINGS = 2**20  # rows x rankings; above this, chunks are recomputed in the backward pass


class Divergence(NamedTuple):
    """A divergence between two distributions over rankings.

    Args:
        value: nats, batch shape.
        standard_error: nats, batch shape; 0 where exact.
        method: "exact" or "sampled".
    """

    value: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]
    method: str


def is_large(distribution: PlackettLuce) -> bool:
    """Whether the losses leave the enumeration of all rankings at once: n above 8, or over 2^20 rankings in the batch.

    >>> is_large(PlackettLuce(torch.zeros(16, 4))), is_large(PlackettLuce(torch.zeros(9)))
    (False, True)
    """
    rows, items = distribution.batch_shape.numel(), distribution.items
    return items > AUTO_LIMIT or rows * factorial(items) > CHECKPOINT_RANKINGS


def large_divergence(student: PlackettLuce, teacher: PlackettLuce, divergence: str) -> Float[Tensor, "*batch"]:
    """The divergences of `ppd_loss` where `is_large`, in nats.

    Args:
        student, teacher: distributions over the same items, one batch shape.
        divergence: "js" (see `js_divergence`), "forward_kl" = KL(teacher || student) or "reverse_kl" = KL(student ||
            teacher); the KLs are exact, n up to 20.
    """
    if divergence == "js":
        return js_divergence(student, teacher).value
    return kl_divergence(teacher, student) if divergence == "forward_kl" else kl_divergence(student, teacher)


def js_divergence(
    p: PlackettLuce | Float[Tensor, "..."] | Numbers,
    q: PlackettLuce | Float[Tensor, "..."] | Numbers,
    method: str = "auto",
    num_samples: int = 4000,
    generator: torch.Generator | None = None,
) -> Divergence:
    """Jensen-Shannon divergence 1/2 KL(P || M) + 1/2 KL(Q || M), M = (P + Q)/2, in nats: 0 to ln 2, symmetric.

    Args:
        p, q: PlackettLuce, or score tensors, batch shape x n (beta * reward); batch shapes broadcast.
        method: "exact" enumerates (n up to 10), "sampled" estimates at any n, "auto" is exact up to n = 8.
        num_samples: draws per row for "sampled", half from P and half from Q (at least 4; odd numbers round up).
        generator: random number generator of the draws.
    Returns:
        Divergence(value, standard_error, method). Gradients reach both p and q; the sampled gradient is
        unbiased (first derivatives only).
    Raises:
        ValueError: different items, scores that are not finite, unknown method, or n too large for "exact".

    >>> js_divergence(torch.tensor([3.0, 0.0]), torch.tensor([3.0, 0.0])).value
    tensor(0.)
    """
    p, q = expand_pair(p, q)
    if method not in ("auto", "exact", "sampled"):
        raise ValueError(f"method is {method!r}: expected 'auto', 'exact' or 'sampled'")
    if method == "auto":
        method = "exact" if p.items <= AUTO_LIMIT else "sampled"
    if method == "exact":
        value = _exact_js(p.rows(), q.rows())
        error = torch.zeros_like(value)
    else:
        value, error = _sampled_js(p, q, num_samples, generator)
    dtype = torch.promote_types(p.scores.dtype, q.scores.dtype)
    return Divergence(*(t.reshape(p.batch_shape).to(dtype) for t in (value, error)), method)


def _js_term(log_ratio: Tensor) -> Tensor:
    """What a ranking with log Q/P = `log_ratio` adds to the JSD per unit of M: ln 2 - the entropy of (P, Q)/(P + Q)."""
    size = torch.where(log_ratio < 0, -log_ratio, log_ratio)  # not abs(): its second derivative at 0 is lost
    return log(2) + logsigmoid(size) - size * torch.sigmoid(-size)


def _exact_js(p_scores: Tensor, q_scores: Tensor) -> Tensor:
    """JSD = sum_r M(r) term(log Q(r)/P(r)) over all rankings; one value per row."""
    rows, items = p_scores.shape
    check_enumerable(items)
    recompute = torch.is_grad_enabled() and rows * factorial(items) > CHECKPOINT_RANKINGS
    run = partial(checkpoint, _chunk_js, use_reentrant=False) if recompute else _chunk_js
    nothing_drawn = p_scores.new_zeros(rows)  # log 1
    return _stream(run, p_scores, q_scores, nothing_drawn, nothing_drawn)


def _stream(run: Callable, p_scores: Tensor, q_scores: Tensor, p_head: Tensor, q_head: Tensor) -> Tensor:
    """Part of the JSD from all rankings that begin with items drawn before, whose log-probabilities are p/q_head.

    In chunks of rows; where the rankings of one row are too many, they are divided further by their first item.
    """
    rows, items = p_scores.shape
    chunk = CHUNK_RANKINGS // factorial(items)
    if chunk > 0:
        parts = [slice(start, start + chunk) for start in range(0, max(1, rows), chunk)]
        return torch.cat([run(*(t[part] for t in (p_scores, q_scores, p_head, q_head))) for part in parts])
    p_first, q_first = p_scores.log_softmax(-1), q_scores.log_softmax(-1)
    total = torch.zeros_like(p_head)
    for item in range(items):
        rest = torch.arange(items, device=p_scores.device) != item
        heads = p_head + p_first[:, item], q_head + q_first[:, item]
        total = total + _stream(run, p_scores[:, rest], q_scores[:, rest], *heads)
    return total


def _chunk_js(p_scores: Tensor, q_scores: Tensor, p_head: Tensor, q_head: Tensor) -> Tensor:
    log_p = p_head[:, None] + ranking_log_probs(p_scores)
    log_q = q_head[:, None] + ranking_log_probs(q_scores)
    return ((log_p.exp() + log_q.exp()) * _js_term(log_q - log_p)).sum(-1) / 2


def _sampled_js(
    p: PlackettLuce, q: PlackettLuce, num_samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Mean of term(log Q/P), each in [0, ln 2], over pairs of draws, one from P and one from Q; standard error."""
    pairs = -(-num_samples // 2)
    if pairs < 2:
        raise ValueError(f"num_samples is {num_samples}: at least 4 draws are needed for a standard error")
    p, q = (PlackettLuce(d.scores.to(working_dtype(d.scores.device)), d.mask) for d in (p, q))
    draws = torch.stack([d.sample((pairs,), generator) for d in (p, q)], 1)  # pairs x 2 x batch x n
    log_p, log_q = p.log_prob(draws), q.log_prob(draws)
    terms = _js_term((log_q - log_p).detach())
    error = (terms.var(0).sum(0) / pairs).sqrt() / 2  # two strata of equal weight
    surrogate = _sampled_surrogate(log_p, log_q) + _sampled_surrogate(log_q, log_p)
    return terms.mean((0, 1)) + surrogate - surrogate.detach(), error


def _sampled_surrogate(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Has the unbiased estimate of the JSD's gradient through P as its gradient; its value has no meaning.

    d JSD = E_M[w (1/2 log w - c) d log P] with w = P/M <= 2, for any baseline c, since E_M[w d log P] = 0. The
    baseline of each pair of draws comes from the other pairs. So the estimate stays unbiased and its variance falls,
    above all where P and Q hardly overlap.
    """
    with torch.no_grad():
        log_w = log(2) + logsigmoid(log_p - log_q)
        w = log_w.exp()
        weight = w.square().sum(1)
        weighted = (w.square() * log_w / 2).sum(1)
        others_weight = (weight.sum(0) - weight).clamp(min=torch.finfo(w.dtype).tiny)
        baseline = (weighted.sum(0) - weighted) / others_weight
        factor = w * (log_w / 2 - baseline[:, None])
    return (factor * log_p).mean((0, 1))
