"""Agreement against definitions by hand; intervals that cover; before and after on the same prompts."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

import padlab
from padlab.phases.rewards import add_rewards
from padlab.rankings.intervals import mean_interval
from padlab.study.agreement import evaluate_samples, rank_agreement
from padlab.study.metrics import Report, paired_differences, prompt_agreement, repetition

PROMPTS = [f"Name {k} things." for k in range(6)]


@pytest.fixture(scope="module")
def table(tiny):
    drawn = padlab.sample_responses(tiny.student, PROMPTS, n=4, max_new_tokens=8)
    return padlab.add_selection_probs(drawn, tiny.teacher)


def by_hand(ours, theirs, beta):
    """Every measure by its definition, with loops."""
    n = len(ours)
    pairs = list(itertools.combinations(range(n), 2))
    signs = [(np.sign(ours[i] - ours[j]), np.sign(theirs[i] - theirs[j])) for i, j in pairs]
    untied = [sum(s[k] != 0 for s in signs) for k in (0, 1)]
    tau = sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1]) if all(untied) else math.nan
    counted = [0.5 if a == 0 else float(a == b) for a, b in signs if b != 0]
    p, q = (
        np.array(
            [
                sum(beta * s[r[k]] - logsumexp([beta * s[i] for i in r[k:]]) for k in range(n))
                for r in itertools.permutations(range(n))
            ]
        )
        for s in (ours, theirs)
    )
    m = np.logaddexp(p, q) - math.log(2)
    first = [theirs[k] == max(theirs) for k in range(n) if ours[k] == max(ours)]
    return {
        "jsd": float((np.exp(p) * (p - m)).sum() + (np.exp(q) * (q - m)).sum()) / 2,
        "kendall_tau": tau,
        "top1": sum(first) / len(first) if len(set(theirs)) > 1 else math.nan,
        "pairwise_accuracy": sum(counted) / len(counted) if counted else math.nan,
    }


ties = st.lists(st.integers(-6, 0).map(lambda k: k / 4), min_size=5, max_size=5)


@settings(max_examples=80, deadline=None)
@given(ties, ties, st.integers(1, 5), st.floats(0.1, 20))
def test_every_measure_by_its_definition(ours, theirs, n, beta):
    expected = by_hand(ours[:n], theirs[:n], beta)
    assert prompt_agreement(ours[:n], theirs[:n], beta) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_student_that_is_its_own_teacher_agrees(tiny, table):
    report = rank_agreement(tiny.student, tiny.student, table)
    assert report.per_prompt["jsd"] == pytest.approx(np.zeros(6), abs=1e-9)
    for name in ("kendall_tau", "top1", "pairwise_accuracy"):
        assert report.per_prompt[name].tolist() == [1.0] * 6
    assert all(e.low == e.high == e.estimate for n, e in report.intervals().items() if n != "jsd")


def test_a_report_measures_both_models_on_the_given_responses(tiny, table):
    student, teacher = tiny
    report = rank_agreement(student, teacher, table, beta=3.0)
    ours, theirs = (add_rewards(table, m, "r")["r"] for m in (student, teacher))
    for row in range(6):
        expected = by_hand(ours[row], theirs[row], 3.0)
        for name, values in report.per_prompt.items():
            assert values[row] == pytest.approx(expected[name], abs=1e-5), name
    assert report.table["responses"][:] == table["responses"][:]
    text = str(report)
    assert all(name in text for name in ("jsd", "kendall_tau", "top1", "pairwise_accuracy", "nats"))


def test_given_teacher_rewards_are_used_and_the_students_are_not(tiny, table):
    student, teacher = tiny
    stale = add_rewards(add_rewards(table, student, "teacher_reward"), teacher, "student_reward")
    report = rank_agreement(student, teacher, stale)  # the "teacher" column holds the student's own rewards
    assert report.per_prompt["kendall_tau"].tolist() == [1.0] * 6


def test_alpha_mixes_the_selection_probabilities_in(tiny, table):
    student, teacher = tiny
    alone = rank_agreement(student, teacher, table, alpha=1.0).per_prompt
    scaled = rank_agreement(student, teacher, table, alpha=1.0, match_scale=True).per_prompt
    assert list(scaled["kendall_tau"]) == list(alone["kendall_tau"])
    assert list(scaled["jsd"]) != list(alone["jsd"])
    ours = add_rewards(table, student, "r")["r"]
    for row in range(6):
        expected = by_hand(ours[row], np.log(table["selection_prob"][row]), 10.0)
        assert alone["jsd"][row] == pytest.approx(expected["jsd"], abs=1e-5)
    bare = table.remove_columns("selection_prob")
    assert rank_agreement(student, teacher, bare).per_prompt["jsd"].shape == (6,)
    with pytest.raises(ValueError, match=r"selection_prob.*add_selection_probs"):
        rank_agreement(student, teacher, bare, alpha=0.5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": 0.0}, "beta must be a positive number"),
        ({"beta": -1.0}, "beta must be a positive number"),
        ({"beta": float("nan")}, "beta must be a positive number"),
        ({"alpha": -0.5}, r"alpha must lie in \[0, 1\]"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\]"),
        ({"alpha": float("nan")}, r"alpha must lie in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_refused(tiny, table, setting, message):
    with pytest.raises(ValueError, match=message):
        rank_agreement(tiny.student, tiny.teacher, table.remove_columns("selection_prob"), **setting)


def test_identical_responses_and_single_ones_do_not_crash(tiny):
    rows = [
        {"prompt": "a", "responses": ["same", "same", "same"]},
        {"prompt": "b", "responses": ["alone"]},
        {"prompt": "c", "responses": ["one", "two", "three"]},
    ]
    report = rank_agreement(tiny.student, tiny.teacher, padlab.check_candidates(rows))
    assert np.isnan(report.per_prompt["kendall_tau"][:2]).all()
    assert report.per_prompt["jsd"][:2] == pytest.approx([0, 0], abs=1e-6)
    assert report.intervals()["kendall_tau"].count == 1
    assert report.intervals()["jsd"].count == 3
    assert "nan" in str(report)


def test_a_bad_row_is_named(tiny, table):
    rows = [{**row, "teacher_reward": [-1.0, -2.0, float("nan"), -3.0]} for row in table]
    with pytest.raises(ValueError, match="row 0, response 2: teacher_reward is nan"):
        rank_agreement(tiny.student, tiny.teacher, rows)


# --- intervals


@pytest.mark.parametrize("draw", ["normal", "exponential", "kendall"])
def test_intervals_cover_the_truth(draw):
    """95 % intervals hold the true mean in about 95 of 100 worlds (a little less when skewed)."""
    rng, inside = np.random.default_rng(7), []
    taus = np.array([-1, -1 / 3, 1 / 3, 1])
    for _ in range(200):
        values = {
            "normal": lambda: rng.normal(size=40),
            "exponential": lambda: rng.exponential(size=40) - 1,
            "kendall": lambda: rng.choice(taus, size=40),
        }[draw]()
        found = mean_interval(values)
        inside.append(found.low <= 0 <= found.high)
        assert found.low <= found.estimate <= found.high
    assert 0.88 <= np.mean(inside) <= 0.99


def test_an_estimate_by_a_bootstrap_of_our_own():
    values = np.random.default_rng(1).exponential(size=60)
    rng = np.random.default_rng(2)
    means = values[rng.integers(60, size=(20_000, 60))].mean(1)
    found = mean_interval(values)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.03)
    assert found == mean_interval(values)
    assert found.count == 60


def test_undefined_values_are_left_out():
    values = [0.1, np.nan, 0.3, 0.5]
    assert mean_interval(values) == mean_interval([0.1, 0.3, 0.5])
    only = mean_interval([np.nan, 2.0])
    assert (only.estimate, only.count) == (2.0, 1)
    assert math.isnan(only.low)
    assert math.isnan(only.high)
    assert math.isnan(mean_interval([np.nan, np.nan]).estimate)
    same = mean_interval([1.0] * 5)
    assert (same.estimate, same.low, same.high) == (1.0, 1.0, 1.0)


def test_paired_differences_are_sharper_than_two_intervals():
    rng = np.random.default_rng(3)
    before = rng.normal(size=80)
    after = before + 0.2 + 0.1 * rng.normal(size=80)
    change = paired_differences(Report({"x": before}), Report({"x": after}))["x"]
    assert change.estimate == pytest.approx((after - before).mean())
    assert change.low > 0.1
    assert change.high < 0.3
    assert mean_interval(after).low < mean_interval(before).high  # the two intervals by themselves overlap
    assert change == mean_interval(after - before)


def test_pairs_with_an_undefined_side_are_left_out():
    before, after = (Report({"x": np.array(v)}) for v in ([1.0, np.nan, 2.0, 3.0], [2.0, 5.0, np.nan, 4.5]))
    assert paired_differences(before, after)["x"] == mean_interval([1.0, 1.5])


def test_only_the_same_prompts_can_be_compared(tiny, table):
    first = rank_agreement(tiny.student, tiny.teacher, table)
    turned = rank_agreement(tiny.student, tiny.teacher, table.select(range(5, -1, -1)))
    fewer = rank_agreement(tiny.student, tiny.teacher, table.select(range(5)))
    for other in (turned, fewer):
        with pytest.raises(ValueError, match="same prompts in the same order"):
            paired_differences(first, other)
    assert all(change.estimate == 0 for change in paired_differences(first, first).values())


# --- what the student writes


def test_evaluate_samples_by_hand(tiny):
    student, teacher = tiny
    report = evaluate_samples(student, teacher, PROMPTS, n=3, max_new_tokens=12, seed=5)
    again = add_rewards(padlab.sample_responses(student, PROMPTS, 3, max_new_tokens=12, seed=5), teacher)
    assert list(report.table) == list(again)
    for row, entry in enumerate(again):
        lengths = [len(ids) for ids in entry["response_ids"]]
        assert report.per_prompt["teacher_reward"][row] == pytest.approx(sum(entry["teacher_reward"]) / 3)
        assert report.per_prompt["length"][row] == pytest.approx(sum(lengths) / 3)
        assert report.per_prompt["finished"][row] == pytest.approx(sum(entry["finished"]) / 3)
        repeated = [repetition(ids) for ids in entry["response_ids"]]
        assert report.per_prompt["repetition"][row] == pytest.approx(sum(repeated) / 3)


def test_evaluate_samples_resume_in_a_folder(tiny, tmp_path):
    call = {"n": 2, "max_new_tokens": 4, "folder": tmp_path / "fresh"}
    first = evaluate_samples(tiny.student, tiny.teacher, PROMPTS[:2], **call)
    second = evaluate_samples(tiny.student, tiny.teacher, PROMPTS[:2], **call)
    assert all((first.per_prompt[k] == second.per_prompt[k]).all() for k in first.per_prompt)


@given(st.lists(st.integers(0, 2), max_size=12))
def test_repetition_by_counting(ids):
    grams = ["-".join(map(str, ids[k : k + 3])) for k in range(len(ids)) if k + 3 <= len(ids)]
    seen, repeated = set(), 0
    for gram in grams:
        repeated += gram in seen
        seen.add(gram)
    assert repetition(ids) == pytest.approx(repeated / len(grams) if grams else 0)


def test_first_places_that_tie_do_not_depend_on_the_order_of_the_responses():
    for order in itertools.permutations(range(3)):
        ours, theirs = ([values[k] for k in order] for values in ([2.0, 2.0, 1.0], [5.0, 4.0, 3.0]))
        assert prompt_agreement(ours, theirs)["top1"] == 0.5
        assert prompt_agreement(theirs, ours)["top1"] == 1.0
        assert math.isnan(prompt_agreement(ours, [1.0] * 3)["top1"])
