"""Phase 2b: selection probabilities from multiple-choice questions in all orders, and mixing them in by alpha.

Pairwise, every pair is asked in both orders; averaging the two log-odds removes an additive preference for a letter
exactly. N-way, all n rotations of a canonical order (responses sorted by text) are asked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from padlab.candidates import add_columns, check_candidates
from padlab.lm.models import LanguageModel
from padlab.runs import cached_rows
from padlab.phases.multiple_choice import LETTERS, Answers, Ask, ask_model, cut, question
from padlab.phases.rewards import fingerprint
from padlab.runs import in_shards

if TYPE_CHECKING:
    from datasets import Dataset

METHODS = ("pairwise", "n-way")
AVERAGES = ("log-odds", "probability")
ENOUGH_MASS = 0.5  # confident: at least so much probability on the letters ...
ENOUGH_CONSISTENCY = 2 / 3  # ... and so large a share of orders that choose the same
COLUMNS = ("selection_prob", "option_mass", "none_mass", "position_bias", "order_consistency", "confident")


def calibrate(
    reward: Any, selection_prob: Any, alpha: float, *, match_scale: bool = False
) -> Float[Tensor, "*batch items"]:
    """Calibrated reward = (1 - alpha) * reward + alpha * log p_sel.

    Args:
        reward: mean token log-probabilities, nats/token, ... x n (tensor, array or lists).
        selection_prob: selection probabilities, same shape, >= 0, sum 1 over the last axis; None is allowed for
            alpha = 0.
        alpha: weight of the selection probability, 0 to 1. alpha = 0 gives the raw reward, alpha = 1 log p_sel alone.
            The released code's alpha weights the likelihood instead: theirs = 1 - ours.
        match_scale: give log p_sel the mean and standard deviation of the rewards of its prompt first, so that alpha
            weighs two terms of one scale; the method does not. Where log p_sel is the same for all, it says nothing.

    Returns:
        nats, same shape. A probability of 0 counts as the smallest positive float32, so that scores stay finite.

    Raises:
        ValueError: alpha outside [0, 1], shapes that differ, NaN or infinite values.

    >>> calibrate([-1.0, -2.0], [0.75, 0.25], alpha=0.0).tolist()
    [-1.0, -2.0]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone, 1 = selection alone), got {alpha}")
    reward = _finite(reward, "reward")
    if selection_prob is None:
        if alpha == 0:
            return reward
        raise ValueError("no selection_prob: run padlab.add_selection_probs(table, teacher), or set alpha=0")
    chosen = _finite(selection_prob, "selection_prob").to(reward.device)
    if chosen.shape != reward.shape:
        raise ValueError(f"reward {tuple(reward.shape)} and selection_prob {tuple(chosen.shape)} differ in shape")
    if bool((chosen < 0).any()):
        raise ValueError("selection_prob must not be negative")
    wide = torch.promote_types(torch.promote_types(chosen.dtype, reward.dtype), torch.float32)  # 16 bits have no 1e-38
    said = chosen.to(wide).clamp_min(torch.finfo(torch.float32).tiny).log().to(reward.dtype)
    return (1 - alpha) * reward + alpha * (_like(said, reward) if match_scale else said)


