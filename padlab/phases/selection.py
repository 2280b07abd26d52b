"""Phase 2b: selection probabilities from multiple-choice questions, in several orders of the options.

Pairwise, every pair is asked in both orders; averaging the two log-odds removes an additive preference for a letter
exactly. N-way, all n rotations of a canonical order (responses sorted by text) are asked.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.candidates import add_columns, check_candidates
from padlab.conversations import transcript
from padlab.lm.models import LanguageModel, Question
from padlab.lm.remote.client import RemoteError
from padlab.lm.remote.dispatch import rows_per_shard
from padlab.phases.multiple_choice import (
    LETTERS,
    Answers,
    ask_for_letters,
    ask_for_texts,
    multiple_choice_question,
    truncate,
)
from padlab.safe_files import fingerprint
from padlab.shards import cached_rows, in_shards

if TYPE_CHECKING:
    from datasets import Dataset

METHODS = ("pairwise", "n-way")
ASK = {"letter": ask_for_letters, "text": ask_for_texts}
CONFIDENT_MASS = 0.5  # `confident`: minimum probability on the option letters
CONFIDENT_CONSISTENCY = 2 / 3  # ... and minimum share of consistent orders
COLUMNS = ("selection_prob", "option_mass", "none_mass", "position_bias", "order_consistency", "confident")


def add_selection_probs(
    candidates: Dataset,
    model: LanguageModel,
    method: str = "pairwise",
    *,
    reply: str | None = None,
    votes: bool = False,
    max_response_tokens: int | None = None,
    question: Question | None = None,
    folder: str | Path | None = None,
    shard_size: int = 16,
    cache: str | Path | None = None,
) -> Dataset:
    """Add `selection_prob`, and measures of how far to trust it, by asking the model which response is best.

    Args:
        candidates: table with `prompt` and `responses`.
        model: the model that is asked (the teacher). If it has a judge adapter (`padlab.with_judge`), that answers.
        method: "pairwise" (every pair, both orders; (2/n) x mean over opponents) or "n-way" (all n rotations).
        reply: "letter": the model replies with an option's letter. "text": it replies with the better answer itself,
            and the options' log-probabilities as replies are compared (whole text and end of turn); a cloze form of
            the question, for models that cannot bind letters. None takes the model's own (`LanguageModel.reply`).
        votes: also add `selection_votes`, n x n probabilities, what `bootstrap_preference` needs: pairwise, entry i, j
            is the probability of choosing i when i stands first and j second (diagonal 0.5); n-way, row r is the
            answer to rotation r, in the order of the responses.
        max_response_tokens: longer responses are cut there, all at the same length, and end in "[…]".
        question: makes the question's text from prompt and options, whose options have the letters A, B, ...; None
            takes the model's own (`LanguageModel.question`), else `multiple_choice_question` for this reply.
        folder: run folder for resuming; None keeps nothing.
        shard_size: prompts asked together.
        cache: folder in which answers are kept by model, judge, question and texts, for any table; the same rows again
            are read there.

    Returns:
        The table with, per row: `selection_prob` (n floats, sum 1); `option_mass` (mean probability that the answer is
        one of the options at all) and `none_mass` (letters: that it begins with "None"; texts: that it is "None");
        `position_bias` (P(first option) - 1 / number of options, before orders are averaged); `order_consistency`
        (pairwise: share of pairs of different texts won by the same response in both orders; n-way: share of
        rotations whose top choice is the overall top choice); `confident` (option mass at least 1/2 and order
        consistency at least 2/3).

    Raises:
        ValueError: an unknown method or reply, an option letter that is not one token for this model, a question longer
            than the context (names the row).
        FloatingPointError: the model's logits are not finite.
    """
    if method not in METHODS:
        raise ValueError(f"method must be 'pairwise' or 'n-way', got {method!r}")
    reply = reply or model.reply
    if reply not in ASK:
        raise ValueError(f"reply must be 'letter' or 'text', got {reply!r}")
    candidates = check_candidates(candidates)
    question = question or model.question or partial(multiple_choice_question, reply=reply)
    asker = _Asker(model, method, reply, max_response_tokens, question)
    settings = {"model": model.describe(), "method": method, "reply": reply, "cut": max_response_tokens}
    settings |= {"judge": model.judge_hash(), "question": question("prompt", ["first", "second"])}

    def work(rows: Sequence[int]) -> list[dict[str, Any]]:
        return [asker.answer(row, candidates[row]) for row in rows]

    def key(row: int) -> list[Any]:
        return ["select", settings, *asker.key(candidates[row])]

    recorded = {**settings, "candidates": fingerprint([asker.key(entry) for entry in candidates])}
    rows = in_shards(
        range(len(candidates)),
        cached_rows(work, key, cache),
        stage="select",
        settings=recorded,
        folder=folder,
        shard_size=rows_per_shard(model.model, shard_size),
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


@dataclass(frozen=True)
class _Asker:
    """The settings of `add_selection_probs`, and what they make of one row of the table."""

    model: LanguageModel
    method: str
    reply: str
    max_response_tokens: int | None
    question: Question

    def key(self, entry: dict[str, Any]) -> tuple[str, list[str], str]:
        """What decides a row's answers: its texts, and the first question as it is asked."""
        prompt, responses = transcript(entry), entry["responses"]
        options = self._options(responses)
        first = [order for order in orders_of(len(options), self.method, options)[:1] if 1 < len(order) <= len(LETTERS)]
        return prompt, responses, "".join(self.question(prompt, [options[k] for k in order]) for order in first)

    def answer(self, row: int, entry: dict[str, Any]) -> dict[str, Any]:
        """The columns of one row."""
        n = len(entry["responses"])
        if n < 2:
            alone = {"selection_prob": [1.0], "option_mass": 1.0, "none_mass": 0.0, "position_bias": 0.0}
            return {**alone, "order_consistency": 1.0, "confident": False, "selection_votes": [[1.0]]}
        if n > len(LETTERS) and self.method == "n-way":
            raise ValueError(f"row {row}: {n} responses, but only {len(LETTERS)} letters; use 'pairwise'")
        try:
            options = self._options(entry["responses"])
            orders = orders_of(n, self.method, options)
            listed = [tuple(options[k] for k in order) for order in orders]
            asked = list(dict.fromkeys(listed))  # equal texts make some orders one question
            answers = ASK[self.reply](self.model, transcript(entry), asked, self.question)
            answers = answers.select([asked.index(order) for order in listed])
        except (ValueError, FloatingPointError, RemoteError) as error:
            raise type(error)(f"row {row}: {error}") from None
        return selection_columns(answers, orders, options, self.method)

    def _options(self, responses: Sequence[str]) -> list[str]:
        return [truncate(self.model.tokenizer, text, self.max_response_tokens) for text in responses]


