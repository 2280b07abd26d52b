"""Exercises of notebook 07: the answer of a worked problem, a win rate with ties, a comparison at equal length."""

import re
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


NUMBER = r"-?\d[\d,]*(?:\.\d+)?"


def _found(text: str, pattern: str) -> str:
    """What the pattern finds first behind the last "####", else last in the text."""
    found = re.findall(pattern, text.rpartition("####")[2])
    return found[0 if "####" in text else -1].replace(",", "")


def first_number(text):
    """You took the first number. A worked answer ends with its result, and its first number is of the problem."""
    return float(re.findall(NUMBER, text)[0].replace(",", ""))


def marker_ignored(text):
    """You took the last number of every text. Where there is a marker "####", the number right behind it counts."""
    return float(re.findall(NUMBER, text)[-1].replace(",", ""))


def commas_split(text):
    """You split numbers at the comma of thousands: it belongs to the number. Leave it out before you convert."""
    return float(_found(text, r"-?\d+(?:\.\d+)?"))


def decimals_split(text):
    """You split numbers at the decimal point. It belongs to the number, and so do the digits behind it."""
    return float(_found(text, r"-?\d[\d,]*"))


def point_removed(text):
    """You removed the decimal point with the rest of the punctuation. Remove a full stop at the end only."""
    return float(_found(text, NUMBER).replace(".", ""))


def sign_lost(text):
    """You lost the minus sign in front of a number. Keep it: a result can be below 0."""
    return abs(_gsm8k_answer(text))


def digits_only(text):
    """You accepted digits only. A minus sign, commas of thousands and a decimal point belong to a number too."""
    return float(_found(text, r"\d+"))


def digits_anywhere(text):
    """You took the last digits of the text. Minus sign, commas and decimal point belong to a number, and the one right
    behind "####" counts where there is one."""
    return float(re.findall(r"\d+", text)[-1])


def full_stop(text):
    """You skipped a number with a full stop behind it, so you got the one before. The full stop ends the sentence."""
    return float(_found(text, rf"(?<![^\s$]){NUMBER}(?!\S)"))


NUMBER_MISTAKES = (
    first_number, marker_ignored, commas_split, decimals_split, point_removed, sign_lost, digits_only, digits_anywhere,
    full_stop,
)  # fmt: skip


def _draw_text(rng: np.random.Generator, size: int) -> tuple:
    few, many, price = int(rng.integers(3, 10)), int(rng.integers(12, 100)), int(rng.integers(5, 200)) / 4
    text, answer, unit = [
        (f"There are {few} boxes with {many} pears each: {few} * {many} = ", f"{few * many}", "pears"),
        (f"There are {few} rows of {many * 41} seeds: {few} * {many * 41} = ", f"{few * many * 41:,}", "seeds"),
        (f"Each of the {few} tickets costs ${price:.2f}: {few} * {price:.2f} = ", f"${few * price:.2f}", "in all"),
        (f"It is {few} degrees and gets {many} degrees colder: {few} - {many} = ", f"{few - many}", "degrees"),
    ][int(rng.integers(4))]
    ends = (".", f" {unit}.", f" {unit}.\n#### {answer}", f" {unit}.\n#### {answer} {unit} after {few} days")
    return (text + answer + ends[int(rng.integers(4))],)


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


def ties_dropped(first, second):
    """You left ties out of the mean. A tie counts one half, and its pair stays in the denominator."""
    return _mean_of(first, second, tie=float("nan"))


def ties_zero(first, second):
    """You counted ties as lost. A tie counts one half."""
    return _mean_of(first, second, tie=0.0)


def ties_one(first, second):
    """You counted ties as won. A tie counts one half."""
    return _mean_of(first, second, tie=1.0)


def not_flipped(first, second):
    """You took the letter A for the new model both times. In the second order its answer is listed as B."""
    return (first.count("A") + second.count("A")) / (2 * len(first))


def first_order_only(first, second):
    """You used the first order only. A judge that likes the letter A would make the new model win."""
    return first.count("A") / len(first)


def second_order_only(first, second):
    """You used the second order only. A judge that likes the letter A would make the new model lose."""
    return second.count("B") / len(second)


def old_model(first, second):
    """You returned the old model's win rate. In the first order the new model's answer is listed as A."""
    return 1 - _win_rate(first, second)


WIN_MISTAKES = (ties_dropped, ties_zero, ties_one, not_flipped, first_order_only, second_order_only, old_model)


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


def _mean_where(wins: Tensor, kept: Tensor) -> Tensor:
    return wins[kept].mean()


def all_pairs(wins, new_length, old_length, tolerance):
    """You took all pairs. Keep those whose lengths are about equal."""
    return wins.mean()


def absolute(wins, new_length, old_length, tolerance):
    """You compared the difference in tokens with the tolerance. The tolerance is a share of the longer length."""
    return _mean_where(wins, (new_length - old_length).abs() <= tolerance)


def relative_to_shorter(wins, new_length, old_length, tolerance):
    """You compared the difference with a share of the shorter length. Take the share of the longer one."""
    return _mean_where(wins, (new_length - old_length).abs() <= tolerance * torch.minimum(new_length, old_length))


def relative_to_old(wins, new_length, old_length, tolerance):
    """You compared the difference with a share of the old length. Take the share of whichever is longer."""
    return _mean_where(wins, (new_length - old_length).abs() <= tolerance * old_length)


def sign_kept(wins, new_length, old_length, tolerance):
    """You limited how much longer the new answer is, not how much shorter. Take the absolute difference."""
    return _mean_where(wins, new_length - old_length <= tolerance * torch.maximum(new_length, old_length))


def different_lengths(wins, new_length, old_length, tolerance):
    """You kept the pairs that differ by more than the tolerance. Keep the others."""
    return _mean_where(wins, (new_length - old_length).abs() > tolerance * torch.maximum(new_length, old_length))


def new_not_longer(wins, new_length, old_length, tolerance):
    """You kept the pairs whose new answer is not longer. Keep those whose lengths differ little, either way."""
    return _mean_where(wins, new_length <= old_length)


def summed(wins, new_length, old_length, tolerance):
    """You summed over the kept pairs. Take their mean."""
    kept = (new_length - old_length).abs() <= tolerance * torch.maximum(new_length, old_length)
    return wins[kept].sum()


def divided_by_all(wins, new_length, old_length, tolerance):
    """You divided by the number of all pairs. Divide by the number of those you kept."""
    return summed(wins, new_length, old_length, tolerance) / len(wins)


LENGTH_MISTAKES = (
    all_pairs, absolute, relative_to_shorter, relative_to_old, sign_kept, different_lengths, new_not_longer, summed,
    divided_by_all,
)  # fmt: skip


def _draw_lengths(rng: np.random.Generator, size: int) -> tuple:
    tolerance = float(rng.choice([0.2, 0.25, 0.3]))
    shares = tolerance * rng.permutation([0, 0.93, 2, *rng.choice([0.5, 0.93, 1.4, 2], size - 3)])  # never at the limit
    longer = rng.integers(80, 300, size)
    shorter = np.round(longer * (1 - shares)).astype(int)
    lengths = torch.tensor(rng.permuted(np.stack([longer, shorter]), axis=0))
    return torch.tensor(rng.integers(0, 3, size) / 2, dtype=torch.float32), *lengths, tolerance
