"""How far apart two distributions over rankings are: KL exact by subsets, Jensen-Shannon exact or estimated."""

from math import log, perm
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from padlab.rankings.checks import working_dtype
from padlab.rankings.enumeration import check_enumerable, ranking_log_probs
from padlab.rankings.plackett_luce import PlackettLuce, paired_rows
from padlab.rankings.subsets import step_log_probs, subset_kl

AUTO_LIMIT = 8  # method "auto" enumerates up to 8! = 40,320 rankings
CHUNK_RANKINGS = 2**18  # rows x rankings held at once (2 MiB per float64 tensor: stays in cache)
CHECKPOINT_RANKINGS = 2**20  # above this, chunks are recomputed in the backward pass instead of kept


class Divergence(NamedTuple):
    """A divergence between two distributions over rankings.

    value: nats, batch shape. standard_error: nats, batch shape, 0 where exact.
    method: "exact" or "sampled".
    """

    value: Float[Tensor, "*batch"]
    standard_error: Float[Tensor, "*batch"]
    method: str


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
        generator: source of the draws.
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
    if method == "exact" or (method == "auto" and p.items <= AUTO_LIMIT):
        value = _exact_js(*rows)
        return _divergence(p, q, value, torch.zeros_like(value), "exact")
    return _divergence(p, q, *_sampled_js(p, q, num_samples, generator), "sampled")


def js_lower_bound(
    p: PlackettLuce | Float[Tensor, "..."], q: PlackettLuce | Float[Tensor, "..."], length: int
) -> Float[Tensor, "*batch"]:
    """JSD of the first `length` places, in nats: at most the JSD of the rankings, and equal at length n - 1.

    What is forgotten cannot tell two distributions apart (data processing), so the bound rises with length.

    Args:
        p, q: PlackettLuce or scores, batch shape x n.
        length: number k of leading items, 1 to n; n!/(n - k)! prefixes are enumerated.
    Raises:
        ValueError: length outside 1 .. n, or more prefixes than 10 items have rankings.
    """
    p, q, rows = paired_rows(p, q)
    if not 1 <= length <= p.items:
        raise ValueError(f"length is {length}: expected 1 to {p.items}, the number of items")
    return _divergence(p, q, _exact_js(*rows, length), None, "exact").value


def js_upper_bound(
    p: PlackettLuce | Float[Tensor, "..."], q: PlackettLuce | Float[Tensor, "..."]
) -> Float[Tensor, "*batch"]:
    """min(ln 2, (KL(P || Q) + KL(Q || P)) / 4) in nats: at least the JSD (Lin 1991), in O(n 2^n).

    Raises:
        ValueError: n above 20, or different items.
    """
    p, q, (scores, others, mask) = paired_rows(p, q)
    jeffreys = subset_kl(scores, others, mask) + subset_kl(others, scores, mask)
    return _divergence(p, q, (jeffreys / 4).clamp(max=log(2)), None, "exact").value


def _divergence(p: PlackettLuce, q: PlackettLuce, value: Tensor, error: Tensor | None, method: str) -> Divergence:
    dtype = torch.promote_types(p.scores.dtype, q.scores.dtype)
    value, error = (None if t is None else t.reshape(p.batch_shape).to(dtype) for t in (value, error))
    return Divergence(value, error, method)


def _gap(log_ratio: Tensor) -> Tensor:
    """ln 2 minus the entropy of a coin with log-odds `log_ratio`: what one ranking adds to the JSD, per unit of M."""
    return log(2) + logsigmoid(-log_ratio) + log_ratio * torch.sigmoid(log_ratio)


def _exact_js(scores: Tensor, others: Tensor, mask: Tensor | None, length: int | None = None) -> Tensor:
    """JSD = sum_r M(r) gap(log Q(r)/P(r)) over all rankings, or all prefixes of `length` items; one value per row."""
    items = scores.shape[-1]
    check_enumerable(items, length)
    length = items if length is None else length
    recompute = torch.is_grad_enabled() and len(scores) * perm(items, length) > CHECKPOINT_RANKINGS
    head = scores.new_zeros(len(scores))
    return _stream(scores, others, mask, length, head, head, recompute)


