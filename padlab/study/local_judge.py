"""A language model at hand as judge: which of two answers does it choose, asked in both orders?

Such figures compare students of one experiment. They are not comparable with published win rates: the judge is another
model. So every table says which judge it was, and how often that judge agrees with GPT-4-turbo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padlab import LanguageModel, add_selection_probs, check_candidates
from padlab.conversations import PREVIOUS, conversation
from padlab.data_files import read_rows
from padlab.rankings.intervals import Interval, mean_interval, share_interval

if TYPE_CHECKING:
    from datasets import Dataset

ALIKE = 0.2  # lengths that differ by at most this share of the longer one are matched
CLEAR = 0.1  # least difference between two preferences of GPT-4-turbo that makes a pair
MEASURES = {  # name -> what it is
    "win_rate": "wins in both orders + half the ties",
    "mean_probability": "of choosing the first table's answer, both orders averaged",
    "ties": "share of pairs: the two orders disagree, or the texts are equal",
    "order_consistency": "share of pairs of different texts chosen alike in both orders",
    "prob_first_place": "of choosing whatever stands first of two different texts; 0.5 = no position bias",
    "longer": "share of pairs in which the first table's answer is longer (equal: half)",
    "win_rate_matched": f"win rate where lengths differ by at most {ALIKE:.0%}",
}


@dataclass(frozen=True)
class Agreement:
    """How often a judge chooses the answer that GPT-4-turbo prefers.

    Args:
        accuracy: share of pairs, both orders averaged.
        longer: the same share for the rule "choose the longer answer".
        order_consistency: share of pairs chosen alike in both orders.
    """

    accuracy: Interval
    longer: Interval
    order_consistency: Interval

    def __str__(self) -> str:
        return (
            f"agrees with GPT-4-turbo on {_shown(self.accuracy)} of {self.accuracy.count} pairs "
            f'(the rule "choose the longer answer": {_shown(self.longer)}; '
            f"same choice in both orders: {_shown(self.order_consistency)})"
        )


@dataclass(frozen=True)
class LocalWinRate:
    """What a local judge chose between two tables of answers to the same prompts.

    Args:
        judge: its name.
        per_prompt: measure -> one number per prompt, 0 to 1; NaN where undefined (see `MEASURES`).
        agreement: with GPT-4-turbo, where it was measured.
    """

    judge: str
    per_prompt: dict[str, np.ndarray]
    agreement: Agreement | None = None

    def intervals(self) -> dict[str, Interval]:
        """Mean and 95 % bootstrap interval over prompts of every measure."""
        return {name: mean_interval(values) for name, values in self.per_prompt.items()}

    @property
    def warning(self) -> str:
        """What must stand beside every win rate of this judge."""
        agreement = self.agreement or "agreement with GPT-4-turbo not measured (padlab.judge_agreement)"
        return f"local judge {self.judge}, not comparable with published numbers; {agreement}"

    def __str__(self) -> str:
        lines = [f"{name:18} {_shown(i):22} {i.count:5}   {MEASURES[name]}" for name, i in self.intervals().items()]
        return "\n".join([self.warning, *lines])

    __repr__ = __str__


def local_win_rate(
    judge: LanguageModel,
    first: Dataset,
    second: Dataset,
    *,
    agreement: Agreement | None = None,
    **selection: Any,
) -> LocalWinRate:
    """How often a local judge prefers the answers of the first table to those of the second.

    Answer k to a prompt is compared with answer k of the other table, in both orders. A win is a win in both; where the
    orders disagree it is a tie; so are two equal texts, about which the judge is not asked. A judge that follows the
    place alone gets a win rate of 0.5.

    Args:
        judge: any model; with a judge adapter (`padlab.with_judge`) that answers.
        first, second: candidates with the same prompts, each with as many responses.
        agreement: of this judge with GPT-4-turbo, from `judge_agreement`; shown beside the win rate.
        selection: further arguments of `padlab.add_selection_probs`, e.g. folder, max_response_tokens.

    Raises:
        ValueError: the tables have different prompts or numbers of responses.

    >>> judge, rows = load_pair("tiny").teacher, [{"prompt": "Hi", "responses": ["one"]}]
    >>> local_win_rate(judge, rows, rows).per_prompt["win_rate"]
    array([0.5])
    """
    first, second = check_candidates(first), check_candidates(second)
    counts = [[len(r) for r in table["responses"]] for table in (first, second)]
    if [conversation(e) for e in first] != [conversation(e) for e in second] or counts[0] != counts[1]:
        raise ValueError("local_win_rate: both tables need the same prompts, with as many responses each, in one order")
    pairs = [
        {**{c: a[c] for c in ("prompt", PREVIOUS) if a.get(c)}, "responses": [x, y]}
        for a, b in zip(first, second, strict=True)
        for x, y in zip(a["responses"], b["responses"], strict=True)
    ]
    judged = _judge(judge, pairs, **selection)
    ends = np.cumsum(counts[0])[:-1]
    per_prompt = {name: np.array([_mean(p) for p in np.split(values, ends)]) for name, values in judged.items()}
    return LocalWinRate(judge.name, per_prompt, agreement)


def judge_agreement(
    judge: LanguageModel, source: str | Path | Sequence[Any], limit: int | None = None, **selection: Any
) -> Agreement:
    """How often a local judge chooses the answer that GPT-4-turbo prefers.

    Of each prompt the answer that GPT-4-turbo likes best is compared with the one it likes least, unless its two
    probabilities of beating the baseline differ by less than 0.1.

    Args:
        judge: any model.
        source: rows or a file (.jsonl, .jsonl.gz) with prompt, responses and gpt4_preference (a probability each).
        limit: the first so many such pairs.
        selection: further arguments of `padlab.add_selection_probs`.

    Raises:
        ValueError: no such file, missing columns, or no pair that differs enough.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    rows = read_rows(source) if isinstance(source, str | Path) else source
    pairs = [pair for row, entry in enumerate(rows) if (pair := _best_and_worst(row, entry)) is not None]
    if not pairs:
        raise ValueError(f"no prompt has two answers whose preferences differ by {CLEAR} or more")
    judged = _judge(judge, pairs[:limit], **selection)
    accuracy = (np.sign(judged["mean_probability"] - 0.5) + 1) / 2
    return Agreement(*(share_interval(v) for v in (accuracy, judged["longer"], judged["order_consistency"])))


