"""Exercises of notebook 05: agreement of a ranking with rewards, a paired bootstrap, a vote on two answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check
from padlab.rankings import metrics
from padlab.worlds import reading


def kendall_tau(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(ranking, rewards)`: Kendall's tau-b between a ranking and rewards.

    Write: the pairs of items that both put in the same order, minus the pairs in opposite order, divided by the square
    root of (all pairs x pairs of different rewards); a pair of equal rewards is in neither order. A number, -1 to 1.

    - ranking: [n] int64, the n items, best first.
    - rewards: [n], one per item, higher is better; some are equal, not all.

    >>> padlab.checks.kendall_tau(lambda ranking, rewards: ...).state
    'not attempted'
    """
    return check(function, _kendall_tau, TAU_MISTAKES, _draw_rewards, "kendall_tau", seed)


def _kendall_tau(ranking: Tensor, rewards: Tensor) -> Tensor:
    return metrics.kendall_tau(-ranking.argsort(), rewards)  # argsort gives every item its place; place 0 is the best


def _pairs(ranking: Tensor, rewards: Tensor, tied: int = 0) -> tuple[float, int, float]:
    """Pairs in the same minus pairs in opposite order, all pairs, pairs of different rewards; a tie counts `tied`."""
    untied = len(rewards) * (len(rewards) - 1) / 2 - float(metrics.count_ties(rewards))
    pairs = len(rewards) * (len(rewards) - 1) // 2
    difference = float(_kendall_tau(ranking, rewards)) * (pairs * untied) ** 0.5
    return difference + tied * (pairs - untied), pairs, untied


def ties_ignored(ranking, rewards):
    """You divided by the number of all pairs (tau-a). Equal rewards cannot be ranked: tau-b divides by a square root of
    two counts."""
    difference, pairs, _ = _pairs(ranking, rewards)
    return difference / pairs


def ties_dropped(ranking, rewards):
    """You divided by the number of pairs with different rewards. Tau-b divides by the square root of the product of
    both counts."""
    difference, _, untied = _pairs(ranking, rewards)
    return difference / untied


def ties_discordant(ranking, rewards):
    """You counted pairs of equal rewards as pairs in opposite order. They are in neither order."""
    difference, pairs, untied = _pairs(ranking, rewards, tied=-1)
    return difference / (pairs * untied) ** 0.5


def ties_discordant_of_all(ranking, rewards):
    """You counted pairs of equal rewards as pairs in opposite order, and divided by all pairs. They are in neither
    order."""
    difference, pairs, _ = _pairs(ranking, rewards, tied=-1)
    return difference / pairs


def ties_concordant(ranking, rewards):
    """You counted pairs of equal rewards as pairs in the same order. They are in neither order."""
    difference, pairs, untied = _pairs(ranking, rewards, tied=1)
    return difference / (pairs * untied) ** 0.5


def items_for_ranks(ranking, rewards):
    """You read entry k of the ranking as the rank of item k. Entry k is the item at place k."""
    return metrics.kendall_tau(-ranking, rewards)


def items_for_scores(ranking, rewards):
    """You compared the item numbers in the ranking with the rewards. Give every item its place first."""
    return metrics.kendall_tau(ranking, rewards)


def sign(ranking, rewards):
    """You changed the sign. The first of the ranking is the best, and a high reward is good: that is agreement."""
    return -_kendall_tau(ranking, rewards)


def not_divided(ranking, rewards):
    """You returned a difference of counts. Divide it, so that full agreement without ties is 1."""
    return _pairs(ranking, rewards)[0]


TAU_MISTAKES = (
    ties_ignored, ties_dropped, ties_discordant, ties_discordant_of_all, ties_concordant, items_for_ranks,
    items_for_scores, sign, not_divided,
)  # fmt: skip