def _stream(
    scores: Tensor, others: Tensor, mask: Tensor | None, length: int, head: Tensor, other_head: Tensor, recompute: bool
) -> Tensor:
    """The share of the JSD of rankings that begin with items already taken out (log-probabilities `head`)."""
    count = perm(scores.shape[-1], length)
    if count > CHUNK_RANKINGS:
        return _stream_by_first_item(scores, others, mask, length, head, other_head, recompute)
    at_once = max(1, CHUNK_RANKINGS // count)
    columns = (scores, others, head, other_head, torch.ones_like(scores, dtype=torch.bool) if mask is None else mask)
    parts = []
    for s, o, h, oh, m in zip(*(t.split(at_once) for t in columns), strict=True):
        chunk = (s, o, None if mask is None else m, length, h, oh)
        parts.append(checkpoint(_chunk_js, *chunk, use_reentrant=False) if recompute else _chunk_js(*chunk))
    return torch.cat(parts)


def _stream_by_first_item(
    scores: Tensor, others: Tensor, mask: Tensor | None, length: int, head: Tensor, other_head: Tensor, recompute: bool
) -> Tensor:
    items = scores.shape[-1]
    everything = torch.arange(items, device=scores.device)[None]
    first, other_first = (step_log_probs(t, mask, everything)[:, 0] for t in (scores, others))
    total = torch.zeros_like(head)
    for item in range(items):
        rest = everything[0] != item
        smaller = (scores[:, rest], others[:, rest], None if mask is None else mask[:, rest], length - 1)
        total = total + _stream(*smaller, head + first[:, item], other_head + other_first[:, item], recompute)
    return total


def _chunk_js(
    scores: Tensor, others: Tensor, mask: Tensor | None, length: int, head: Tensor, other_head: Tensor
) -> Tensor:
    log_p = head[:, None] + ranking_log_probs(scores, mask, length)
    log_q = other_head[:, None] + ranking_log_probs(others, mask, length)
    log_ratio = log_q - log_p
    return ((log_p.exp() + log_q.exp()) * _gap(log_ratio)).sum(-1) / 2


def _sampled_js(
    p: PlackettLuce, q: PlackettLuce, num_samples: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Mean of gap(log Q/P), each in [0, ln 2], over pairs of draws, one from P and one from Q; and its error."""
    pairs = -(-num_samples // 2)
    if pairs < 2:
        raise ValueError(f"num_samples is {num_samples}: at least 4 draws are needed for a standard error")
    dtype = working_dtype(p.scores.device)
    p, q = (PlackettLuce(d.scores.to(dtype), d.mask, validate_args=False) for d in (p, q))
    draws = torch.stack([d.sample((pairs,), generator) for d in (p, q)], 1)  # pairs x 2 x batch x n
    log_p, log_q = p.log_prob(draws), q.log_prob(draws)
    terms = _gap((log_q - log_p).detach())
    error = (terms.var(0).sum(0) / pairs).sqrt() / 2  # two strata of equal weight
    slope = _sampled_slope(log_p, log_q) + _sampled_slope(log_q, log_p)
    return terms.mean((0, 1)) + slope - slope.detach(), error


def _sampled_slope(log_p: Tensor, log_q: Tensor) -> Tensor:
    """A number whose gradient is the unbiased estimate of the JSD's gradient through P; its value means nothing.

    d JSD = E_M[w (1/2 log w - c) d log P] with w = P/M <= 2, for any c, since E_M[w d log P] = 0. Each pair's c
    comes from the other pairs: that leaves the estimate unbiased and takes out the noise of draws that carry
    no information.
    """
    with torch.no_grad():
        log_w = log(2) + logsigmoid(log_p - log_q)
        w = log_w.exp()
        weight = w.square().sum(1)
        weighted = (w.square() * log_w / 2).sum(1)
        others = (weight.sum(0) - weight).clamp(min=torch.finfo(w.dtype).tiny)
        c = (weighted.sum(0) - weighted) / others
        factor = w * (log_w / 2 - c[:, None])
    return (factor * log_p).mean((0, 1))
