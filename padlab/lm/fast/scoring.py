"""The only place that shifts and masks token log-probabilities (`head` normalises them).

The log-probability of a response token is read at the position before it; for the first one that is the prompt's last
position. Where the architecture allows, a prompt and its n responses share one row: every response sees the prompt and
itself, and its positions continue from the prompt's. Which tokens count is known from lengths, never from comparing
with a pad id. Log-probabilities are float32 whatever the weights' type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from padlab.lm.fast.packing import Ids, TokenBatch, TreeBatch, make_batch, make_tree, on_device
from padlab.lm.fast.lm_head import apply_head, decoder, head_is_known, pick, picked_logprobs

OVERFLOW = "load it with dtype='float32' (or bfloat16: float16 overflows), or try attn_implementation='eager'"
TOKENS_PER_BATCH = 2048  # padded tokens in one scoring batch

_alone: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # why a model's responses may not share a row, or ""
_told: WeakSet[Any] = WeakSet()


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
    batch = on_device(batch, model.device)
    response, step = batch.mask.nonzero(as_tuple=True)
    targets = batch.targets[response, step]
    states, _ = response_states(model, batch)
    values = picked_logprobs(model, states, targets) if head_is_known(model) else pick(states, targets)
    if not bool(torch.isfinite(values).all()):
        bad = int(response[~torch.isfinite(values)][0])
        raise FloatingPointError(
            f"response {bad} of the batch: the model's logits are not finite ({model.dtype}); {OVERFLOW}"
        )
    return torch.zeros(batch.targets.shape, device=values.device).index_put((response, step), values)


def response_states(model: Any, batch: TokenBatch) -> tuple[Float[Tensor, "tokens width"], Callable[[Tensor], Tensor]]:
    """What the model knows just before each response token, and the function that makes logits of it.

    Tokens come response by response, as `batch.mask.nonzero()` lists them. Where head and decoder cannot be called
    apart, the states are the logits themselves.
    """
    response, step = batch.mask.nonzero(as_tuple=True)
    places = batch.row[response], batch.columns[response, step]
    inputs = _inputs(model, batch)
    if head_is_known(model):
        return decoder(model)(**inputs).last_hidden_state[places], partial(apply_head, model)
    return model(**inputs).logits[places], lambda logits: logits


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
        tokens_per_batch: padded tokens per forward pass; halved when memory runs out.
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
        chosen = order[:take]
        batch = make_batch([prompts[k] for k in chosen], [groups[k] for k in chosen], share)
        try:
            values = iter(token_logprobs(model, batch).cpu())
        except torch.OutOfMemoryError:
            if take == 1:
                raise
            tokens_per_batch = take * lengths[order[0]] // 2
            continue
        order = order[take:]
        for k in chosen:
            found = {ids: next(values)[: len(ids)].tolist() for ids in groups[k]}
            result[k] = [list(found[tuple(ids)]) for ids in responses[k]]
    model.train(was_training)
    return result


def next_token_logprobs(
    model: Any, prompts: Sequence[Ids], *, share: bool | None = None
) -> Float[Tensor, "rows vocabulary"]:
    """Log-probabilities of the token that follows each prompt: float32, differentiable.

    Args:
        model: a causal LM.
        prompts: token ids; they share one row, and what they begin with in common is computed once.
        share: False puts each prompt into a row of its own; None asks `can_share`.

    Raises:
        FloatingPointError: the logits are not finite.
    """
    share = can_share(model, prompts, [[[0]]] * len(prompts)) if share is None else share
    batch = on_device(make_tree([prompts], share), model.device)
    if head_is_known(model):
        logits = apply_head(model, decoder(model)(**_inputs(model, batch)).last_hidden_state[batch.row, batch.column])
    else:
        logits = model(**_inputs(model, batch)).logits[batch.row, batch.column]
    logps = torch.log_softmax(logits.float(), dim=-1)
    if bool(torch.isnan(logps).any()):
        raise FloatingPointError(f"the model's logits are not finite ({model.dtype}); {OVERFLOW}")
    return logps


def can_share(model: Any, prompts: Sequence[Ids] = (), responses: Sequence[Sequence[Ids]] = ()) -> bool:
    """Whether prompt and responses may share a row: tried once on a small sample; never beyond a sliding window.

    Where they may not, the reason is printed once per model.
    """
    if model not in _alone:
        _alone[model] = _why_alone(model)
    config = model.config.get_text_config()
    reason = _alone[model]
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    longest = max((len(p) + max(map(len, g)) for p, g in zip(prompts, responses, strict=True)), default=0)
    if not reason and window and longest > window:
        reason = f"{longest} tokens exceed its sliding window of {window}"
    if reason and model not in _told:
        _told.add(model)
        print(f"padlab: {type(model).__name__} gets one row per response instead of one per prompt ({reason})")
    return not reason


@torch.no_grad()
def _why_alone(model: Any) -> str:
    """Empty where responses in one row have the log-probabilities that they have in rows of their own."""
    size = model.config.get_text_config().vocab_size

    def ordinary(*ids: int) -> list[int]:  # control tokens, with the first ids, make float32 noisy in trained models
        return [(size // 2 + k) % size for k in ids]

    prompt, last = ordinary(1, 2, 3), ordinary(7, 6, 5, 4)
    sample, others = [ordinary(5, 6, 7), ordinary(8, 9), last], [ordinary(9, 8, 9), ordinary(4, 4), last]
    was_training = model.training
    model.eval()
    try:
        plain, packed = (token_logprobs(model, make_batch([prompt], [sample], share)) for share in (False, True))
        beside_others = token_logprobs(model, make_batch([prompt], [others], True))
    except torch.OutOfMemoryError:  # says nothing about the mask
        raise
    except (TypeError, ValueError, RuntimeError, FloatingPointError) as error:
        return f"it does not take our attention mask: {str(error)[:80]}"
    finally:
        model.train(was_training)
    if not torch.allclose(packed[-1], beside_others[-1], atol=1e-4):
        return "in one row, responses would see one another"
    apart = (plain - packed).abs()
    near = apart.max() < 3e-4 if model.dtype == torch.float32 else apart[plain != 0].mean() < 0.1
    return "" if near else "in one row, log-probabilities differ"


def _inputs(model: Any, batch: TokenBatch | TreeBatch) -> dict[str, Any]:
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    return inputs if batch.attention is None else {**inputs, "attention_mask": batch.attention.to(model.dtype)}