def _best_and_worst(row: int, entry: Any) -> dict[str, Any] | None:
    """The answers that GPT-4-turbo likes best and least; None where it hardly tells them apart."""
    if missing := [c for c in ("prompt", "responses", "gpt4_preference") if c not in entry]:
        raise ValueError(f"row {row}: no column {missing[0]}; judge_agreement needs answers ranked by GPT-4-turbo")
    pairs = zip(entry["gpt4_preference"], entry["responses"], strict=True)
    known = sorted(((p, text) for p, text in pairs if p is not None and p == p and text.strip()), key=lambda t: t[0])
    if len(known) < 2 or known[-1][0] - known[0][0] < CLEAR or known[-1][1] == known[0][1]:
        return None
    asked = {c: entry[c] for c in ("prompt", PREVIOUS) if entry.get(c)}
    return {**asked, "responses": [known[-1][1], known[0][1]]}


def _judge(judge: LanguageModel, pairs: list[dict[str, Any]], **selection: Any) -> dict[str, np.ndarray]:
    """Every measure of every pair; two equal texts are a tie, about which nothing is asked."""
    equal = np.array([a == b for a, b in (pair["responses"] for pair in pairs)])
    votes, probability = np.full((len(pairs), 2, 2), np.nan), np.full(len(pairs), 0.5)
    if not equal.all():
        asked = [pair for pair, same in zip(pairs, equal, strict=True) if not same]
        table = add_selection_probs(asked, judge, "pairwise", votes=True, **selection)
        votes[~equal], probability[~equal] = table["selection_votes"], np.array(table["selection_prob"])[:, 0]
    in_both = np.sign(votes[:, 0, 1] - 0.5), np.sign(0.5 - votes[:, 1, 0])  # 1: the first one is chosen, -1: the second
    same = (in_both[0] == in_both[1]) & (in_both[0] != 0)
    win = np.where(same & ~equal, (in_both[0] + 1) / 2, 0.5)
    sizes = np.array([[len(text) for text in pair["responses"]] for pair in pairs])
    matched = np.abs(sizes[:, 0] - sizes[:, 1]) <= ALIKE * sizes.max(1)
    return {
        "win_rate": win,
        "mean_probability": probability,
        "ties": (win == 0.5).astype(float),
        "order_consistency": np.where(equal, np.nan, same),
        "prob_first_place": (votes[:, 0, 1] + votes[:, 1, 0]) / 2,
        "longer": (np.sign(sizes[:, 0] - sizes[:, 1]) + 1) / 2,
        "win_rate_matched": np.where(matched, win, np.nan),
    }


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