def add_selection_probs(
    candidates: Dataset,
    model: LanguageModel,
    method: str = "pairwise",
    *,
    average: str = "log-odds",
    votes: bool = False,
    max_response_tokens: int | None = None,
    ask: Ask = question,
    folder: str | Path | None = None,
    shard_size: int = 16,
    cache: str | Path | None = None,
) -> Dataset:
    """Add `selection_prob` and what tells whether to believe it, by asking the model which response is best.

    Args:
        candidates: table with `prompt` and `responses`.
        model: who is asked (the teacher). If it has a judge adapter (`padlab.with_judge`), that one answers.
        method: "pairwise" (every pair, both orders; (2/n) x mean over opponents) or "n-way" (all n rotations).
        average: over the orders. "log-odds" removes an additive preference for a letter exactly, but one very sure
            order can outweigh the other; "probability" lets each order count the same, but leaves part of the bias:
            a letter that is always chosen drives every probability to 1/n.
        votes: also add `selection_votes`, n x n probabilities, what `bootstrap_preference` needs: pairwise, entry i, j
            is the probability of choosing i when i stands first and j second (diagonal 0.5); n-way, row r is the
            answer to rotation r, in the order of the responses.
        max_response_tokens: longer responses are cut there, all at the same length, and end in "[…]".
        ask: your own question text: a function of prompt and options, whose options have the letters A, B, ...
        folder: run folder for resuming; None keeps nothing.
        shard_size: prompts per piece.
        cache: folder in which answers are kept by model, judge, question and texts, for any table; the same rows again
            are read there (`padlab.runs`).

    Returns:
        The table with, per row: `selection_prob` (n floats, sum 1); `option_mass` (mean probability that the answer is
        an option letter at all) and `none_mass` (that it begins with "None"); `position_bias` (P(first option) - 1/n
        before orders are averaged); `order_consistency` (pairwise: share of pairs of different texts won by the same
        response in both orders; n-way: share of rotations whose first choice is the first choice of all); `confident`
        (option mass at least 1/2 and order consistency at least 2/3).

    Raises:
        ValueError: an unknown method, an option letter that is not one token for this model, a question longer than
            the context (names the row).
        FloatingPointError: the model's logits are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"method must be 'pairwise' or 'n-way', got {method!r}")
    if average not in AVERAGES:
        raise ValueError(f"average must be 'log-odds' or 'probability', got {average!r}")
    candidates = check_candidates(candidates)
    pool = partial(_pairwise if method == "pairwise" else _n_way, average=average)

    def work(piece: Sequence[int]) -> list[dict[str, Any]]:
        return [_ask_row(row, model, candidates[row], method, pool, max_response_tokens, ask) for row in piece]

    settings = {"model": model.describe(), "method": method, "average": average, "cut": max_response_tokens}
    settings |= {"judge": model.judge_hash(), "question": ask("prompt", ["first", "second"])}
    asked = dict(settings)
    key = partial(_texts, model, method=method, limit=max_response_tokens, ask=ask)
    work = cached_rows(work, lambda row: ["select", asked, *key(candidates[row])], cache)
    settings["candidates"] = fingerprint([key(entry) for entry in candidates])
    rows = in_shards(
        range(len(candidates)), work, stage="select", settings=settings, folder=folder, shard_size=shard_size
    )
    names = [*COLUMNS, *(["selection_votes"] if votes else [])]
    return check_candidates(add_columns(candidates, {name: [row[name] for row in rows] for name in names}))


def orders_of(n: int, method: str, texts: Sequence[str]) -> list[list[int]]:
    """The orders in which n responses are listed: every pair both ways, or all rotations of the sorted texts.

    >>> orders_of(2, "n-way", ["b", "a"])
    [[1, 0], [0, 1]]
    """
    if method == "pairwise":
        return [[i, j] for i in range(n) for j in range(n) if i != j]
    order = sorted(range(n), key=lambda k: texts[k])
    return [[order[(k + r) % n] for k in range(n)] for r in range(n)]


def _texts(
    model: LanguageModel, entry: dict[str, Any], method: str, limit: int | None, ask: Ask
) -> tuple[str, list[str], str]:
    """What decides a row's answers: its texts, and the first question as it is asked."""
    prompt, texts = entry["prompt"], entry["responses"]
    shown = [cut(model.tokenizer, text, limit) for text in texts]
    first = [order for order in orders_of(len(texts), method, shown)[:1] if 1 < len(order) <= len(LETTERS)]
    return prompt, texts, "".join(ask(prompt, [shown[k] for k in order]) for order in first)


def _ask_row(
    row: int, model: LanguageModel, entry: Any, method: str, pool: Any, limit: int | None, ask: Ask
) -> dict[str, Any]:
    texts = entry["responses"]
    n = len(texts)
    if n < 2:
        alone = {"selection_prob": [1.0], "option_mass": 1.0, "none_mass": 0.0, "position_bias": 0.0}
        return {**alone, "order_consistency": 1.0, "confident": False, "selection_votes": [[1.0]]}
    if n > len(LETTERS) and method == "n-way":
        raise ValueError(f"row {row}: {n} responses, but only {len(LETTERS)} letters; use 'pairwise'")
    try:
        shown = [cut(model.tokenizer, text, limit) for text in texts]
        orders = orders_of(n, method, shown)
        answers = ask_model(model, entry["prompt"], [[shown[k] for k in order] for order in orders], ask)
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"row {row}: {error}") from None
    found = {**pool(answers, orders, shown), **_health(answers)}
    enough = found["option_mass"] >= ENOUGH_MASS and found["order_consistency"] >= ENOUGH_CONSISTENCY
    return {**found, "confident": enough}


