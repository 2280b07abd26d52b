"""Divergences between distributions over rankings beyond plain enumeration: streamed, sampled, or summed over subsets.

`losses.jensen_shannon` is the readable form over all n! rankings at once. The functions here give the same numbers in
little memory (streamed, n up to 10) or an unbiased estimate at any n.
"""

from math import factorial, log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from padlab.rankings.checks import working_dtype
from padlab.rankings.enumeration import check_enumerable, ranking_log_probs
from padlab.rankings.plackett_luce import PlackettLuce, kl_divergence, paired_rows
from padlab.rankings.subsets import step_log_probs

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


def large_divergence(
    student: PlackettLuce,
    teacher: PlackettLuce,
    divergence: str,
    method: str,
    num_samples: int,
    generator: torch.Generator | None,
) -> Float[Tensor, "*batch"]:
    """The divergences of `ppd_loss` where `is_large`, in nats.

    Args:
        student, teacher: distributions over the same items, one batch shape.
        divergence: "js", "forward_kl" = KL(teacher || student) or "reverse_kl" = KL(student || teacher).
        method, num_samples, generator: for "js", see `js_divergence`. The KLs are always exact, n up to 20.
    """
    if divergence == "forward_kl":
        return kl_divergence(teacher, student)
    if divergence == "reverse_kl":
        return kl_divergence(student, teacher)
    return js_divergence(student, teacher, method, num_samples, generator).value


def js_divergence(
    p: PlackettLuce | Float[Tensor, "..."],
    q: PlackettLuce | Float[Tensor, "..."],
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
    p, q, rows = paired_rows(p, q)
    if method not in ("auto", "exact", "sampled"):
        raise ValueError(f"method is {method!r}: expected 'auto', 'exact' or 'sampled'")
    if method == "auto":
        method = "exact" if p.items <= AUTO_LIMIT else "sampled"
    if method == "exact":
        value = _exact_js(*rows)
        error = torch.zeros_like(value)
    else:
        value, error = _sampled_js(p, q, num_samples, generator)
    dtype = torch.promote_types(p.scores.dtype, q.scores.dtype)
    return Divergence(*(t.reshape(p.batch_shape).to(dtype) for t in (value, error)), method)


def _js_term(log_ratio: Tensor) -> Tensor:
    """What a ranking with log Q/P = `log_ratio` adds to the JSD per unit of M: ln 2 - the entropy of (P, Q)/(P + Q)."""
    return log(2) + logsigmoid(-log_ratio) + log_ratio * torch.sigmoid(log_ratio)


def _exact_js(p_scores: Tensor, q_scores: Tensor, mask: Tensor | None) -> Tensor:
    """JSD = sum_r M(r) term(log Q(r)/P(r)) over all rankings; one value per row."""
    rows, items = p_scores.shape
    check_enumerable(items)
    recompute = torch.is_grad_enabled() and rows * factorial(items) > CHECKPOINT_RANKINGS
    nothing_drawn = p_scores.new_zeros(rows)  # log 1
    return _stream(p_scores, q_scores, mask, nothing_drawn, nothing_drawn, recompute)


def _stream(
    p_scores: Tensor, q_scores: Tensor, mask: Tensor | None, p_head: Tensor, q_head: Tensor, recompute: bool
) -> Tensor:
    """Part of the JSD from all rankings that begin with items drawn before, whose log-probabilities are p/q_head."""
    count = factorial(p_scores.shape[-1])
    if count > CHUNK_RANKINGS:
        return _stream_by_first_item(p_scores, q_scores, mask, p_head, q_head, recompute)
    filled_mask = torch.ones_like(p_scores, dtype=torch.bool) if mask is None else mask
    chunks = (t.split(max(1, CHUNK_RANKINGS // count)) for t in (p_scores, q_scores, filled_mask, p_head, q_head))
    parts = []
    for p_chunk, q_chunk, mask_chunk, *heads in zip(*chunks, strict=True):
        chunk = (p_chunk, q_chunk, None if mask is None else mask_chunk, *heads)
        parts.append(checkpoint(_chunk_js, *chunk, use_reentrant=False) if recompute else _chunk_js(*chunk))
    return torch.cat(parts)


def _stream_by_first_item(
    p_scores: Tensor, q_scores: Tensor, mask: Tensor | None, p_head: Tensor, q_head: Tensor, recompute: bool
) -> Tensor:
    items = p_scores.shape[-1]
    members = torch.arange(items, device=p_scores.device)[None]
    p_first, q_first = (step_log_probs(scores, mask, members)[:, 0] for scores in (p_scores, q_scores))
    total = torch.zeros_like(p_head)
    for item in range(items):
        rest = members[0] != item
        remaining = (p_scores[:, rest], q_scores[:, rest], None if mask is None else mask[:, rest])
        total = total + _stream(*remaining, p_head + p_first[:, item], q_head + q_first[:, item], recompute)
    return total


def _chunk_js(p_scores: Tensor, q_scores: Tensor, mask: Tensor | None, p_head: Tensor, q_head: Tensor) -> Tensor:
    log_p = p_head[:, None] + ranking_log_probs(p_scores, mask)
    log_q = q_head[:, None] + ranking_log_probs(q_scores, mask)
    return ((log_p.exp() + log_q.exp()) * _js_term(log_q - log_p)).sum(-1) / 2


def _sampled_js(
    p: PlackettLuce, q: PlackettLuce, num_samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Mean of term(log Q/P), each in [0, ln 2], over pairs of draws, one from P and one from Q; standard error."""
    pairs = -(-num_samples // 2)
    if pairs < 2:
        raise ValueError(f"num_samples is {num_samples}: at least 4 draws are needed for a standard error")
    dtype = working_dtype(p.scores.device)
    p, q = (PlackettLuce(d.scores.to(dtype), d.mask, validate_args=False) for d in (p, q))
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
