"""Token log-probabilities of many responses: packed rows where the architecture allows, the output head in chunks.

`padlab.lm.logprobs` computes the same numbers the plain way; `score_ids(..., exact=True)` uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.lm.fast.common_beginning import can_share, only_attention, run_behind, shared_beginning
from padlab.lm.fast.lm_head import compute_logits, decoder, head_is_separable, selective_log_softmax, target_logprobs
from padlab.lm.fast.memory import attempt, in_halves, ran_out_of_memory
from padlab.lm.fast.packing import ResponseBatch, TokenIds, check_token_ids, make_response_batch
from padlab.lm.fast.prefix_tree import PrefixTreeBatch, make_prefix_tree_batch
from padlab.lm.logprobs import token_logprobs
from padlab.lm.probe import check_known_ids, check_language_model, not_finite, ordinary_ids

Scores = dict[tuple[int, ...], list[float]]  # token ids of a response -> log-probability of each token

TOKENS_PER_BATCH = 2048  # padded tokens in one scoring batch

_packing_refusals: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # why responses may not share a row, or ""
_reported: WeakSet[Any] = WeakSet()


def response_logprobs(
    model: Any, batch: ResponseBatch, names: Sequence[str] | None = None
) -> Float[Tensor, "responses length"]:
    """Log-probability of every response token, differentiable.

    Args:
        model: a causal LM (peft models too).
        batch: see `make_response_batch`.
        names: what errors call the responses; None: by their number in the batch.

    Returns:
        nats, float32, <= 0; 0 where there is no token.

    Raises:
        FloatingPointError: the model gave NaN or infinite logits; names the response.
    """
    batch = batch.to(model.device)
    hidden, _ = response_hidden_states(model, batch)
    targets = batch.target_ids[batch.mask]
    if head_is_separable(model):
        logps = batch.unflatten(target_logprobs(model, hidden, targets))
    else:
        logps = batch.unflatten(selective_log_softmax(hidden, targets))
    _check_finite(model, logps, names)
    return logps


def response_hidden_states(
    model: Any, batch: ResponseBatch
) -> tuple[Float[Tensor, "tokens width"], Callable[[Tensor], Tensor]]:
    """The hidden states that predict each response token, response by response, and the function to their logits.

    Where head and decoder cannot be called one after the other, the states are the logits themselves.
    """
    rows, columns = batch.rows[:, None].expand_as(batch.mask)[batch.mask], batch.logit_columns[batch.mask]
    inputs = _model_inputs(model, batch)
    separable = head_is_separable(model)
    network = decoder(model) if separable else model
    shared = shared_beginning(batch.input_ids.tolist(), int(columns.min())) if can_share(model) else 0
    if shared:
        output = run_behind(network, model.config, inputs, shared)
    else:
        output = network(**inputs, use_cache=False)
    positions = rows, columns - shared
    if separable:
        return output.last_hidden_state[positions], partial(compute_logits, model)
    return output.logits[positions], lambda logits: logits


@torch.no_grad()
def score_ids(
    model: Any,
    prompts: Sequence[TokenIds],
    responses: Sequence[Sequence[TokenIds]],
    *,
    exact: bool = False,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    pack: bool | None = None,
    row_numbers: Sequence[int] | None = None,
    name: str = "row",
) -> list[list[list[float]]]:
    """Token log-probabilities of many responses, in length-sorted batches, returned in the order of the input.

    Responses of a prompt that have the same ids are scored once, so that they tie exactly.

    Args:
        model: a causal LM.
        prompts, responses: as in `make_response_batch`.
        exact: use the reference, `padlab.lm.logprobs`, one prompt at a time; slower, and it holds all logits.
        tokens_per_batch: padded tokens per forward pass; halved when memory runs out, and then a prompt's responses.
        pack: a prompt and its responses in one row; None asks `can_pack`.
        row_numbers: the prompts' rows in the user's table, for errors; None counts from 0.
        name: what errors call a prompt, before its number.

    Returns:
        per prompt, per response: nats per token.

    Raises:
        ValueError: a prompt or response without tokens, or with ids that the model does not have; names it.
        FloatingPointError: the model gave NaN or infinite logits; names the row.
        torch.OutOfMemoryError: one response alone does not fit; names the row.
    """
    check_language_model(model)
    check_token_ids(prompts, responses)
    names = [f"{name} {number}" for number in row_numbers or range(len(prompts))]
    check_known_ids(model, [[*prompt, *chain(*group)] for prompt, group in zip(prompts, responses, strict=True)], names)
    unique = [list(dict.fromkeys(map(tuple, group))) for group in responses]
    with evaluation_mode(model):
        if exact:
            scored = _score_one_by_one(model, prompts, unique, names)
        else:
            pack = can_pack(model, prompts, responses) if pack is None else pack
            scored = _score_in_batches(model, prompts, unique, tokens_per_batch, pack, names)
    return [[list(logps[tuple(ids)]) for ids in group] for logps, group in zip(scored, responses, strict=True)]


@torch.no_grad()
def can_pack(model: Any, prompts: Sequence[TokenIds] = (), responses: Sequence[Sequence[TokenIds]] = ()) -> bool:
    """Whether prompt and responses may share a row: tried once on a small sample; never beyond a sliding window.

    Where they may not, the reason is printed once per model.
    """
    check_language_model(model)
    if model not in _packing_refusals:
        with evaluation_mode(model):
            _packing_refusals[model] = "" if only_attention(model) else "its blocks keep more than keys and values"
            _packing_refusals[model] = _packing_refusals[model] or _reason_against_packing(model)
    config = model.config.get_text_config()
    reason = _packing_refusals[model]
    window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
    longest = max((len(p) + max(map(len, g)) for p, g in zip(prompts, responses, strict=True)), default=0)
    if not reason and window and longest > window:
        reason = f"{longest} tokens exceed its sliding window of {window}"
    if reason and model not in _reported:
        _reported.add(model)
        print(f"padlab: {type(model).__name__} gets one row per response instead of one per prompt ({reason})")
    return not reason


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """No dropout inside; afterwards the model is in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def next_token_logprobs(
    model: Any, prompts: Sequence[TokenIds], *, pack: bool | None = None
) -> Float[Tensor, "prompts vocabulary"]:
    """Log-probabilities of the token that follows each prompt: float32, differentiable.

    Args:
        model: a causal LM.
        prompts: token ids; packed into one row, a common beginning is computed once.
        pack: False gives each prompt a row of its own; None asks `can_pack`.

    Raises:
        FloatingPointError: the logits are not finite.
    """
    pack = can_pack(model, prompts, [[[0]]] * len(prompts)) if pack is None else pack
    batch = make_prefix_tree_batch(prompts, pack).to(model.device)
    if head_is_separable(model):
        hidden = decoder(model)(**_model_inputs(model, batch), use_cache=False).last_hidden_state
        logits = compute_logits(model, hidden[batch.rows, batch.columns])
    else:
        logits = model(**_model_inputs(model, batch), use_cache=False).logits[batch.rows, batch.columns]
    logps = logits.float().log_softmax(dim=-1)
    if bool(logps.isnan().any()):
        raise FloatingPointError(not_finite(model))
    return logps