def _draw_rewards(rng: np.random.Generator, size: int) -> tuple:
    different = -rng.permutation(np.arange(1, 31))[: size - 1 - size // 6] / 10
    rewards = rng.permutation([*different, *rng.choice(different, size - len(different))])
    return torch.tensor(rng.permutation(size)), torch.tensor(rewards, dtype=torch.float32)


def paired_bootstrap(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(before, after, draws)`: a bootstrap of the change on the same prompts.

    Write: for each resample the mean change, after - before, over the prompts that it drew; [resamples].

    - before, after: [prompts, answers], 1 for a right answer and 0 for a wrong one, to the same prompts.
    - draws: [resamples, prompts] int64, the prompts in each resample; the same prompt may occur more than once.

    >>> padlab.checks.paired_bootstrap(lambda before, after, draws: ...).state
    'not attempted'
    """
    return check(function, _paired_bootstrap, BOOTSTRAP_MISTAKES, _draw_resamples, "paired_bootstrap", seed)


def _paired_bootstrap(before: Tensor, after: Tensor, draws: Tensor) -> Tensor:
    return (after - before).mean(-1)[draws].mean(-1)


def before_not_resampled(before, after, draws):
    """You resampled `after` only. Both sides of a change belong to the same prompt: draw them together."""
    return after.mean(-1)[draws].mean(-1) - before.mean()


def after_not_resampled(before, after, draws):
    """You resampled `before` only. Both sides of a change belong to the same prompt: draw them together."""
    return after.mean() - before.mean(-1)[draws].mean(-1)


def other_draws(before, after, draws):
    """You took other draws for `before` than for `after`. Compare both on the same prompts: that is what pairs them."""
    return after.mean(-1)[draws].mean(-1) - before.mean(-1)[draws.flip(0)].mean(-1)


def answers_drawn(before, after, draws):
    """You drew answers (columns). The prompts are the sample: draw rows, each with all its answers."""
    return (after - before).mean(0)[draws].mean(-1)


def single_answers_drawn(before, after, draws):
    """You drew from a flat list of answers. The prompts are the sample: draw rows, each with all its answers."""
    return (after - before).flatten()[draws].mean(-1)


def before_minus_after(before, after, draws):
    """You subtracted `after` from `before`. The change is after - before: above 0 where it got better."""
    return -_paired_bootstrap(before, after, draws)


def prompts_summed(before, after, draws):
    """You summed over the drawn prompts. Take the mean, so that the change is a share of right answers."""
    return _paired_bootstrap(before, after, draws) * draws.shape[1]


def all_summed(before, after, draws):
    """You summed over prompts and answers. Take the mean, so that the change is a share of right answers."""
    return _paired_bootstrap(before, after, draws) * before.numel()


def relative(before, after, draws):
    """You divided by the value before. The change is a difference of two shares."""
    return _paired_bootstrap(before, after, draws) / before.mean(-1)[draws].mean(-1)


BOOTSTRAP_MISTAKES = (
    before_not_resampled, after_not_resampled, other_draws, answers_drawn, single_answers_drawn, before_minus_after,
    prompts_summed, all_summed, relative,
)  # fmt: skip


def _draw_resamples(rng: np.random.Generator, size: int) -> tuple:
    prompts = min(size, 5)
    shape = prompts, prompts + int(rng.integers(2))
    before, after = (torch.tensor(rng.integers(0, 2, shape), dtype=torch.float32) for _ in range(2))
    before[:, 0] = 1  # some answer is right, so that a relative change is a number
    return before, after, torch.tensor(rng.integers(0, prompts, (2 + size // 5, prompts)))


def blind_vote(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(prompt, first, second)`: which of two answers about a note is better, by the text of the note alone.

    Write: 1.0 if the first answer is better, 0.0 if the second is, 0.5 if both are equally good. The right answer is
    best, capitals, full stops and small words aside; then a text with other words that holds the right answer and no
    wrong one of the note; all else is wrong.

    - prompt: text of the reading world, a note and a question about it; `reading.answers(prompt)` reads it.
    - first, second: the two answers, texts.

    >>> padlab.checks.blind_vote(lambda prompt, first, second: ...).state
    'not attempted'
    """
    return check(function, _blind_vote, VOTE_MISTAKES, _draw_answers, "blind_vote", seed)


def _blind_vote(prompt: str, first: str, second: str) -> float:
    return _vote(reading.quality(prompt, first), reading.quality(prompt, second))


def _vote(first: float, second: float) -> float:
    """1.0 for the higher of two numbers, 0.5 for equal ones."""
    return (1 + (first > second) - (first < second)) / 2


def _vote_by(prompt: str, first: str, second: str, rule: Callable[[str, str], bool]) -> float:
    """The vote for the answer that the rule accepts, from an answer and the right answer."""
    right = reading.answers(prompt)[0]
    return _vote(rule(first, right), rule(second, right))


def longer(prompt, first, second):
    """You preferred the longer answer. Length says nothing about what the note says."""
    return _vote(len(first), len(second))


def shorter(prompt, first, second):
    """You preferred the shorter answer. Length says nothing about what the note says."""
    return _vote(len(second), len(first))


def always_first(prompt, first, second):
    """You always chose the first answer. Compare both with the note."""
    return 1.0


def no_ties(prompt, first, second):
    """You chose the first answer where both are equally good. That is a tie, 0.5."""
    return float(_blind_vote(prompt, first, second) >= 0.5)


def exact_text(prompt, first, second):
    """You compared texts exactly. A right answer may have a capital, a full stop, or a sentence around it."""
    return _vote_by(prompt, first, second, str.__eq__)


def sentences_wrong(prompt, first, second):
    """You counted a right answer in a sentence as wrong. It is half right: better than a wrong answer."""
    return _vote(reading.quality(prompt, first) == 1, reading.quality(prompt, second) == 1)


def sentences_equal(prompt, first, second):
    """You counted a right answer in a sentence as fully right. The right answer alone is better."""
    return _vote(reading.quality(prompt, first) > 0, reading.quality(prompt, second) > 0)


def contained(prompt, first, second):
    """You accepted every text that contains the right answer. It may name a wrong one too, or say more than asked."""
    return _vote_by(prompt, first, second, lambda answer, right: right.lower() in answer.lower())


def contained_as_written(prompt, first, second):
    """You looked for the right answer with its capitals as they are, anywhere in the text. Capitals do not count, a
    wrong answer beside it does."""
    return _vote_by(prompt, first, second, lambda answer, right: right in answer)


def other_better(prompt, first, second):
    """You voted for the worse answer. Return 1.0 where the first is better."""
    return 1 - _blind_vote(prompt, first, second)


VOTE_MISTAKES = (
    longer, shorter, always_first, no_ties, exact_text, sentences_wrong, sentences_equal, contained,
    contained_as_written, other_better,
)  # fmt: skip
SENTENCES = ("The answer is {}.", "It says {}.", "The note says {}.", "I think it is {}.")


def _draw_answers(rng: np.random.Generator, size: int) -> tuple:
    prompt = min(reading.prompts(3, seed=int(rng.integers(10**6))), key=len)
    right, wrong = reading.answers(prompt)
    phrases = (right, right, f"{right} or {wrong[0]}", wrong[1])
    sentences = [text.format(phrase) for text, phrase in zip(rng.permutation(SENTENCES), phrases, strict=True)]
    texts = [right, f"{right.upper()}.", wrong[0], f"{wrong[1].upper()}.", *sentences]
    first, second = rng.permutation(texts)[:2].tolist()
    return prompt, first, second
