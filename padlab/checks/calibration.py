"""Exercises of notebook 02: answers without position bias, calibrated rewards, the mass on the option letters."""

from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check, shares
from padlab.phases.multiple_choice import Answers
from padlab.phases.selection import selection_columns
from padlab.rankings import calibration


def debias(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(p_first_order, p_second_order)`: P(X is better) from one question asked in both orders.

    Write: the mean of X's log-odds in the two orders, as a probability.

    - p_first_order: P(the model chooses the first option) where X stands first.
    - p_second_order: P(the model chooses the first option) where Y stands first.

    >>> padlab.checks.debias(lambda p_first_order, p_second_order: ...).state
    'not attempted'
    """
    return check(function, _debias, DEBIAS_MISTAKES, _draw_answers, "debias", seed)


def _debias(p_first_order: float, p_second_order: float) -> float:
    chosen = torch.tensor([[p_first_order, 1 - p_first_order], [p_second_order, 1 - p_second_order]])
    answers = Answers(chosen.double().log(), torch.ones(2), torch.zeros(2))
    return selection_columns(answers, [[0, 1], [1, 0]], ["X", "Y"])["selection_prob"][0]


def _logit(p: float) -> float:
    return log(p / (1 - p))


def _sigmoid(x: float) -> Tensor:
    return torch.tensor(x).sigmoid()


def probabilities_averaged(first, second):
    """You averaged probabilities. A preference for a position adds to the log-odds: average those, then go back to a
    probability."""
    return (first + 1 - second) / 2


def not_flipped(first, second):
    """You took the second number for P(X). In the second order Y stands first, so it is P(Y)."""
    return _sigmoid((_logit(first) + _logit(second)) / 2)


def letters_followed(first, second):
    """You used the first order only, with the model's preference for a position in it. Use both orders."""
    return first


def wrong_option(first, second):
    """You returned the probability that Y is better. Return that of X."""
    return 1 - _debias(first, second)


def summed(first, second):
    """You summed the two log-odds. Take their mean: it is one question, asked twice."""
    return _sigmoid(_logit(first) - _logit(second))


def log_odds_returned(first, second):
    """You returned log-odds. Turn them into a probability."""
    return (_logit(first) - _logit(second)) / 2


DEBIAS_MISTAKES = (probabilities_averaged, not_flipped, letters_followed, wrong_option, summed, log_odds_returned)


def _draw_answers(rng: np.random.Generator, size: int) -> tuple:
    first, second = rng.integers(5, 96, 2) / 100
    return float(first), float(second)


def calibrate(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(reward, p_sel, alpha)`: the calibrated reward.

    Write: the reward and the log of the selection probability, mixed with weight alpha on the second; [n], nats.

    - reward: [n], nats/token.
    - p_sel: [n] selection probabilities, all above 0, sum 1.
    - alpha: 0 (reward alone) to 1 (selection alone).

    >>> padlab.checks.calibrate(lambda reward, p_sel, alpha: ...).state
    'not attempted'
    """
    return check(function, _calibrate, CALIBRATE_MISTAKES, _draw_rewards, "calibrate", seed)


def _calibrate(reward: Tensor, p_sel: Tensor, alpha: float) -> Tensor:
    return calibration.calibrate(reward, p_sel, alpha)


def weights_swapped(reward, p_sel, alpha):
    """You gave alpha to the reward, as the released code does. Here alpha is the weight of the selection."""
    return _calibrate(reward, p_sel, 1 - alpha)


def no_log(reward, p_sel, alpha):
    """You mixed a log-probability with a probability. Take the log of p_sel."""
    return (1 - alpha) * reward + alpha * p_sel


def reward_at_full_weight(reward, p_sel, alpha):
    """You kept the reward at its full weight. The two weights sum to 1."""
    return reward + alpha * p_sel.log()


CALIBRATE_MISTAKES = (weights_swapped, no_log, reward_at_full_weight)


def _draw_rewards(rng: np.random.Generator, size: int) -> tuple:
    reward, p_sel = -rng.integers(5, 41, size) / 10, shares(rng, size) / 100
    alpha = float(rng.choice([1, 2, 3, 4, 6, 7, 8, 9])) / 10  # at 0.5 swapped weights would change nothing
    return torch.tensor(reward, dtype=torch.float32), torch.tensor(p_sel, dtype=torch.float32), alpha


def option_mass(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(token_probs, letters)`: the probability that a reply is one of the option letters.

    Write: the sum of the probabilities of the tokens that read exactly as a letter, alone or behind one space.

    - token_probs: dict, token text -> probability of being the reply's first token; tokens not listed count as 0.
    - letters: list of the option letters, such as ["A", "B"].

    >>> padlab.checks.option_mass(lambda token_probs, letters: ...).state
    'not attempted'
    """
    return check(function, _option_mass, MASS_MISTAKES, _draw_tokens, "option_mass", seed)


def _option_mass(token_probs: Mapping[str, float], letters: Sequence[str]) -> float:
    return _total(token_probs, [space + letter for letter in letters for space in ("", " ")])


def _total(token_probs: Mapping[str, float], tokens: Iterable[str]) -> float:
    return sum(token_probs.get(token, 0.0) for token in tokens)


def begins_with_letter(probs, letters):
    """You accepted every token that begins with a letter, such as "As". Accept the letter alone."""
    return _total(probs, [token for token in probs if token.strip().startswith(tuple(letters))])


def begins_without_space(probs, letters):
    """You accepted tokens that begin with a letter, such as "As". Accept the letter alone, or one space and it."""
    return _total(probs, [token for token in probs if token.startswith(tuple(letters))])


def renormalised(probs, letters):
    """You normalised over the letters, and that always gives 1. The mass says how much lies on other replies."""
    return 1.0


def divided_by_listed(probs, letters):
    """You divided by the sum over the listed tokens. The probabilities belong to the whole vocabulary: only add."""
    return _option_mass(probs, letters) / sum(probs.values())


def space_forgotten(probs, letters):
    """You counted only the bare letters. " A", with one space before it, is another token for the same reply."""
    return _total(probs, letters)


def any_white_space(probs, letters):
    """You accepted any white space around the letter. Accept the letter alone, or one space and the letter."""
    return _total(probs, [token for token in probs if token.strip() in letters])


def lower_case(probs, letters):
    """You accepted lower-case letters. "a" may begin a sentence ("a good answer is ..."): compare exactly."""
    return _option_mass(probs, [*letters, *map(str.lower, letters)])


MASS_MISTAKES = (
    begins_with_letter, begins_without_space, renormalised, divided_by_listed, space_forgotten, any_white_space,
    lower_case,
)  # fmt: skip


def _draw_tokens(rng: np.random.Generator, size: int) -> tuple:
    letters = list("ABCD"[: min(size - 1, 4)])
    spelled = [space + letter for letter in letters for space in ("", " ")]
    others = ["As", " And", "Because", "a", " b", "\nA", "  B", "CAB", "None", "Z"]
    tokens = rng.permutation([*rng.permutation(spelled)[int(rng.integers(2)) :], *others])  # one may be missing
    return {str(token): int(rng.integers(1, 6)) / 100 for token in tokens}, letters