def _pairwise(answers: Answers, orders: Sequence[Sequence[int]], texts: Sequence[str], average: str) -> dict[str, Any]:
    n = len(texts)
    odds = torch.zeros(n, n, dtype=torch.float64)  # log-odds of i over j when i stands first
    for (i, j), row in zip(orders, answers.logps, strict=True):
        odds[i, j] = row[0] - row[1]
    first = torch.sigmoid(odds)
    beats = torch.sigmoid((odds - odds.T) / 2) if average == "log-odds" else (first + 1 - first.T) / 2
    beats.fill_diagonal_(0)  # in the log-odds the letter's own part has cancelled
    differ = [(i, j) for j in range(n) for i in range(j) if texts[i] != texts[j]]  # equal texts are no choice
    same = [bool(odds[i, j] > 0) == bool(odds[j, i] < 0) for i, j in differ]
    return {
        "selection_prob": _shared((2 / n) * beats.sum(1) / (n - 1), texts).tolist(),
        "order_consistency": statistics.fmean(same) if same else 1.0,
        "selection_votes": first.tolist(),
    }


def _n_way(answers: Answers, orders: Sequence[Sequence[int]], texts: Sequence[str], average: str) -> dict[str, Any]:
    n = len(texts)
    votes = torch.zeros(n, n, dtype=torch.float64)
    for r, order in enumerate(orders):
        votes[r, list(order)] = answers.logps[r]
    pooled = votes.mean(0) if average == "log-odds" else votes.exp().mean(0).log()
    chosen = torch.softmax(_shared(pooled, texts), -1)
    best = (chosen >= chosen.max() - 1e-12)[votes.argmax(-1)]
    return {
        "selection_prob": chosen.tolist(),
        "order_consistency": float(best.double().mean()),
        "selection_votes": votes.exp().tolist(),
    }


def _health(answers: Answers) -> dict[str, float]:
    """Means over the orders."""
    return {
        "option_mass": statistics.fmean(answers.mass.tolist()),
        "none_mass": statistics.fmean(answers.none.tolist()),
        "position_bias": float(answers.logps[:, 0].exp().mean() - 1 / answers.logps.shape[1]),
    }


def _shared(values: Float[Tensor, " items"], texts: Sequence[str]) -> Float[Tensor, " items"]:
    """Identical texts share their mean, so that they tie exactly."""
    same = torch.tensor([[a == b for b in texts] for a in texts], dtype=values.dtype)
    return (same * values).sum(-1) / same.sum(-1)


def _like(values: Float[Tensor, "*batch items"], pattern: Float[Tensor, "*batch items"]) -> Tensor:
    """Values with the mean and (population) standard deviation of a pattern over the last axis."""
    centred = values - values.mean(-1, keepdim=True)
    spread = centred.std(-1, keepdim=True, correction=0)
    scale = torch.where(spread > 1e-6, pattern.std(-1, keepdim=True, correction=0) / spread.clamp_min(1e-6), 0.0)
    return pattern.mean(-1, keepdim=True) + scale * centred


def _finite(values: Any, name: str) -> Float[Tensor, "*batch items"]:
    try:
        tensor = (
            values if isinstance(values, Tensor) else torch.tensor(np.array(list(values), dtype=np.float64)).float()
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of one shape (every prompt with the same n): {error}") from None
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    bad = (~torch.isfinite(tensor)).nonzero()
    if len(bad):
        where = ", ".join(
            f"{w} {i}" for w, i in zip(("row", "response")[-tensor.dim() :], bad[0].tolist(), strict=False)
        )
        raise ValueError(f"{name} is not finite at {where}: {float(tensor[tuple(bad[0])])}; score it again or drop it")
    return tensor
