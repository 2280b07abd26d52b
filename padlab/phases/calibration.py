"""Phase 2b: ask the model a multiple-choice question over the responses, in all orders, and mix by alpha.

Pairwise, every pair is asked in both orders; averaging the two log-odds removes an additive preference for a letter
exactly. N-way, all n rotations of a canonical order (responses sorted by text) are asked. Lines of a prompt or response
are quoted with "> ", so that nothing in them can look like the header of another option.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from padlab.candidates import add_columns, check_candidates
from padlab.lm.chat import encode_chat, encode_text
from padlab.lm.logprobs import next_token_logprobs
from padlab.lm.models import LanguageModel
from padlab.phases.rewards import fingerprint
from padlab.runs import in_shards

if TYPE_CHECKING:
    from datasets import Dataset

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUESTIONS_PER_ROW = 12  # those that begin alike share a row of the batch


def calibrate(reward: Any, selection_prob: Any, alpha: float) -> Float[Tensor, "*batch items"]:
    """Calibrated reward = (1 - alpha) * reward + alpha * log p_sel.

    Args:
        reward: mean token log-probabilities, nats/token, ... x n (tensor, array or lists).
        selection_prob: selection probabilities, same shape, >= 0, sum 1 over the last axis; None is allowed for
            alpha = 0.
        alpha: weight of the selection probability, 0 to 1. alpha = 0 gives the raw reward, alpha = 1 log p_sel alone.
            The released code's alpha weights the likelihood instead: theirs = 1 - ours.

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
    chosen = _finite(selection_prob, "selection_prob").to(reward)
    if chosen.shape != reward.shape:
        raise ValueError(f"reward {tuple(reward.shape)} and selection_prob {tuple(chosen.shape)} differ in shape")
    if bool((chosen < 0).any()):
        raise ValueError("selection_prob must not be negative")
    return (1 - alpha) * reward + alpha * chosen.clamp_min(torch.finfo(torch.float32).tiny).log()


def add_selection_probs(
    candidates: Dataset,
    model: LanguageModel,
    method: str = "pairwise",
    *,
    votes: bool = False,
    folder: str | Path | None = None,
    shard_size: int = 16,
) -> Dataset:
    """Add `selection_prob`, `option_mass` and `position_bias` by asking the model which response is best.

    Args:
        candidates: table with `prompt` and `responses`.
        model: who is asked (the teacher).
        method: "pairwise" (every pair, both orders; (2/n) x mean over opponents) or "n-way" (all n rotations).
        votes: also add `selection_votes`, n x n probabilities, what `bootstrap_preference` needs: pairwise, entry i, j
            is the probability of choosing i when i stands first and j second (diagonal 0.5); n-way, row r is the
            answer to rotation r, in the order of the responses.
        folder: run folder for resuming; None keeps nothing.
        shard_size: prompts per piece.

    Returns:
        The table with n floats per row (sum 1), the mean probability that the answer is an option letter at all (low
        values mean that the question was not understood), and P(first option) - 1/n before orders are averaged.

    Raises:
        ValueError: an unknown method, an option letter that is not one token for this model, a question longer than
            the context (names the row).
        FloatingPointError: the model's logits are not finite.
    """
    if method not in ("pairwise", "n-way"):
        raise ValueError(f"method must be 'pairwise' or 'n-way', got {method!r}")
    candidates = check_candidates(candidates)
    ask = _pairwise if method == "pairwise" else _n_way

    def work(piece: Sequence[int]) -> list[dict[str, Any]]:
        return [_named(row, ask, model, candidates[row]["prompt"], candidates[row]["responses"]) for row in piece]

    settings = {"model": model.describe(), "method": method}
    settings["candidates"] = fingerprint(list(candidates["prompt"]), list(candidates["responses"]))
    rows = in_shards(
        range(len(candidates)), work, stage="select", settings=settings, folder=folder, shard_size=shard_size
    )
    names = ["selection_prob", "option_mass", "position_bias", *(["selection_votes"] if votes else [])]
    return check_candidates(add_columns(candidates, {name: [row[name] for row in rows] for name in names}))


def question(prompt: str, responses: Sequence[str]) -> str:
    """The text of a multiple-choice question; quoted lines cannot pass for option headers.

    >>> print(question("Hi", ["Hello", "No\\n[A]"]).split("\\n")[-1])
    Which answer is better? Reply with one letter, A or B.
    """
    letters = LETTERS[: len(responses)]
    options = "\n\n".join(f"[{letter}]\n{_quote(text)}" for letter, text in zip(letters, responses, strict=True))
    named = f"{', '.join(letters[:-1])} or {letters[-1]}"
    which = "better" if len(letters) == 2 else "best"
    return f"Question:\n{_quote(prompt)}\n\n{options}\n\nWhich answer is {which}? Reply with one letter, {named}."


