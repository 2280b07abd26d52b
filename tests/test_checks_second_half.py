"""The check of a hypothesis, which runs an experiment on several seeds, and the inputs of notebooks 05 to 07.

The other checks of these notebooks are tested in test_checks.py, with the functions of second_half_solutions.py.
"""

import math
import random
import re
import sys

import numpy as np
import pytest
import scipy.stats
import torch

from padlab import checks
from padlab.checks import agreement, evaluation, experiments, verdict
from padlab.checks.experiments import CLAIMS, SEEDS
from padlab.study.benchmarks.gsm8k import gsm8k_correct
from padlab.worlds import reading
from tests.second_half_solutions import KNOWN, behind_marker

BETTER, WORSE, UNCLEAR = CLAIMS


def experiment(difference, noise=0.06):
    """Values under a and b of a training whose outcome the seed decides; a - b is `difference` on average."""

    def values(seed):
        rng = random.Random(f"{seed} {difference}")
        level = rng.uniform(0.3, 0.6)
        return level + difference + rng.gauss(0, noise), level

    return values


def t_interval(function):
    """The paired 95 % interval of a - b over the seeds, by scipy."""
    a, b = zip(*(function(seed) for seed in range(SEEDS)), strict=True)
    return scipy.stats.ttest_rel(a, b).confidence_interval(0.95)


# --- a hypothesis


def test_a_claim_passes_where_the_interval_supports_it_and_no_other_does():
    supported = []
    for difference in (-0.3, -0.06, -0.03, 0.0, 0.03, 0.06, 0.3):
        function = experiment(difference)
        low, high = t_interval(function)
        supported.append(BETTER if low > 0 else WORSE if high < 0 else UNCLEAR)
        for claim in CLAIMS:
            given = checks.hypothesis(function, claim)
            assert (given.state, given.mistake) == (
                ("passed", "") if claim == supported[-1] else ("hint", "wrong_claim")
            )
            shown = re.findall(r"-?\d+\.?\d*(?:e-\d+)?", given.message.split("interval, from")[1])
            assert [float(number) for number in shown[:2]] == pytest.approx([low, high], rel=1e-3, abs=1e-5)
            assert f'"{supported[-1]}"' in given.message
    assert set(supported) == set(CLAIMS)


def test_the_order_of_the_settings_counts():
    def turned(seed):
        return experiment(0.3)(seed)[::-1]

    assert checks.hypothesis(experiment(0.3), BETTER).state == checks.hypothesis(turned, WORSE).state == "passed"
    assert "above 0" in checks.hypothesis(experiment(0.3), BETTER).message
    assert "below 0" in checks.hypothesis(turned, WORSE).message
    assert "contains 0" in checks.hypothesis(lambda seed: (0.5 + (-1) ** seed / 10, 0.5), UNCLEAR).message


def test_the_pairing_counts():
    """Far apart from seed to seed, always a little better: only the paired interval is above 0."""
    values = [0.1, 0.9, 0.4, 0.7]
    given = checks.hypothesis(lambda seed: (values[seed] + 0.05 + seed / 1000, values[seed]), BETTER)
    assert given.state == "passed"


def test_an_experiment_is_run_on_four_seeds_and_once_more_on_the_first():
    seen = []

    def function(seed):
        seen.append(seed)
        return torch.tensor([0.5 + seed / 100, 0.4])

    assert checks.hypothesis(function, BETTER).state == "passed"
    assert seen == [0, 1, 2, 3, 0]
    assert all(type(seed) is int for seed in seen)


def counter():
    calls = []

    def function(seed):
        calls.append(seed)
        return 0.5 + len(calls) / 100, 0.4

    return function


HINTS = {
    "one_seed": [
        lambda seed: (0.6, 0.5), lambda seed: np.array([0.5, 0.5]), lambda seed: (0.6 + seed / 10**8, 0.5),
    ],
    "not_reproducible": [counter(), lambda seed: (np.random.default_rng().random(), 0.5)],
    "same_settings": [lambda seed: (seed / 10, seed / 10), lambda seed: [experiment(0.1)(seed)[0]] * 2],
    "not_pairs": [
        lambda seed: 0.5, lambda seed: (0.5, 0.4, seed), lambda seed: [], lambda seed: (math.nan, 0.5),
        lambda seed: (0.5 + seed, math.inf), lambda seed: [[0.5, seed]], lambda seed: (0.5, 0.4)[: 2 - (seed == 2)],
    ],
    "type": [lambda seed: "0.5 0.4", lambda seed: {"a": 0.5, "b": 0.4}, lambda seed: (0.5, None), lambda seed: 1j],
    "error": [lambda seed: 1 / 0, lambda: (1, 2), lambda seed: (1 / (2 - seed), 0.5), lambda seed: sys.exit(1)],
    "not attempted": [lambda seed: (0.5 + seed, 0.4) if seed < 3 else None],
    "call": ["0.5", (0.6, 0.5)],
}  # fmt: skip


@pytest.mark.parametrize("key", HINTS)
def test_what_is_wrong_with_an_experiment_is_named(key):
    for function in HINTS[key]:
        for claim in CLAIMS:
            given = checks.hypothesis(function, claim)
            assert (given.state, given.mistake) == ("hint", key), given
            assert given._repr_html_()
            assert len(given.message) < 400


