"""Exercises of notebook 06: an interval over trainings, rounds at equal budget, a hypothesis tested on four seeds."""

from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from scipy.stats import t as student_t
from torch import Tensor

from padlab.checks.verdict import Problem, Verdict, agree, check, run, shown
from padlab.rankings import intervals

SEEDS = 4  # trainings of each setting that a hypothesis is tested on
CLAIMS = ("a is better", "b is better", "not clear")


def seed_interval(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(changes)`: the 95 % interval of a mean change, over trainings.

    Write: one number per training, the mean over its prompts; then (low, high), their mean -+ t * s / sqrt(trainings),
    with the standard deviation s (trainings - 1 in the denominator) and the 97.5 % quantile t of Student's
    distribution with trainings - 1 degrees of freedom.

    - changes: [trainings, prompts], after - before; row k is the training with seed k.

    >>> padlab.checks.seed_interval(lambda changes: ...).state
    'not attempted'
    """
    return check(function, _seed_interval, INTERVAL_MISTAKES, _draw_changes, "seed_interval", seed)


def _seed_interval(changes: Tensor) -> tuple[float, float]:
    found = intervals.seed_interval(changes.double().mean(1).numpy())
    return found.low, found.high


def _interval(values: Tensor, ddof: int = 1, quantile: float | None = None, count: float | None = None) -> tuple:
    """Mean -+ quantile * standard deviation / sqrt(count)."""
    values = values.double().numpy()
    if quantile is None:
        quantile = student_t.ppf(0.975, len(values) - 1)
    half = quantile * values.std(ddof=ddof) / (len(values) if count is None else count) ** 0.5
    return values.mean() - half, values.mean() + half


def normal_quantile(changes):
    """You used 1.96, the quantile of the normal distribution. With few trainings s is uncertain: use Student's t."""
    return _interval(changes.mean(1), quantile=norm.ppf(0.975))


def ddof_zero(changes):
    """You divided by the number of trainings in the standard deviation. Divide by one less (numpy needs ddof 1)."""
    return _interval(changes.mean(1), ddof=0)


def normal_and_ddof_zero(changes):
    """You used 1.96, and the number of trainings in the standard deviation's denominator. Use Student's t, and one
    less."""
    return _interval(changes.mean(1), ddof=0, quantile=norm.ppf(0.975))


def all_pooled(changes):
    """You took every prompt of every training for a sample of its own. Prompts of one training are not independent:
    average them first."""
    return _interval(changes.flatten())


def prompts_for_trainings(changes):
    """You averaged over the trainings and took the interval over prompts. The trainings are the sample: average over
    prompts."""
    return _interval(changes.mean(0))


def root_missing(changes):
    """You did not divide by the square root of the number of trainings: that is the spread of one training, not of the
    mean."""
    return _interval(changes.mean(1), count=1)


def one_sided(changes):
    """You used the 95 % quantile. An interval with 95 % inside leaves 2.5 % at each end."""
    return _interval(changes.mean(1), quantile=student_t.ppf(0.95, len(changes) - 1))


def standard_error(changes):
    """You added one standard error at each side. About two thirds of such intervals hold the true mean: multiply by
    t."""
    return _interval(changes.mean(1), quantile=1.0)


def percentiles(changes):
    """You took percentiles of the trainings' means. They show how far single trainings lie apart, not how well the mean
    is known."""
    return np.percentile(changes.mean(1).double().numpy(), [2.5, 97.5])


def degrees_of_freedom(changes):
    """You used as many degrees of freedom as trainings. One is used up by the mean."""
    return _interval(changes.mean(1), quantile=student_t.ppf(0.975, len(changes)))


INTERVAL_MISTAKES = (
    normal_quantile, ddof_zero, normal_and_ddof_zero, all_pooled, prompts_for_trainings, root_missing, one_sided,
    standard_error, percentiles, degrees_of_freedom,
)  # fmt: skip


def _draw_changes(rng: np.random.Generator, size: int) -> tuple:
    trainings, prompts = min(size, 5), int(rng.integers(3, 6))
    return (torch.tensor(rng.integers(-4, 9, (trainings, prompts)) / 8, dtype=torch.float32),)


def equal_budget(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(responses, per_round, steps)`: the plan of a training in rounds, at a given budget.

    Write: one row per round, [rounds, 2]: how many rounds the student that writes this round's responses has finished,
    and how many optimizer steps this round gets, all rounds as many.

    - responses: responses per prompt in all rounds together, a multiple of per_round.
    - per_round: responses per prompt in one round.
    - steps: optimizer steps in all rounds together, a multiple of the number of rounds.

    >>> padlab.checks.equal_budget(lambda responses, per_round, steps: ...).state
    'not attempted'
    """
    return check(function, _equal_budget, BUDGET_MISTAKES, _draw_budget, "equal_budget", seed)


def _equal_budget(responses: int, per_round: int, steps: int) -> list[list[float]]:
    return _plan(responses // per_round, steps)


def _plan(rounds: int, steps: int) -> list[list[float]]:
    return [[number, steps / rounds] for number in range(rounds)]


def old_student(responses, per_round, steps):
    """You let the untrained student write the responses of every round. Each round samples the student as trained so
    far."""
    return [[0, taken] for _, taken in _equal_budget(responses, per_round, steps)]


def all_steps_each(responses, per_round, steps):
    """You gave every round all the steps. More rounds then mean more training: divide the steps among the rounds."""
    return [[number, steps] for number, _ in _equal_budget(responses, per_round, steps)]


def per_round_for_rounds(responses, per_round, steps):
    """You took the responses of one round for the number of rounds. Rounds go on until all responses are spent."""
    return _plan(per_round, steps)


def counted_from_one(responses, per_round, steps):
    """You counted from 1. The first round's responses are written by a student that has finished no round."""
    return [[number + 1, taken] for number, taken in _equal_budget(responses, per_round, steps)]


def responses_for_rounds(responses, per_round, steps):
    """You made one round of every response. A round has `per_round` of them."""
    return _plan(responses, steps)


def steps_by_responses(responses, per_round, steps):
    """You divided the steps by the responses of one round. Divide them by the number of rounds."""
    return [[number, steps / per_round] for number, _ in _equal_budget(responses, per_round, steps)]


def steps_summed(responses, per_round, steps):
    """You returned the steps up to the end of each round. Return the steps of the round itself."""
    return [[number, (number + 1) * taken] for number, taken in _equal_budget(responses, per_round, steps)]


BUDGET_MISTAKES = (
    old_student, all_steps_each, per_round_for_rounds, counted_from_one, responses_for_rounds, steps_by_responses,
    steps_summed,
)  # fmt: skip


def _draw_budget(rng: np.random.Generator, size: int) -> tuple:
    rounds, per_round = (int(k) for k in rng.permutation(np.arange(2, size + 1))[:2])
    return rounds * per_round, per_round, rounds * per_round * int(rng.integers(2, 9))


def hypothesis(experiment: Any, claim: Any) -> Verdict:
    """Check a hypothesis of one's own: `experiment(seed)` gives (value under a, value under b), a training each.

    Write: a function that trains once under setting a and once under setting b, both with this seed, measures both, and
    returns the two numbers; and the claim that the paired 95 % t interval of a - b over 4 seeds supports.

    - experiment: called with the seeds 0 to 3 and once more with 0, five times in all; each call takes as long as two
      trainings, seconds in the toy world. What it returns must depend on the seed and on nothing else.
    - claim: "a is better" (the interval is above 0), "b is better" (below 0) or "not clear" (0 is inside). Higher
      values are better.

    >>> padlab.checks.hypothesis(lambda seed: ..., "not clear").state
    'not attempted'
    """
    if not callable(experiment):
        return _verdict("call", "Give the function itself: checks.hypothesis(experiment, claim), without calling it.")
    if claim is None or claim is Ellipsis:
        return Verdict("hypothesis", "not attempted", f"State a claim, one of {shown(CLAIMS)}, before you run it.")
    if not issubclass(type(claim), str) or claim not in CLAIMS:
        return _verdict("unknown_claim", f"The claim must be one of {shown(CLAIMS)}.")
    pairs: list[Tensor] = []
    for seed in (*range(SEEDS), 0):
        pair = run(experiment, (seed,))
        if isinstance(pair, Problem) and pair.kind == "not attempted" and not pairs:
            return Verdict("hypothesis", "not attempted", "Write the function, then run the check again.")
        if isinstance(pair, Problem):
            return _verdict(pair.kind, f"For seed {seed}, your function {pair.message}")
        if pair.shape != (2,) or not pair.isfinite().all():
            return _verdict("not_pairs", f"Return two finite numbers. For seed {seed}, it was {shown(pair)}.")
        pairs.append(pair)
    return _judge(torch.stack(pairs[:SEEDS]), pairs[SEEDS], claim)


def _verdict(mistake: str, message: str) -> Verdict:
    return Verdict("hypothesis", "hint", message, mistake)


def _judge(pairs: Tensor, again: Tensor, claim: str) -> Verdict:
    """Judge one pair of values per seed, seed 0 a second time, and the claim about them."""
    if not agree(pairs[0], again):
        twice = f"Seed 0 gave {shown(pairs[0])} and then {shown(again)}."
        return _verdict(
            "not_reproducible", f"{twice} Let all that is random follow the seed: sampling, order, weights."
        )
    if agree(pairs[:1].expand(SEEDS, -1), pairs):
        same = f"Every seed gave {shown(pairs[0])}: that looks like one training seen {SEEDS} times."
        return _verdict(
            "one_seed", f"{same} Use the seed in sampling and training, and a measure away from its limits."
        )
    if agree(pairs[:, 0], pairs[:, 1]):
        return _verdict("same_settings", "Both values are equal for every seed. Does the setting reach the training?")
    found = intervals.seed_interval((pairs[:, 0] - pairs[:, 1]).numpy())
    fits = CLAIMS[0] if found.low > 0 else CLAIMS[1] if found.high < 0 else CLAIMS[2]
    where = dict(zip(CLAIMS, ("lies above 0", "lies below 0", "contains 0"), strict=True))[fits]
    measured = (
        f"Over {SEEDS} seeds, a - b is {shown(found.estimate)} on average, and its 95 % interval, from "
        f"{shown(found.low)} to {shown(found.high)}, {where}"
    )
    if fits != claim:
        return _verdict("wrong_claim", f'{measured}. This supports "{fits}", not "{claim}".')
    return Verdict("hypothesis", "passed", f'{measured}: "{claim}" is supported.')