def _score_one_by_one(
    model: Any, prompts: Sequence[TokenIds], responses: Sequence[Any], names: Sequence[str]
) -> list[Scores]:
    scored = []
    for prompt, group, name in zip(prompts, responses, names, strict=True):
        score, too_large = partial(_plain_logprobs, model, name, prompt), partial(_does_not_fit, name, prompt)
        rows = in_halves(score, group, too_large)
        scored.append({ids: row[: len(ids)] for ids, row in zip(group, rows, strict=True)})
    return scored


def _plain_logprobs(model: Any, name: str, prompt: TokenIds, group: Sequence[TokenIds]) -> list[list[float]]:
    logps = token_logprobs(model, prompt, group)
    _check_finite(model, logps, [name] * len(group))
    return logps.tolist()


def _score_in_batches(
    model: Any,
    prompts: Sequence[TokenIds],
    responses: Sequence[Any],
    tokens_per_batch: int,
    pack: bool,
    names: Sequence[str],
) -> list[Scores]:
    lengths = [
        len(prompt) + sum(map(len, group)) if pack else len(group) * (len(prompt) + max(map(len, group)))
        for prompt, group in zip(prompts, responses, strict=True)
    ]
    longest_first = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    scored: list[Scores] = [{} for _ in lengths]

    def score(groups: Sequence[tuple[int, Any]]) -> list[list[float]]:
        batch = make_response_batch([prompts[k] for k, _ in groups], [group for _, group in groups], pack)
        return response_logprobs(model, batch, [names[k] for k, group in groups for _ in group]).tolist()

    while longest_first:
        longest, first = lengths[longest_first[0]], longest_first[0]
        chosen = longest_first[: max(1, tokens_per_batch // longest)]
        if len(chosen) > 1:
            rows, refusal = attempt(score, [(k, responses[k]) for k in chosen])
            if refusal:
                tokens_per_batch = len(chosen) * longest // 2
                continue
        else:
            too_large = partial(_does_not_fit, names[first], prompts[first])
            rows = in_halves(lambda piece, k=first: score([(k, piece)]), responses[first], too_large)
        rows = iter(rows)
        for k in chosen:
            scored[k] = {ids: next(rows)[: len(ids)] for ids in responses[k]}
        longest_first = longest_first[len(chosen) :]
    return scored


def _does_not_fit(name: str, prompt: TokenIds, response: TokenIds) -> str:
    return (
        f"{name}: scoring one response of {len(response)} tokens behind a prompt of {len(prompt)} does not fit into "
        "memory. Use shorter responses (max_new_tokens, max_response_tokens) or prompts, or load with dtype='bfloat16'"
    )


def _check_finite(model: Any, logps: Float[Tensor, "responses length"], names: Sequence[str] | None = None) -> None:
    finite = logps.isfinite().all(-1)
    if not bool(finite.all()):
        response = int((~finite).nonzero()[0])
        name = names[response] if names else f"response {response} of the batch"
        raise FloatingPointError(f"{name}: {not_finite(model)}")


def _reason_against_packing(model: Any) -> str:
    """Empty where packed responses have the log-probabilities that they have in rows of their own."""
    prompt, *texts = (
        ordinary_ids(model, *ids) for ids in ((1, 2, 3), (5, 6, 7), (8, 9), (9, 8, 9), (4, 4), (7, 6, 5, 4))
    )
    last = texts.pop()
    responses, other_responses = [*texts[:2], last], [*texts[2:], last]
    try:
        plain, packed = (
            response_logprobs(model, make_response_batch([prompt], [responses], pack)) for pack in (False, True)
        )
        beside_others = response_logprobs(model, make_response_batch([prompt], [other_responses], True))
    except FloatingPointError:
        return "its logits are not finite"
    except (TypeError, ValueError, RuntimeError) as error:
        if ran_out_of_memory(error):  # tells nothing about the attention mask
            raise
        return f"it does not accept a four-dimensional attention mask: {str(error)[:80]}"
    if not torch.allclose(packed[-1], beside_others[-1], rtol=1e-4, atol=1e-6):
        return "in one row, responses would attend to one another"
    difference = (plain - packed).abs()
    if model.dtype == torch.float32:
        agree = difference.max() < 3e-4 * min(1.0, float(plain[plain != 0].std()))
    else:
        agree = difference[plain != 0].mean() < 0.1
    return "" if agree else "in one row, log-probabilities differ"


def _model_inputs(model: Any, batch: ResponseBatch | PrefixTreeBatch) -> dict[str, Any]:
    inputs = {"input_ids": batch.input_ids, "position_ids": batch.position_ids}
    if batch.attention_mask is not None:
        inputs["attention_mask"] = batch.attention_mask.to(model.dtype)
    return inputs