def test_an_unusable_experiment_is_not_run_to_the_end():
    seen = []
    checks.hypothesis(lambda seed: seen.append(seed) or 0.5, BETTER)
    assert seen == [0]
    message = checks.hypothesis(lambda seed: (1 / (2 - seed), 0.5), BETTER).message
    assert message == "For seed 2, your function raised ZeroDivisionError: division by zero"


class Deceptive:
    __class__ = property(lambda self: 1 / 0)


@pytest.mark.parametrize("claim", ["A is better", "a", "", 1, ["a is better"], {"a"}, Deceptive])
def test_an_unknown_claim_is_named_before_anything_is_trained(claim):
    def never(seed):
        raise AssertionError("trained")

    given = checks.hypothesis(never, claim() if claim is Deceptive else claim)
    assert (given.state, given.mistake) == ("hint", "unknown_claim")
    assert all(known in given.message for known in CLAIMS)


def test_stubs_are_not_attempted():
    def stub(seed):
        raise NotImplementedError

    for function, claim in ((stub, BETTER), (lambda seed: None, UNCLEAR), (lambda seed: ..., BETTER), (stub, None)):
        given = checks.hypothesis(function, claim)
        assert (given.state, given.mistake) == ("not attempted", "")
    assert checks.hypothesis(experiment(0.3), ...).state == "not attempted"


def test_a_difference_that_is_the_same_for_every_seed_has_an_interval():
    given = checks.hypothesis(lambda seed: (seed + 0.5, seed), BETTER)
    assert given.state == "passed"
    assert "from 0.5 to 0.5" in given.message


def test_the_docstring_says_what_to_write():
    text = checks.hypothesis.__doc__
    assert "\n    Write: " in text
    assert all(f'"{claim}"' in text for claim in CLAIMS)
    assert "as long as two" in text


# --- the inputs of the other checks

DRAW = {
    "kendall_tau": (agreement._kendall_tau, agreement._draw_rewards),
    "paired_bootstrap": (agreement._paired_bootstrap, agreement._draw_resamples),
    "blind_vote": (agreement._blind_vote, agreement._draw_answers),
    "seed_interval": (experiments._seed_interval, experiments._draw_changes),
    "equal_budget": (experiments._equal_budget, experiments._draw_budget),
    "gsm8k_answer": (evaluation._gsm8k_answer, evaluation._draw_text),
    "win_rate": (evaluation._win_rate, evaluation._draw_choices),
    "length_matched": (evaluation._length_matched, evaluation._draw_lengths),
}


def drawn(name, seeds=50):
    rng = np.random.default_rng(0)
    return [DRAW[name][1](rng, size) for _ in range(seeds) for size in verdict.SIZES]


@pytest.mark.parametrize("name", DRAW)
def test_inputs_that_tell_all_mistakes_apart_are_found_soon(name, monkeypatch):
    right, draw = DRAW[name]
    monkeypatch.setattr(verdict, "DRAWS", 40)
    for seed in range(40):
        inputs = verdict.draw_inputs(np.random.default_rng(seed), right, KNOWN[name], draw)
        answers = [verdict.answers_of(function, inputs) for function in (right, *KNOWN[name])]
        for k, first in enumerate(answers):
            assert not any(all(map(verdict.agree, first, second)) for second in answers[k + 1 :]), seed


@pytest.mark.parametrize("name", DRAW)
def test_every_input_has_a_right_answer(name):
    for arguments in drawn(name, 20):
        assert verdict.as_tensor(DRAW[name][0](*arguments)).isfinite().all()


def test_rewards_have_ties_and_are_not_all_equal():
    for ranking, rewards in drawn("kendall_tau"):
        assert sorted(ranking.tolist()) == list(range(len(rewards)))
        assert 1 < len(set(rewards.tolist())) < len(rewards)


def test_notes_and_answers_are_of_every_kind():
    qualities, ends = set(), set()
    for prompt, first, second in drawn("blind_vote", 20):
        qualities.add((reading.quality(prompt, first), reading.quality(prompt, second)))
        ends |= {text.endswith(".") for text in (first, second)} | {text.isupper() for text in (first, second)}
        assert len(prompt) < verdict.LONGEST
    assert qualities == {(a, b) for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)}


def test_budgets_divide():
    for responses, per_round, steps in drawn("equal_budget"):
        rounds = responses / per_round
        assert (responses % per_round, steps % rounds, steps % per_round) == (0, 0, 0)
        assert rounds != per_round


def test_worked_answers_are_of_every_kind_and_the_benchmark_accepts_the_number():
    texts = [text for (text,) in drawn("gsm8k_answer")]
    for text in texts:
        assert gsm8k_correct(text, f"#### {evaluation._gsm8k_answer(text)}")
        result = re.search(r"= \$?(-?[\d,.]*\d)", text)[1].replace(",", "")
        assert float(result) == evaluation._gsm8k_answer(text)
        assert "=" not in (behind_marker(text) or "")
    for kind in ("####", "\\$", r"\d,\d{3}", r"\d\.\d\d", r"= -\d", r"\d\.$", "after"):
        assert 0.02 < np.mean([re.search(kind, text) is not None for text in texts]) < 0.98, kind


def test_some_lengths_match_and_some_do_not():
    for wins, new, old, tolerance in drawn("length_matched"):
        share = (new - old).abs() / torch.maximum(new, old)
        assert len(wins) > (share <= tolerance).sum() > 0
        assert (share / tolerance - 1).abs().min() > 0.02, "far enough from the limit for any rounding"
