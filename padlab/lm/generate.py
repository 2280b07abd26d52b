"""Sample n responses to many prompts in one batch: prompts are computed once, finished rows leave the batch.

The random numbers are arguments (one uniform number per row and step), and each is turned into a token by inverting the
cumulative distribution. So what a row draws depends on its own numbers only, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from padlab.lm.chat import stop_ids
from padlab.lm.fast.memory import in_halves
from padlab.lm.fast.prefill import Recompute, cache_is_exact, next_logits, prefill
from padlab.lm.fast.scoring import evaluation_mode
from padlab.lm.plain_text import control_tokens
from padlab.lm.probe import check_language_model, not_finite

COMPACT_BELOW = 7 / 8  # finished rows leave the batch when at most this share is unfinished (the cache is copied then)
TOP_TOKENS = 512  # the nucleus is looked for among so many tokens before the whole vocabulary is sorted


@dataclass
class _Rows:
    """The rows still in the batch.

    Args:
        index: number of each row among all rows.
        attention_mask: rows x positions so far, 0 at the padding.
        unfinished: no stop id drawn so far.
        blank: no visible character drawn so far.
    """

    index: Int[Tensor, " rows"]
    attention_mask: Int[Tensor, "rows length"]
    unfinished: Bool[Tensor, " rows"]
    blank: Bool[Tensor, " rows"]

    def select(self, rows: Int[Tensor, " kept"]) -> _Rows:
        """Some of the rows."""
        return _Rows(self.index[rows], self.attention_mask[rows], self.unfinished[rows], self.blank[rows])


@torch.no_grad()
def generate_rows(
    model: Any,
    tokenizer: Any,
    prompt_ids: Sequence[Sequence[int]],
    uniforms: Sequence[np.ndarray],
    *,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    names: Sequence[str] | None = None,
) -> list[list[list[int]]]:
    """Sample responses; where memory runs out, half of the rows at a time, or a quarter, ... and the same responses.

    Args:
        model: a causal LM.
        tokenizer: its tokenizer; control tokens other than the stop ids are never drawn, nor ids beyond its vocabulary,
            nor a stop id before the first visible character.
        prompt_ids: one list per prompt.
        uniforms: per prompt, responses x steps in [0, 1).
        temperature, top_p, max_new_tokens: as in `sample_responses`.
        names: what errors call the prompts; None: by their number.

    Returns:
        per prompt, per response: sampled ids, the stop id included when it was drawn.

    Raises:
        FloatingPointError: the model gave NaN or infinite logits.
        torch.OutOfMemoryError: one response alone does not fit; names the prompt.
    """
    check_language_model(model)
    by_length = sorted(range(len(prompt_ids)), key=lambda k: len(prompt_ids[k]))
    rows = [(k, number) for k in by_length for number in range(len(uniforms[k]))]

    def draw(piece: Sequence[tuple[int, int]]) -> list[list[int]]:
        prompts = list(dict.fromkeys(k for k, _ in piece))
        cache, mask, logits = start(model, [prompt_ids[k] for k in prompts], max_new_tokens)
        prompt_of_row = torch.tensor([prompts.index(k) for k, _ in piece], device=logits.device)
        cache.reorder_cache(prompt_of_row)
        draws = torch.from_numpy(np.stack([uniforms[k][number] for k, number in piece])).to(logits.device)
        mask, logits = mask[prompt_of_row], logits[prompt_of_row]
        return _decode(model, tokenizer, cache, mask, logits, draws, temperature=temperature, top_p=top_p)

    def too_large(row: tuple[int, int]) -> str:
        return (
            f"{names[row[0]] if names else f'prompt {row[0]}'}: sampling one response of up to {max_new_tokens} tokens "
            f"to a prompt of {len(prompt_ids[row[0]])} does not fit into memory. Lower max_new_tokens, use shorter "
            "prompts, or load with dtype='bfloat16'"
        )

    with evaluation_mode(model):
        cached = cache_is_exact(model)
        start = prefill if cached else Recompute.prefill
        pieces = [rows] if cached else [list(group) for _, group in groupby(rows, itemgetter(0))]  # no padding then
        drawn = dict(zip(rows, chain(*(in_halves(draw, piece, too_large) for piece in pieces)), strict=True))
    return [[drawn[k, number] for number in range(len(group))] for k, group in enumerate(uniforms)]


def _decode(
    model: Any,
    tokenizer: Any,
    cache: Any,
    mask: Int[Tensor, "rows length"],
    logits: Float[Tensor, "rows vocabulary"],
    draws: Float[Tensor, "rows steps"],
    temperature: float,
    top_p: float,
) -> list[list[int]]:
    """Token by token until every row has drawn a stop id, or all steps are done."""
    known = (i for i in stop_ids(model, tokenizer) if i < logits.shape[-1])  # a configuration may name others
    stops = torch.tensor(sorted(known), device=logits.device)
    forbidden = _forbidden_ids(tokenizer, logits.shape[-1], stops.tolist())
    drawn: list[list[int]] = [[] for _ in draws]
    index = torch.arange(len(draws), device=logits.device)
    rows = _Rows(index, mask, torch.ones_like(index, dtype=torch.bool), torch.ones_like(index, dtype=torch.bool))
    for step in range(draws.shape[1]):
        if torch.isnan(logits.sum()) or bool(torch.isposinf(logits).any()):
            raise FloatingPointError(not_finite(model))
        logits[:, forbidden] = -torch.inf
        logits[rows.blank.nonzero(), stops] = -torch.inf
        tokens = sample_top_p(logits / temperature, top_p, draws[rows.index, step])
        for row, token, unfinished in zip(rows.index.tolist(), tokens.tolist(), rows.unfinished.tolist(), strict=True):
            if unfinished:
                drawn[row].append(token)
        for k in rows.blank.nonzero().squeeze(-1).tolist():
            rows.blank[k] = not tokenizer.decode([int(tokens[k])]).strip()
        rows.unfinished &= ~torch.isin(tokens, stops)
        if step + 1 == draws.shape[1] or not bool(rows.unfinished.any()):
            break
        if int(rows.unfinished.sum()) <= COMPACT_BELOW * len(tokens):
            kept = rows.unfinished.nonzero().squeeze(-1)
            cache.reorder_cache(kept)
            rows, tokens = rows.select(kept), tokens[kept]
        rows.attention_mask = pad(rows.attention_mask, (0, 1), value=1)
        logits = next_logits(model, tokens, rows.attention_mask, cache)
    return drawn


def _forbidden_ids(tokenizer: Any, vocabulary: int, stops: Sequence[int]) -> Int[Tensor, " ids"]:
    """Control tokens except the stop ids, and ids that the tokenizer does not know (padded embeddings)."""
    control = [i for i in control_tokens(tokenizer).values() if i not in stops and i < vocabulary]
    return torch.tensor([*control, *range(len(tokenizer), vocabulary)], dtype=torch.long)


def sample_top_p(
    logits: Float[Tensor, "rows vocabulary"], top_p: float, uniform: Float[Tensor, " rows"]
) -> Int[Tensor, " rows"]:
    """One token per row from the nucleus, by inverting the cumulative distribution in vocabulary order.

    Args:
        logits: already divided by the temperature.
        top_p: the smallest set of most likely tokens with at least this mass is kept (its last token included).
        uniform: in [0, 1), float64.

    >>> sample_top_p(torch.tensor([[0.0, 9.0, 0.0]]), 0.9, torch.tensor([0.5], dtype=torch.float64)).tolist()
    [1]
    """
    probs = torch.softmax(logits.float(), dim=-1)
    if top_p >= 1:
        return _inverse_cdf(probs, uniform)
    top_probs, top_ids = probs.topk(min(TOP_TOKENS, probs.shape[-1]))
    tokens = _from_nucleus(top_probs, top_ids, top_p, uniform)
    larger = top_probs.sum(-1) < top_p  # rows whose nucleus has more tokens
    if bool(larger.any()):
        sorted_probs, sorted_ids = probs[larger].sort(dim=-1, descending=True, stable=True)
        tokens[larger] = _from_nucleus(sorted_probs, sorted_ids, top_p, uniform[larger])
    return tokens


def _from_nucleus(top_probs: Tensor, top_ids: Tensor, top_p: float, uniform: Tensor) -> Int[Tensor, " rows"]:
    """A token from the smallest set of most likely tokens with mass top_p; probabilities in descending order."""
    mass_before = top_probs.double().cumsum(-1) - top_probs
    kept = torch.where(mass_before < top_p, top_probs, 0)
    ids, order = top_ids.sort(-1)
    return ids.gather(-1, _inverse_cdf(kept.gather(-1, order), uniform)[:, None]).squeeze(-1)


def _inverse_cdf(weights: Float[Tensor, "rows tokens"], uniform: Tensor) -> Int[Tensor, " rows"]:
    """The first token whose cumulative weight exceeds `uniform` times the total weight."""
    cumulative = weights.double().cumsum(-1)
    tokens = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True).squeeze(-1)
    return tokens.clamp(max=weights.shape[-1] - 1)