def selection_columns(
    answers: Answers, orders: Sequence[Sequence[int]], texts: Sequence[str], method: str = "pairwise"
) -> dict[str, Any]:
    """The columns of one row from the answers to its questions.

    Args:
        answers: of the model, one per order.
        orders: which texts were listed in which order, see `orders_of`.
        texts: the n options.
        method: "pairwise" or "n-way".
    """
    columns = {**(_pairwise if method == "pairwise" else _n_way)(answers, orders, texts), **_reliability(answers)}
    enough_mass = columns["option_mass"] >= CONFIDENT_MASS
    return {**columns, "confident": enough_mass and columns["order_consistency"] >= CONFIDENT_CONSISTENCY}


def _pairwise(answers: Answers, orders: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[str, Any]:
    n = len(texts)
    odds = torch.zeros(n, n, dtype=torch.float64)  # log-odds of i over j when i stands first
    for (i, j), row in zip(orders, answers.logps, strict=True):
        odds[i, j] = row[0] - row[1]
    first = torch.sigmoid(odds)
    beats = torch.sigmoid((odds - odds.T) / 2)  # the two orders' log-odds for i, averaged
    beats.fill_diagonal_(0)  # in the log-odds the letter's own part has cancelled
    differ = [(i, j) for j in range(n) for i in range(j) if texts[i] != texts[j]]  # equal texts are no choice
    same = [bool(odds[i, j] > 0) == bool(odds[j, i] < 0) for i, j in differ]
    return {
        "selection_prob": _equal_for_equal_texts((2 / n) * beats.sum(1) / (n - 1), texts).tolist(),
        "order_consistency": statistics.fmean(same) if same else 1.0,
        "selection_votes": first.tolist(),
    }


def _n_way(answers: Answers, orders: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[str, Any]:
    n = len(texts)
    votes = torch.zeros(n, n, dtype=torch.float64)
    for r, order in enumerate(orders):
        votes[r, list(order)] = answers.logps[r]
    selection_prob = torch.softmax(_equal_for_equal_texts(votes.mean(0), texts), -1)
    best = (selection_prob >= selection_prob.max() - 1e-12)[votes.argmax(-1)]
    return {
        "selection_prob": selection_prob.tolist(),
        "order_consistency": float(best.double().mean()),
        "selection_votes": votes.exp().tolist(),
    }


def _reliability(answers: Answers) -> dict[str, float]:
    """Means over the orders."""
    return {
        "option_mass": statistics.fmean(answers.mass.tolist()),
        "none_mass": statistics.fmean(answers.none.tolist()),
        "position_bias": float(answers.logps[:, 0].exp().mean() - 1 / answers.logps.shape[1]),
    }


def _equal_for_equal_texts(values: Float[Tensor, " items"], texts: Sequence[str]) -> Float[Tensor, " items"]:
    """Identical texts share their mean, so that they tie exactly."""
    same = torch.tensor([[a == b for b in texts] for a in texts], dtype=values.dtype)
    return (same * values).sum(-1) / same.sum(-1)
