"""Right and wrong functions for the exercises of notebooks 05 to 07; tests/test_checks.py runs them.

LIBRARY: the library's functions. PLAIN and FLOAT32: right, written anew. WRONG: mistakes, by exercise and key.
"""

import math
import re
import statistics
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
import torch

from padlab import LanguageModel
from padlab.checks import agreement, evaluation, experiments
from padlab.rankings import intervals, metrics
from padlab.study import local_judge
from padlab.study.benchmarks.gsm8k import final_number
from padlab.worlds import reading

# --- the library's functions


def library_tau(ranking, rewards):
    places = {int(item): place for place, item in enumerate(ranking)}
    return metrics.kendall_tau([-float(places[item]) for item in range(len(rewards))], rewards)


def library_vote(prompt, first, second):
    a, b = (reading.quality(prompt, text) for text in (first, second))
    return 1.0 if a > b else 0.0 if a < b else 0.5


def library_judge(measure, first, second, lengths=None, alike=0.2):
    """A measure of the local judge whose choices these are, on texts of these lengths."""
    judge = LanguageModel.__new__(LanguageModel)
    object.__setattr__(judge, "name", "none")  # it is not asked: the choices are given
    sizes = lengths or [(3, 3)] * len(first)
    new, old = (
        [{"prompt": str(k), "responses": [letter * int(size[side])]} for k, size in enumerate(sizes)]
        for side, letter in enumerate("no")
    )
    votes = [
        [[0.5, 0.9 if a == "A" else 0.1], [0.9 if b == "A" else 0.1, 0.5]] for a, b in zip(first, second, strict=True)
    ]
    answered = {"selection_votes": votes, "selection_prob": [[0.5, 0.5]] * len(votes)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            local_judge,
            "add_selection_probs",
            lambda pairs, *a, **s: {**answered, "responses": [p["responses"] for p in pairs]},
        )
        patch.setattr(local_judge, "ALIKE", alike)
        return np.nanmean(local_judge.local_win_rate(judge, new, old).per_prompt[measure])


def library_matched(wins, new, old, tolerance):
    choices = [{1.0: "AB", 0.5: "AA", 0.0: "BA"}[float(win)] for win in wins]
    lengths = list(zip(new.tolist(), old.tolist(), strict=True))
    return library_judge("win_rate_matched", *zip(*choices, strict=True), lengths, tolerance)


