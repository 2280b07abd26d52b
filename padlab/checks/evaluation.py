"""Exercises of notebook 07: the answer of a worked problem, a win rate with ties, a comparison at equal length."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check
from padlab.study.benchmarks.gsm8k import final_number


def gsm8k_answer(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(text)`: the final number of a worked answer.

    Write: the number right behind the last "####" of the text, or, where there is no "####", the last number of the
    text; as a float. A minus sign in front, commas of thousands and decimals belong to a number; a dollar sign, units
    and a full stop behind it do not.

    - text: a worked answer, one to three lines, at least one number.

    >>> padlab.checks.gsm8k_answer(lambda text: ...).state
    'not attempted'
    """
    return check(function, _gsm8k_answer, NUMBER_MISTAKES, _draw_text, "gsm8k_answer", seed)


def _gsm8k_answer(text: str) -> float:
    return float(final_number(text))


NUMBER_MISTAKES = ()


def _draw_text(rng: np.random.Generator, size: int) -> tuple:
    return (f"{int(rng.integers(2, 9))} and {int(rng.integers(10, 99))}.",)


def win_rate(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(first, second)`: how often a judge, asked in both orders, chooses the new model's answer.

    Write: a pair counts 1 where the judge chose the new model's answer in both orders, 0 where it chose the old one's
    in both, and one half where its two choices disagree (a tie); the mean over all pairs.

    - first: [pairs], "A" or "B", what the judge chose with the new model's answer listed as A.
    - second: [pairs], "A" or "B", what it chose with the new model's answer listed as B.

    >>> padlab.checks.win_rate(lambda first, second: ...).state
    'not attempted'
    """
    return check(function, _win_rate, WIN_MISTAKES, _draw_choices, "win_rate", seed)


def _win_rate(first: list[str], second: list[str]) -> float:
    return _mean_of(first, second, tie=0.5)


def _mean_of(first: list[str], second: list[str], tie: float) -> float:
    """Mean over the pairs, a tie counting so much; NaN leaves ties out."""
    votes = [((a == "A") + (b == "B")) / 2 for a, b in zip(first, second, strict=True)]
    return float(np.nanmean([tie if vote == 0.5 else vote for vote in votes]))


WIN_MISTAKES = ()


def _draw_choices(rng: np.random.Generator, size: int) -> tuple:
    pairs = rng.permutation([("A", "B"), ("A", "A"), *rng.choice(["A", "B"], (size - 1, 2)).tolist()])
    return pairs[:, 0].tolist(), pairs[:, 1].tolist()


def length_matched(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(wins, new_length, old_length, tolerance)`: the win rate among answers of about the same length.

    Write: the mean of `wins` over the pairs whose lengths differ by at most tolerance times the longer one.

    - wins: [pairs], 1 where the new model's answer won, 0.5 for a tie, 0 where it lost.
    - new_length, old_length: [pairs], lengths of the two answers in tokens.
    - tolerance: a share, such as 0.2.

    >>> padlab.checks.length_matched(lambda wins, new_length, old_length, tolerance: ...).state
    'not attempted'
    """
    return check(function, _length_matched, LENGTH_MISTAKES, _draw_lengths, "length_matched", seed)


def _length_matched(wins: Tensor, new_length: Tensor, old_length: Tensor, tolerance: float) -> Tensor:
    return wins[(new_length - old_length).abs() <= tolerance * torch.maximum(new_length, old_length)].mean()


LENGTH_MISTAKES = ()


def _draw_lengths(rng: np.random.Generator, size: int) -> tuple:
    old, tolerance = rng.integers(8, 40, size), 0.2
    new = np.maximum(2, old + rng.integers(-9, 10, size))
    new[0] = old[0]
    wins = torch.tensor(rng.integers(0, 3, size) / 2, dtype=torch.float32)
    return wins, torch.tensor(new), torch.tensor(old), tolerance
