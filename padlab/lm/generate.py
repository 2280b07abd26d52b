"""Many prompts x n responses at once: prompts are prefilled once, finished rows leave the batch (an eighth at a time).

The randomness is handed in (one uniform number per row and step) and turned into a token by inverting the cumulative
distribution, so what a row draws depends on nothing but its own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.chat import control_tokens, stop_ids
from padlab.lm.fast.kv_cache import RoomyLayer, roomy_cache
from padlab.lm.fast.scoring import NOT_FINITE

FULL = 7 / 8  # finished rows leave the batch when no larger share is alive; each time, the cache is copied
NUCLEUS_FIRST = (64, 512)  # look for the nucleus among so many top tokens before sorting the whole vocabulary
PADDING = 0.1  # prompts are prefilled in groups with so much padding per token at most ...
ENOUGH = 256  # ... or, up to so many tokens, as much padding: less would leave the matrix products idle


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
) -> list[list[list[int]]]:
    """Sample responses.

    Args:
        model: causal LM with a cache that can be repeated along the batch.
        tokenizer: its tokenizer; control tokens other than the stop ids are never drawn, nor ids beyond its vocabulary,
            nor a stop id before the first visible character.
        prompt_ids: one list per prompt.
        uniforms: per prompt, responses x steps in [0, 1).
        temperature, top_p, max_new_tokens: as in `sample_responses`.

    Returns:
        per prompt, per response: sampled ids, the stop id included when it was drawn.
    """
    was_training = model.training
    model.eval()
    order = sorted(range(len(prompt_ids)), key=lambda k: len(prompt_ids[k]))
    uniforms = [uniforms[k] for k in order]
    counts = torch.tensor([len(u) for u in uniforms])
    cache, mask, logits = _prefill(model, [prompt_ids[k] for k in order], max_new_tokens)
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts).to(logits.device)
    cache.reorder_cache(owner)
    mask, logits = mask[owner], logits[owner]
    draws = torch.from_numpy(np.concatenate(uniforms)).to(logits.device)
    stops = torch.tensor(sorted(stop_ids(model, tokenizer)), device=logits.device)
    banned = _banned(tokenizer, logits.shape[-1], stops.tolist())
    out: list[list[int]] = [[] for _ in range(len(owner))]
    blank = torch.ones(len(owner), dtype=torch.bool, device=logits.device)
    alive = torch.arange(len(owner), device=logits.device)
    live = torch.ones_like(blank)
    for step in range(max_new_tokens):
        if torch.isnan(logits.sum()):
            raise FloatingPointError(f"the model's logits are not finite ({model.dtype}); {NOT_FINITE}")
        logits[:, banned] = -torch.inf
        logits[blank.nonzero(), stops] = -torch.inf
        token = choose(logits / temperature, top_p, draws[alive, step])
        for row, value, on in zip(alive.tolist(), token.tolist(), live.tolist(), strict=True):
            if on:
                out[row].append(value)
        for row in blank.nonzero().squeeze(-1).tolist():
            blank[row] = not tokenizer.decode([int(token[row])]).strip()
        live &= ~torch.isin(token, stops)
        if step + 1 == max_new_tokens or not bool(live.any()):
            break
        if int(live.sum()) <= FULL * len(live):
            going = live.nonzero().squeeze(-1)
            cache.reorder_cache(going)
            alive, mask, token, blank, live = (x[going] for x in (alive, mask, token, blank, live))
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = model(
            input_ids=token[:, None], attention_mask=mask, position_ids=mask.sum(1, keepdim=True) - 1,
            past_key_values=cache, use_cache=True,
        ).logits[:, -1].float()  # fmt: skip
    model.train(was_training)
    edges = [0, *counts.cumsum(0).tolist()]
    found = dict(zip(order, (out[a:b] for a, b in pairwise(edges)), strict=True))
    return [found[k] for k in range(len(order))]


def choose(logits: Float[Tensor, "rows vocabulary"], top_p: float, uniform: Float[Tensor, " rows"]) -> Tensor:
    """One token per row from the nucleus, by inverting the cumulative distribution in vocabulary order.

    Args:
        logits: already divided by the temperature.
        top_p: the smallest set of most likely tokens with at least this mass is kept (its last token included).
        uniform: in [0, 1), float64.

    >>> choose(torch.tensor([[0.0, 9.0, 0.0]]), 0.9, torch.tensor([0.5], dtype=torch.float64)).tolist()
    [1]
    """
    probabilities = torch.softmax(logits.float(), dim=-1)
    if top_p >= 1:
        return _invert(probabilities, uniform)
    token = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    left = torch.arange(len(logits), device=logits.device)
    for width in (*NUCLEUS_FIRST, logits.shape[-1]):
        if width < logits.shape[-1]:
            top, index = probabilities.topk(width)
            within = top.sum(-1) >= top_p
        else:
            top, index = probabilities.sort(dim=-1, descending=True, stable=True)
            within = torch.ones_like(left, dtype=torch.bool)
        token[left[within]] = _from_nucleus(top[within], index[within], top_p, uniform[left[within]])
        left, probabilities = left[~within], probabilities[~within]
        if not len(left):
            break
    return token


def _from_nucleus(top: Tensor, index: Tensor, top_p: float, uniform: Tensor) -> Tensor:
    before = top.double().cumsum(-1) - top
    kept = torch.where(before < top_p, top, 0)
    index, order = index.sort(-1)
    return index.gather(-1, _invert(kept.gather(-1, order), uniform)[:, None]).squeeze(-1)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    total = weights.double().cumsum(-1)
    found = torch.searchsorted(total, (uniform * total[:, -1])[:, None], right=True).squeeze(-1)
    return found.clamp(max=weights.shape[-1] - 1)


def _prefill(model: Any, prompt_ids: Sequence[Sequence[int]], room: int) -> tuple[Any, Tensor, Tensor]:
    """Prompts, shortest first, through the model once: (cache, attention mask, logits of the next token)."""
    longest = len(prompt_ids[-1])
    cache = roomy_cache(model.config, longest + room)
    joins = bool(cache.layers) and all(isinstance(layer, RoomyLayer) for layer in cache.layers)
    masks, logits = [], []
    for group in alike(prompt_ids) if joins else [prompt_ids]:
        part = roomy_cache(model.config, longest + room) if joins else cache
        mask, last = _left_padded(model, group, part)
        masks.append(torch.nn.functional.pad(mask, (longest - mask.shape[1], 0)))
        logits.append(last)
        if joins:
            for layer, more in zip(cache.layers, part.layers, strict=True):
                layer.append_rows(more)
    return cache, torch.cat(masks), torch.cat(logits)


def alike(prompt_ids: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Prompts, shortest first, in groups that need little padding; small groups are let grow, as far as that is cheap.

    >>> [len(group) for group in alike([[1] * 50] * 8 + [[1] * 200] * 2 + [[1] * 2000])]
    [8, 2, 1]
    """
    groups: list[list[Sequence[int]]] = [[]]
    for ids in prompt_ids:
        real = sum(map(len, groups[-1]))
        padding = len(ids) * len(groups[-1]) - real
        if padding > ENOUGH or (real >= ENOUGH and padding > PADDING * (real + len(ids))):
            groups.append([])
        groups[-1].append(ids)
    return groups


def _left_padded(model: Any, prompt_ids: Sequence[Sequence[int]], cache: Any) -> tuple[Tensor, Tensor]:
    """Prompts as one batch into the cache: (attention mask, logits of the next token)."""
    length = max(map(len, prompt_ids))
    input_ids = torch.zeros(len(prompt_ids), length, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompt_ids):
        input_ids[row, length - len(ids) :] = torch.tensor(ids)
        mask[row, length - len(ids) :] = 1
    input_ids, mask = input_ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    output = model(
        input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    return mask, output.logits[:, -1].float()


def _banned(tokenizer: Any, vocabulary: int, stops: list[int]) -> Tensor:
    control = [i for i in control_tokens(tokenizer).values() if i not in stops and i < vocabulary]
    return torch.tensor([*control, *range(len(tokenizer), vocabulary)], dtype=torch.long)