LIBRARY = {
    "kendall_tau": library_tau,
    "paired_bootstrap": lambda before, after, draws: after[draws].mean((1, 2)) - before[draws].mean((1, 2)),  # none
    "blind_vote": library_vote,
    "seed_interval": lambda changes: intervals.seed_interval(changes.mean(1).numpy())[1:3],
    "equal_budget": lambda n, per, steps: [(k, steps / (n // per)) for k in range(n // per)],
    "gsm8k_answer": lambda text: float(final_number(text)),
    "win_rate": lambda first, second: library_judge("win_rate", first, second),
    "length_matched": library_matched,
}

# --- written anew


def counts(ranking, rewards, tied=0):
    """Pairs of the ranking, better first: in the same order minus in opposite order; all; of different rewards."""
    pairs = list(combinations([float(rewards[int(item)]) for item in ranking], 2))
    difference = sum(1 if a > b else -1 if a < b else tied for a, b in pairs)
    return difference, len(pairs), sum(a != b for a, b in pairs)


def tau(ranking, rewards, tied=0, divisor=lambda pairs, untied: math.sqrt(pairs * untied)):
    difference, pairs, untied = counts(ranking, rewards, tied)
    return difference / divisor(pairs, untied)


def resampled(before, after, draws, change=lambda old, new: new - old, mean=statistics.fmean):
    """One number per resample, from the shares of right answers of its prompts."""
    old, new = ([statistics.fmean(row) for row in table.tolist()] for table in (before, after))
    return [mean([change(old[k], new[k]) for k in draw]) for draw in draws.tolist()]


def words(text):
    return [w for w in re.findall(r"[\w:]+", text.lower()) if w not in reading.SMALL_WORDS]


def score(prompt, text):
    """1, 0.5 or 0: the right answer, alone or among other words, and no wrong one."""
    right, wrong = reading.answers(prompt)
    if words(text) == words(right):
        return 1
    said = f" {' '.join(words(text))} "
    holds = [f" {' '.join(words(value))} " in said for value in (right, *wrong)]
    return 0.5 * (holds == [True, False, False])


def vote(first, second):
    return 0.5 if first == second else float(first > second)


def by(judge):
    """A vote by what a rule makes of an answer: judge(answer, right answer)."""
    return lambda prompt, *texts: vote(*(judge(text, reading.answers(prompt)[0]) for text in texts))


def spread(means, quantile, ddof=1, root=True):
    means = np.asarray(means, dtype=np.float64)
    half = quantile * np.std(means, ddof=ddof) / (math.sqrt(len(means)) if root else 1)
    return [means.mean() - half, means.mean() + half]


def student(k, share=0.975):
    return float(scipy.stats.t.ppf(share, k))


def plan(rounds, steps_each):
    return np.stack([np.arange(rounds), np.full(rounds, steps_each)], axis=1)


def numbers(text):
    """All numbers of a text, read character by character."""
    found, text = [], f" {text} "
    k = 1
    while k < len(text):
        if text[k].isdigit():
            end = k
            while text[end].isdigit() or (text[end] in ",." and text[end + 1].isdigit()):
                end += 1
            value = float(text[k:end].replace(",", ""))
            found.append(-value if text[k - 1] == "-" else value)
            k = end
        k += 1
    return found


def behind_marker(text):
    return text[text.rindex("####") + 4 :] if "####" in text else None


def answer(text):
    behind = behind_marker(text)
    return numbers(text)[-1] if behind is None else numbers(behind)[0]


def searched(pattern, convert=float):
    """The first that a pattern finds behind the marker, else the last in the text."""

    def number(text):
        behind = behind_marker(text)
        return convert(re.findall(pattern, text)[-1] if behind is None else re.search(pattern, behind).group())

    return number


def pairs_won(first, second, tie):
    """Wins in both orders plus the ties, each counted so much."""
    both = list(zip(first, second, strict=True))
    return both.count(("A", "B")) + tie * (both.count(("A", "A")) + both.count(("B", "B")))


def mean_kept(wins, new, old, keep, divide=True):
    kept = [w for w, n, o in zip(wins.tolist(), new.tolist(), old.tolist(), strict=True) if keep(n, o)]
    return sum(kept) / (len(kept) if divide else 1)


def alike(tolerance, of=max):
    return lambda n, o: abs(n - o) <= tolerance * of(n, o)


PLAIN = {
    "kendall_tau": lambda ranking, rewards: (
        scipy.stats.kendalltau(ranking.numpy().argsort(), -rewards.numpy()).statistic
    ),
    "paired_bootstrap": resampled,
    "blind_vote": lambda prompt, a, b: vote(score(prompt, a), score(prompt, b)),
    "seed_interval": lambda changes: scipy.stats.t.interval(
        0.95, len(changes) - 1, np.mean(floats := [np.mean(row) for row in changes.tolist()]), scipy.stats.sem(floats)
    ),
    "equal_budget": lambda n, per, steps: plan(n // per, steps * per // n),
    "gsm8k_answer": answer,
    "win_rate": lambda first, second: pairs_won(first, second, 0.5) / len(first),
    "length_matched": lambda w, n, o, tolerance: mean_kept(w, n, o, alike(tolerance)),
}


def torch_tau(ranking, rewards):
    ordered = rewards[ranking]
    signs = (ordered[:, None] - ordered).sign().triu(1)
    n = len(rewards)
    return signs.sum() / (n * (n - 1) / 2 * signs.abs().sum()).sqrt()


def torch_interval(changes):
    means = changes.mean(1)
    half = student(len(means) - 1) * means.std() / len(means) ** 0.5
    return torch.stack([means.mean() - half, means.mean() + half])


FLOAT32 = {
    "kendall_tau": torch_tau,
    "paired_bootstrap": lambda before, after, draws: torch.stack([(after - before)[draw].mean() for draw in draws]),
    "blind_vote": lambda prompt, a, b: (
        torch.tensor([reading.quality(prompt, a) - reading.quality(prompt, b)]).sign().add(1).div(2)[0]
    ),
    "seed_interval": torch_interval,
    "equal_budget": lambda n, per, steps: [torch.tensor([k, steps // (n // per)]) for k in range(n // per)],
    "gsm8k_answer": lambda text: torch.tensor(
        searched(r"-?\d[\d,]*\.?\d*", lambda found: float(found.replace(",", "")))(text)
    ),
    "win_rate": lambda first, second: (
        torch.tensor([[a == "A", b == "B"] for a, b in zip(first, second, strict=True)]).float().mean()
    ),
    "length_matched": lambda w, n, o, tolerance: w[
        (n - o).abs() / torch.stack([n, o]).max(0).values <= tolerance
    ].mean(),
}

# --- mistakes


def as_ranks(ranking, rewards, best=-1):
    """Tau of scores that are the entries of the ranking themselves."""
    return scipy.stats.kendalltau(best * ranking.numpy(), rewards.numpy()).statistic


def changes_of(before, after):
    return (after - before).double().numpy()


def other_halves(before, after, draws):
    return resampled(torch.zeros_like(after), after, draws) - np.array(
        resampled(torch.zeros_like(before), before, draws.flip(0))
    )


def plain_mean(table):
    return statistics.fmean(table.flatten().tolist())


def whole_words(text):
    """Only words that are a number from beginning to end, a dollar sign in front left out."""

    def tokens(part):
        stripped = [word.removeprefix("$").replace(",", "") for word in part.split()]
        return [float(word) for word in stripped if re.fullmatch(r"-?\d+(\.\d+)?", word)]

    behind = behind_marker(text)
    return tokens(text)[-1] if behind is None else tokens(behind)[0]


WRONG = {
    "kendall_tau": {
        "ties_ignored": [lambda r, x: tau(r, x, divisor=lambda pairs, untied: pairs)],
        "ties_dropped": [
            lambda r, x: tau(r, x, divisor=lambda pairs, untied: untied),
            lambda r, x: 2 * float(metrics.pairwise_accuracy([-r.tolist().index(k) for k in range(len(r))], x)) - 1,
        ],
        "ties_discordant": [lambda r, x: tau(r, x, tied=-1)],
        "ties_discordant_of_all": [
            lambda r, x: tau(r, x, tied=-1, divisor=lambda pairs, untied: pairs),
            lambda r, x: np.mean([1 if x[i] > x[j] else -1 for i, j in combinations(r.tolist(), 2)]),
        ],
        "ties_concordant": [lambda r, x: tau(r, x, tied=1)],
        "items_for_ranks": [as_ranks],
        "items_for_scores": [lambda r, x: as_ranks(r, x, best=1), lambda r, x: scipy.stats.kendalltau(r, x)[0]],
        "sign": [lambda r, x: -tau(r, x), lambda r, x: scipy.stats.kendalltau(r.argsort(), x).statistic],
        "not_divided": [lambda r, x: counts(r, x)[0]],
    },
    "paired_bootstrap": {
        "before_not_resampled": [
            lambda b, a, d: resampled(b, a, d, change=lambda old, new: new - plain_mean(b)),
            lambda b, a, d: a[d].mean((1, 2)) - b.mean(),
        ],
        "after_not_resampled": [lambda b, a, d: resampled(b, a, d, change=lambda old, new: plain_mean(a) - old)],
        "other_draws": [other_halves],
        "answers_drawn": [lambda b, a, d: [changes_of(b, a)[:, draw].mean() for draw in d.tolist()]],
        "single_answers_drawn": [lambda b, a, d: [changes_of(b, a).ravel()[draw].mean() for draw in d.tolist()]],
        "before_minus_after": [lambda b, a, d: resampled(a, b, d)],
        "prompts_summed": [lambda b, a, d: resampled(b, a, d, mean=sum)],
        "all_summed": [lambda b, a, d: (a[d] - b[d]).sum((1, 2))],
        "relative": [lambda b, a, d: a[d].sum((1, 2)) / b[d].sum((1, 2)) - 1],
    },
    "blind_vote": {
        "longer": [by(lambda text, right: len(text)), by(lambda text, right: len(text.strip()))],
        "shorter": [by(lambda text, right: -len(text))],
        "always_first": [lambda prompt, a, b: 1],
        "no_ties": [
            lambda prompt, a, b: score(prompt, a) >= score(prompt, b),
            lambda prompt, a, b: 0.0 if reading.quality(prompt, b) > reading.quality(prompt, a) else 1.0,
        ],
        "exact_text": [by(lambda text, right: text == right)],
        "sentences_wrong": [by(lambda text, right: words(text) == words(right))],
        "sentences_equal": [lambda prompt, a, b: vote(score(prompt, a) > 0, score(prompt, b) > 0)],
        "contained": [by(lambda text, right: text.lower().count(right.lower()) > 0)],
        "contained_as_written": [by(lambda text, right: right in text)],
        "other_better": [lambda prompt, a, b: vote(score(prompt, b), score(prompt, a))],
    },
    "seed_interval": {
        "normal_quantile": [lambda c: spread(c.mean(1), 1.96)],
        "ddof_zero": [lambda c: spread(c.mean(1), student(len(c) - 1), ddof=0)],
        "normal_and_ddof_zero": [lambda c: spread(c.mean(1), 1.96, ddof=0)],
        "all_pooled": [lambda c: spread(c.flatten(), student(c.numel() - 1))],
        "prompts_for_trainings": [lambda c: torch_interval(c.T)],
        "root_missing": [lambda c: spread(c.mean(1), student(len(c) - 1), root=False)],
        "one_sided": [lambda c: spread(c.mean(1), student(len(c) - 1, 0.95))],
        "standard_error": [lambda c: spread(c.mean(1), 1)],
        "percentiles": [lambda c: c.mean(1).quantile(torch.tensor([0.025, 0.975]))],
        "degrees_of_freedom": [lambda c: spread(c.mean(1), student(len(c)))],
    },
    "equal_budget": {
        "old_student": [lambda n, per, steps: [[0, steps / (n / per)]] * (n // per)],
        "all_steps_each": [lambda n, per, steps: plan(n // per, steps)],
        "per_round_for_rounds": [lambda n, per, steps: plan(per, steps / per)],
        "counted_from_one": [lambda n, per, steps: np.add(plan(n // per, steps * per // n), [1, 0])],
        "responses_for_rounds": [lambda n, per, steps: plan(n, steps / n)],
        "steps_by_responses": [lambda n, per, steps: plan(n // per, steps / per)],
        "steps_summed": [lambda n, per, steps: plan(n // per, steps * per // n).cumsum(0) * [0, 1] + plan(n // per, 0)],
    },
    "gsm8k_answer": {
        "first_number": [lambda text: numbers(text)[0]],
        "marker_ignored": [
            lambda text: numbers(text)[-1],
            lambda text: numbers(behind_marker(text) or text)[-1],
        ],
        "commas_split": [searched(r"-?\d+\.\d+|-?\d+")],
        "decimals_split": [searched(r"-?[\d,]*\d", lambda found: int(found.replace(",", "")))],
        "point_removed": [lambda text: searched(r"-?\d(?:[\d,.]*\d)?", lambda f: float(re.sub("[,.]", "", f)))(text)],
        "sign_lost": [lambda text: abs(answer(text))],
        "digits_only": [searched(r"[0-9]+", int)],
        "digits_anywhere": [lambda text: int(re.findall("[0-9]+", text)[-1])],
        "full_stop": [whole_words],
    },
    "win_rate": {
        "ties_dropped": [lambda a, b: pairs_won(a, b, 0) / sum(x != y for x, y in zip(a, b, strict=True))],
        "ties_zero": [lambda a, b: pairs_won(a, b, 0) / len(a)],
        "ties_one": [lambda a, b: pairs_won(a, b, 1) / len(a)],
        "not_flipped": [
            lambda a, b: [*a, *b].count("A") / len([*a, *b]),
            lambda a, b: np.mean([np.array(x) == "A" for x in (a, b)]),
        ],
        "first_order_only": [lambda a, b: sum(x == "A" for x in a) / len(a)],
        "second_order_only": [lambda a, b: sum(x == "B" for x in b) / len(b)],
        "old_model": [lambda a, b: 1 - pairs_won(a, b, 0.5) / len(a)],
    },
    "length_matched": {
        "all_pairs": [lambda w, n, o, t: np.mean(w.numpy())],
        "absolute": [lambda w, n, o, t: mean_kept(w, n, o, lambda x, y: abs(x - y) <= t)],
        "relative_to_shorter": [lambda w, n, o, t: mean_kept(w, n, o, alike(t, min))],
        "relative_to_old": [lambda w, n, o, t: mean_kept(w, n, o, lambda x, y: abs(x - y) / y <= t)],
        "sign_kept": [lambda w, n, o, t: mean_kept(w, n, o, lambda x, y: x - y < t * max(x, y))],
        "different_lengths": [lambda w, n, o, t: mean_kept(w, n, o, lambda x, y: not alike(t)(x, y))],
        "new_not_longer": [lambda w, n, o, t: mean_kept(w, n, o, lambda x, y: y >= x)],
        "summed": [lambda w, n, o, t: mean_kept(w, n, o, alike(t), divide=False)],
        "divided_by_all": [lambda w, n, o, t: mean_kept(w, n, o, alike(t), divide=False) / len(w)],
    },
}
KNOWN = {
    "kendall_tau": agreement.TAU_MISTAKES,
    "paired_bootstrap": agreement.BOOTSTRAP_MISTAKES,
    "blind_vote": agreement.VOTE_MISTAKES,
    "seed_interval": experiments.INTERVAL_MISTAKES,
    "equal_budget": experiments.BUDGET_MISTAKES,
    "gsm8k_answer": evaluation.NUMBER_MISTAKES,
    "win_rate": evaluation.WIN_MISTAKES,
    "length_matched": evaluation.LENGTH_MISTAKES,
}
