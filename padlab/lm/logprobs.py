"""The only place that shifts, masks and normalises token log-probabilities.

The log-probability of a response token is read at the position before it; for the first one that is the prompt's last
position. Where the architecture allows, a prompt and its n responses share one row: every response sees the prompt and
itself, and its positions continue from the prompt's. Which tokens count is known from lengths, never from comparing
with a pad id. Log-probabilities are float32 whatever the weights' type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

HEAD_CHUNK = 512  # response positions that go through the output head at once when nothing is differentiated
OVERFLOW = "load it with dtype='float32' (or bfloat16: float16 overflows), or try attn_implementation='eager'"
TOKENS_PER_BATCH = 2048  # padded tokens in one scoring batch

Ids = Sequence[int]


@dataclass(frozen=True)
class TokenBatch:
    """Prompts with their responses as right-padded rows.

    Args:
        input_ids, position_ids: rows x length.
        attention: rows x 1 x length x length, 0 or the lowest float, or None where plain causal attention does.
        row: for each response, the row it stands in.
        columns: responses x width, the column that predicts each response token.
        targets: responses x width, the response's token ids.
        mask: responses x width, True where a token exists.
    """

    input_ids: Int[Tensor, "rows length"]
    position_ids: Int[Tensor, "rows length"]
    attention: Float[Tensor, "rows 1 length length"] | None
    row: Int[Tensor, " responses"]
    columns: Int[Tensor, "responses width"]
    targets: Int[Tensor, "responses width"]
    mask: Bool[Tensor, "responses width"]

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        values = [getattr(self, field.name) for field in fields(self)]
        return TokenBatch(*(v if v is None else v.to(device) for v in values))


def make_batch(prompts: Sequence[Ids], responses: Sequence[Sequence[Ids]], share: bool = False) -> TokenBatch:
    """Lay out prompts and their responses.

    Args:
        prompts: token ids per prompt.
        responses: per prompt, token ids per response (numbers of responses may differ).
        share: one row per prompt (its responses side by side) instead of one row per response.

    Raises:
        ValueError: a prompt or response without tokens (a mean over nothing has no value).

    >>> make_batch([[5, 6]], [[[7, 8, 9], [4]]], share=True).columns.tolist()
    [[1, 2, 3], [1, 0, 0]]
    """
    for number, (prompt, group) in enumerate(zip(prompts, responses, strict=True)):
        if not prompt:
            raise ValueError(f"row {number}: the prompt has no tokens; drop the row")
        for k, response in enumerate(group):
            if not response:
                raise ValueError(f"row {number}, response {k}: no tokens, so no log-probability; drop the response")
    groups = list(zip(prompts, responses, strict=True))
    if not share:
        groups = [(prompt, [response]) for prompt, group in groups for response in group]
    length = max(len(p) + sum(map(len, g)) for p, g in groups)
    width = max(len(r) for _, g in groups for r in g)
    segments = torch.full((len(groups), length), -1)
    input_ids, position_ids = torch.zeros_like(segments), torch.arange(length).repeat(len(groups), 1)
    row, columns, targets, counts = [], [], [], []
    for number, (prompt, group) in enumerate(groups):
        start, end = 0, len(prompt)
        for segment, part in enumerate([prompt, *group]):
            span = slice(start, start + len(part))
            input_ids[number, span] = torch.tensor(part)
            segments[number, span] = segment
            if segment:
                position_ids[number, span] = torch.arange(end, end + len(part))
                row.append(number)
                columns.append(_padded([end - 1, *range(start, start + len(part) - 1)], width))
                targets.append(_padded(part, width))
                counts.append(len(part))
            start += len(part)
    mask = torch.arange(width) < torch.tensor(counts)[:, None]
    attention = _shared_prefix_attention(segments) if share and any(len(g) > 1 for _, g in groups) else None
    stacked = [torch.tensor(x) for x in (row, columns, targets)]
    return TokenBatch(input_ids, position_ids, attention, *stacked, mask)


def token_logprobs(model: Any, batch: TokenBatch) -> Float[Tensor, "responses width"]:
    """Log-probability of every response token, differentiable.

    Args:
        model: a causal LM (peft models too).
        batch: see `make_batch`.

    Returns:
        nats, float32, <= 0; 0 where there is no token.

    Raises:
        FloatingPointError: the model gave NaN or infinite logits; names the response.
    """
    batch = batch.to(model.device)
    response, step = batch.mask.nonzero(as_tuple=True)
    rows, columns, targets = batch.row[response], batch.columns[response, step], batch.targets[response, step]
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    if batch.attention is not None:
        inputs["attention_mask"] = batch.attention.to(model.dtype)
    if head_is_known(model):
        hidden = _decoder(model)(**inputs).last_hidden_state[rows, columns]
        size = len(targets) if torch.is_grad_enabled() else HEAD_CHUNK
        pairs = zip(hidden.split(size), targets.split(size), strict=True)
        values = torch.cat([_pick(apply_head(model, h), t) for h, t in pairs])
    else:
        values = _pick(model(**inputs).logits[rows, columns], targets)
    if not bool(torch.isfinite(values).all()):
        bad = int(response[~torch.isfinite(values)][0])
        raise FloatingPointError(
            f"response {bad} of the batch: the model's logits are not finite ({model.dtype}); {OVERFLOW}"
        )
    return torch.zeros(batch.targets.shape, device=values.device).index_put((response, step), values)


def mean_logprobs(logps: Float[Tensor, "responses width"], mask: Bool[Tensor, "responses width"]) -> Tensor:
    """Mean over the tokens of each response: the reward in nats/token (PAD, phase 2a)."""
    return logps.sum(-1) / mask.to(logps.device).sum(-1)


@torch.no_grad()
def score_ids(
    model: Any,
    prompts: Sequence[Ids],
    responses: Sequence[Sequence[Ids]],
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    share: bool | None = None,
) -> list[list[list[float]]]:
    """Token log-probabilities of many responses, in length-sorted batches, given back in the order of the input.

    Responses of a prompt that have the same ids are scored once, so that they tie exactly.

    Args:
        model: a causal LM.
        prompts, responses: as in `make_batch`.
        tokens_per_batch: padded tokens per forward pass.
        share: one row per prompt; None asks `can_share`.

    Returns:
        per prompt, per response: nats per token.
    """
    was_training = model.training
    model.eval()
    share = can_share(model, prompts, responses) if share is None else share
    groups = [list(dict.fromkeys(map(tuple, group))) for group in responses]
    lengths = [len(p) + sum(map(len, g)) if share else max(len(p) + len(r) for r in g) * len(g)
               for p, g in zip(prompts, groups, strict=True)]  # fmt: skip
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    result: list[list[list[float]]] = [[] for _ in lengths]
    while order:
        take = max(1, tokens_per_batch // lengths[order[0]])
        chosen, order = order[:take], order[take:]
        batch = make_batch([prompts[k] for k in chosen], [groups[k] for k in chosen], share)
        values = iter(token_logprobs(model, batch).cpu())
        for k in chosen:
            found = {ids: next(values)[: len(ids)].tolist() for ids in groups[k]}
            result[k] = [list(found[tuple(ids)]) for ids in responses[k]]
    model.train(was_training)
    return result


@torch.no_grad()
def next_token_logprobs(model: Any, prompts: Sequence[Ids]) -> Float[Tensor, "rows vocabulary"]:
    """Log-probabilities of the token that follows each prompt: float32, on the CPU."""
    batch = make_batch(prompts, [[[0]]] * len(prompts)).to(model.device)
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    if head_is_known(model):
        logits = apply_head(model, _decoder(model)(**inputs).last_hidden_state[batch.row, batch.columns[:, 0]])
    else:
        logits = model(**inputs).logits[batch.row, batch.columns[:, 0]]
    logps = torch.log_softmax(logits.float(), dim=-1).cpu()
    if bool(torch.isnan(logps).any()):
        raise FloatingPointError(f"the model's logits are not finite ({model.dtype}); {OVERFLOW}")
    return logps


_sharing: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_heads: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@torch.no_grad()
def can_share(model: Any, prompts: Sequence[Ids] = (), responses: Sequence[Sequence[Ids]] = ()) -> bool:
    """Whether prompt and responses may share a row: asked once on a small sample; never beyond a sliding window."""
    if model not in _sharing:
        sample = [[1, 2, 3, 4]], [[[5, 6, 7], [8, 9], [7, 6, 5, 4]]]
        try:
            plain, packed = (token_logprobs(model, make_batch(*sample, share)) for share in (False, True))
            _sharing[model] = torch.allclose(plain, packed, atol=1e-4 if model.dtype == torch.float32 else 0.1)
        except (TypeError, ValueError, RuntimeError):
            _sharing[model] = False
    window = getattr(model.config, "sliding_window", None)
    longest = max((len(p) + max(map(len, g)) for p, g in zip(prompts, responses, strict=True)), default=0)
    return _sharing[model] and not (window and longest > window)


@torch.no_grad()
def head_is_known(model: Any) -> bool:
    """Whether decoder and head, called apart, give this architecture's own logits (asked once, on four tokens)."""
    if model not in _heads:
        ids = torch.arange(1, 5, device=model.device)[None]
        own = model(input_ids=ids, use_cache=False).logits
        try:
            ours = apply_head(model, _decoder(model)(input_ids=ids, use_cache=False).last_hidden_state)
            _heads[model] = own.shape == ours.shape and torch.allclose(own.float(), ours.float(), atol=1e-3)
        except (AttributeError, TypeError, NotImplementedError):
            _heads[model] = False
    return _heads[model]


def apply_head(model: Any, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... vocabulary"]:
    """The output head with what some families do to its logits (scale, divide, soft cap)."""
    base = _base(model)
    logits = base.get_output_embeddings()(hidden)
    if scale := getattr(base.config, "logit_scale", None):
        logits = logits * scale
    if divide := getattr(base.config, "logits_scaling", None):
        logits = logits / divide
    if cap := getattr(base.config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _decoder(model: Any) -> Any:
    return _base(model).get_decoder()


def _padded(values: Ids, width: int) -> list[int]:
    return [*values, *[0] * (width - len(values))]


def _shared_prefix_attention(segments: Int[Tensor, "rows length"]) -> Float[Tensor, "rows 1 length length"]:
    """0 where a position may look: backwards, at the prompt and at its own response; else the lowest float."""
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    allowed = (same | (segments == 0)[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]


def _pick(logits: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    logits = logits.float()
    return logits.gather(-1, targets[:, None]).squeeze(-1) - logits.logsumexp(-1)
