"""The two steps of sampling: prompts through the model into a cache, and one more token per row.

Prompts are computed in groups of similar length, a common beginning once for all. Each model's cache is
tried once: where it changes the logits (a state-space model under padding, a cache of another kind), all positions are
computed again at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from padlab.lm.fast.common_beginning import shared_beginning
from padlab.lm.fast.kv_cache import PreallocatedLayer, preallocated_cache
from padlab.lm.fast.memory import ran_out_of_memory
from padlab.lm.probe import ordinary_ids

MAX_PADDING = 0.1  # prompts are prefilled in groups of similar length, with so much padding per token at most ...
SMALL_GROUP = 256  # ... except in groups of fewer tokens, which grow by as much padding: small batches are slow

_exact_caches: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # model -> whether `cache_is_exact`


def prefill(model: Any, prompt_ids: Sequence[Sequence[int]], new_tokens: int) -> tuple[Any, Tensor, Tensor]:
    """Prompts, shortest first, through the model: (cache, attention mask, logits of the next token)."""
    longest = len(prompt_ids[-1])
    cache = preallocated_cache(model.config, longest + new_tokens)
    can_append = bool(cache.layers) and all(isinstance(layer, PreallocatedLayer) for layer in cache.layers)
    if not can_append:
        return cache, *_prefill_left_padded(model, prompt_ids, cache)
    beginning = preallocated_cache(model.config, longest)  # the common beginning, e.g. a system prompt, once for all
    shared = shared_beginning(prompt_ids, len(prompt_ids[0]) - 1)  # the first is the shortest
    if shared:
        _prefill_left_padded(model, [prompt_ids[0][:shared]], beginning)
    masks, logits = [], []
    for group in group_by_length([ids[shared:] for ids in prompt_ids]):
        group_cache = preallocated_cache(model.config, longest + new_tokens)
        for layer, first in zip(group_cache.layers, beginning.layers if shared else [], strict=False):
            layer.update(*(states.expand(len(group), -1, -1, -1) for states in (first.keys, first.values)))
        mask, last_logits = _prefill_left_padded(model, group, group_cache, shared)
        masks.append(pad(mask, (longest - mask.shape[1], 0)))
        logits.append(last_logits)
        for layer, group_layer in zip(cache.layers, group_cache.layers, strict=True):
            layer.append_rows(group_layer)
    return cache, torch.cat(masks), torch.cat(logits)


def group_by_length(prompt_ids: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Prompts, shortest first, in groups that need little padding.

    >>> [len(group) for group in group_by_length([[1] * 50] * 8 + [[1] * 200] * 2 + [[1] * 2000])]
    [8, 2, 1]
    """
    groups: list[list[Sequence[int]]] = [[]]
    for ids in prompt_ids:
        tokens = sum(map(len, groups[-1]))
        padding = len(ids) * len(groups[-1]) - tokens
        if padding > SMALL_GROUP or (tokens >= SMALL_GROUP and padding > MAX_PADDING * (tokens + len(ids))):
            groups.append([])
        groups[-1].append(ids)
    return groups


def _prefill_left_padded(
    model: Any, prompt_ids: Sequence[Sequence[int]], cache: Any, before: int = 0
) -> tuple[Tensor, Tensor]:
    """Prompts as one batch into the cache, behind what it holds: (attention mask, logits of the next token)."""
    length = max(map(len, prompt_ids))
    input_ids = torch.tensor([[0] * (length - len(ids)) + list(ids) for ids in prompt_ids], device=model.device)
    held = [1] * before
    mask = torch.tensor([held + [0] * (length - len(ids)) + [1] * len(ids) for ids in prompt_ids], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, before:]
    output = model(
        input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    return mask, output.logits[:, -1].float()


def next_logits(model: Any, tokens: Tensor, mask: Tensor, cache: Any) -> Float[Tensor, "rows vocabulary"]:
    """Logits after one more token per row; the mask has the new tokens' column."""
    if isinstance(cache, Recompute):
        return cache.next_logits(model, tokens)
    positions = mask.sum(1, keepdim=True) - 1
    output = model(
        input_ids=tokens[:, None], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    )
    return output.logits[:, -1].float()


class Recompute:
    """In place of a cache: keeps all ids, and computes all positions again at every step.

    Args:
        ids: rows x positions so far, without padding.
    """

    def __init__(self, ids: Int[Tensor, "rows positions"]) -> None:
        self.ids = ids

    @classmethod
    def prefill(cls, model: Any, prompt_ids: Sequence[Sequence[int]], new_tokens: int) -> tuple[Any, Tensor, Tensor]:
        """As `prefill`, for prompts of one length."""
        cache = cls(torch.tensor([list(ids) for ids in prompt_ids], device=model.device))
        return cache, torch.ones_like(cache.ids), cache._logits(model)

    def reorder_cache(self, rows: Int[Tensor, " kept"]) -> None:
        """Keep (or repeat) rows."""
        self.ids = self.ids[rows]

    def next_logits(self, model: Any, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits after one more token per row."""
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
        return self._logits(model)

    def _logits(self, model: Any) -> Float[Tensor, "rows vocabulary"]:
        return model(input_ids=self.ids, use_cache=False).logits[:, -1].float()


@torch.no_grad()
def cache_is_exact(model: Any) -> bool:
    """Whether step by step, with padding before the shorter prompt, the cache gives the logits of the whole sequence.

    Tried once per model; where it does not, everything is computed again at every step, and that is printed.
    """
    if model not in _exact_caches:
        prompts = [ordinary_ids(model, 1, 4, 2), ordinary_ids(model, 5, 3, 6, 2, 7, 1)]
        tokens = torch.tensor(ordinary_ids(model, 8, 9), device=model.device)
        whole = [Recompute.prefill(model, [[*p, int(t)]], 1)[2] for p, t in zip(prompts, tokens, strict=True)]
        try:
            cache, mask, _ = prefill(model, prompts, 4)
            order = torch.tensor([1, 0], device=model.device)
            cache.reorder_cache(order)
            stepwise = next_logits(model, tokens[order], pad(mask[order], (0, 1), value=1), cache)[order]
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
            if ran_out_of_memory(error):
                raise
            stepwise = None
        _exact_caches[model] = stepwise is not None and _agree(stepwise, torch.cat(whole), model.dtype)
        if not _exact_caches[model]:
            print(f"padlab: {type(model).__name__} is sampled without a KV cache, which is slow: with it logits differ")
    return _exact_caches[model]


def _agree(first: Tensor, second: Tensor, dtype: torch.dtype) -> bool:
    """Whether two sets of logits are equal up to rounding, measured by how far each row's logits lie apart."""
    tolerance = 1e-3 if dtype == torch.float32 else 0.2
    return not bool(second.isfinite().all()) or bool(
        ((first - second).abs().amax(-1) <= tolerance * second.std(-1)).all()
    )