def letter_logprobs(
    model: LanguageModel, prompt: str, orders: Sequence[Sequence[str]]
) -> tuple[Float[Tensor, "orders options"], Float[Tensor, " orders"]]:
    """(log-probability of each letter renormalised over the letters, total mass on the letters) for each order.

    A letter's probability sums its variants with and without a leading space, where they are single tokens.
    """
    ids = [encode_chat(model.tokenizer, question(prompt, texts)) for texts in orders]
    longest = max(map(len, ids))
    if longest + 1 > model.max_length:
        raise ValueError(
            f"the selection question has {longest} tokens, more than the context of {model.name} ({model.max_length}); "
            "use method='pairwise', fewer or shorter responses"
        )
    tokens = [letter_tokens(model, letter) for letter in LETTERS[: len(orders[0])]]
    with torch.no_grad():
        logps = torch.cat([next_token_logprobs(model.model, ids[k : k + QUESTIONS_PER_ROW]).cpu()
                           for k in range(0, len(ids), QUESTIONS_PER_ROW)])  # fmt: skip
    letters = torch.stack([logps[:, variants].logsumexp(-1) for variants in tokens], dim=-1).double()
    mass = letters.logsumexp(-1)
    return letters - mass[:, None], mass.exp()


def letter_tokens(model: LanguageModel, letter: str) -> list[int]:
    """Ids of the single tokens that read as this letter: "A" and " A".

    Raises:
        ValueError: neither is one token.
    """
    found = {tuple(encode_text(model.tokenizer, text)) for text in (letter, f" {letter}")}
    single = sorted(ids[0] for ids in found if len(ids) == 1)
    if not single:
        raise ValueError(
            f"option letter {letter!r} is not a single token for {model.name}; it cannot be asked this way"
        )
    return single


def _pairwise(model: LanguageModel, prompt: str, responses: Sequence[str]) -> dict[str, Any]:
    n = len(responses)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    logps, mass = letter_logprobs(model, prompt, [(responses[i], responses[j]) for i, j in pairs])
    votes = torch.zeros(n, n, dtype=torch.float64)  # log-odds of i over j with i first
    for (i, j), row in zip(pairs, logps, strict=True):
        votes[i, j] = row[0] - row[1]
    beats = torch.sigmoid((votes - votes.T) / 2)  # the letter's own log-odds cancel
    beats.fill_diagonal_(0)
    chosen = _shared((2 / n) * beats.sum(1) / (n - 1), responses)
    return _result(chosen, mass, logps[:, 0].exp().mean() - 0.5, torch.sigmoid(votes))


def _n_way(model: LanguageModel, prompt: str, responses: Sequence[str]) -> dict[str, Any]:
    n = len(responses)
    order = sorted(range(n), key=lambda k: responses[k])
    turns = [[order[(k + r) % n] for k in range(n)] for r in range(n)]
    logps, mass = letter_logprobs(model, prompt, [[responses[k] for k in turn] for turn in turns])
    votes = torch.zeros(n, n, dtype=torch.float64)
    for r, turn in enumerate(turns):
        votes[r, turn] = logps[r]
    chosen = torch.softmax(_shared(votes.mean(0), responses), -1)
    return _result(chosen, mass, logps[:, 0].exp().mean() - 1 / n, votes.exp())


def _shared(values: Float[Tensor, " items"], texts: Sequence[str]) -> Float[Tensor, " items"]:
    """Identical texts share their mean, so that they tie exactly."""
    same = torch.tensor([[a == b for b in texts] for a in texts], dtype=values.dtype)
    return (same * values).sum(-1) / same.sum(-1)


def _result(probabilities: Tensor, mass: Tensor, bias: Tensor, votes: Tensor) -> dict[str, Any]:
    return {
        "selection_prob": probabilities.tolist(),
        "option_mass": statistics.fmean(mass.tolist()),
        "position_bias": float(bias),
        "selection_votes": votes.tolist(),
    }


def _named(row: int, ask: Any, model: LanguageModel, prompt: str, responses: Sequence[str]) -> dict[str, Any]:
    if len(responses) < 2:
        return {"selection_prob": [1.0], "option_mass": 1.0, "position_bias": 0.0, "selection_votes": [[1.0]]}
    if len(responses) > len(LETTERS) and ask is _n_way:
        raise ValueError(f"row {row}: {len(responses)} responses, but only {len(LETTERS)} letters; use 'pairwise'")
    try:
        return ask(model, prompt, responses)
    except (ValueError, FloatingPointError) as error:
        raise type(error)(f"row {row}: {error}") from None


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


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
