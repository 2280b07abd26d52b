"""A local judge: what it does with known answers to its questions, and what stands beside its win rate."""

import json

import numpy as np
import pytest

import padlab
from padlab.study import local_judge as module
from padlab.study.local_judge import judge_agreement, local_win_rate

TEXTS = ["a", "bb", "cccc", "dddddddddd"]


def rows(*answers):
    return [{"prompt": f"p{k}", "responses": list(texts)} for k, texts in enumerate(answers)]


@pytest.fixture
def prefers(monkeypatch):
    """A judge with a rule: probability of choosing the text that stands first over the one that stands second."""

    def install(rule):
        def answered(table, judge, method, votes, **_):
            assert method == "pairwise"
            assert votes
            first = [[[0.5, rule(*r["responses"])], [rule(*r["responses"][::-1]), 0.5]] for r in table]
            logit = lambda p: np.log(p / (1 - p))  # noqa: E731
            p = [1 / (1 + np.exp(-(logit(v[0][1]) - logit(v[1][0])) / 2)) for v in first]
            columns = {"selection_votes": first, "selection_prob": [[q, 1 - q] for q in p]}
            return padlab.check_candidates(
                [{**r, **{c: v[k] for c, v in columns.items()}} for k, r in enumerate(table)]
            )

        monkeypatch.setattr(module, "add_selection_probs", answered)

    return install


def shares(found):
    return {name: values.tolist() for name, values in found.per_prompt.items()}


def test_a_judge_that_likes_long_texts(prefers, tiny):
    prefers(lambda first, second: 0.9 if len(first) > len(second) else 0.1)
    found = shares(local_win_rate(tiny.teacher, rows(["cccc", "a"], ["bb", "a"]), rows(["a", "bb"], ["bb", "bb"])))
    assert found["win_rate"] == [0.5, 0.25]  # a win and a loss; a tie of equal texts and a loss
    assert found["ties"] == [0.0, 0.5]
    assert found["order_consistency"] == [1.0, 1.0]  # equal texts are no choice
    assert found["longer"] == [0.5, 0.25]
    assert found["mean_probability"] == pytest.approx([(0.9 + 0.1) / 2, (0.5 + 0.1) / 2])


def test_a_judge_that_follows_the_place_ties_everything(prefers, tiny):
    prefers(lambda first, second: 0.95)
    found = shares(local_win_rate(tiny.teacher, rows(["cccc"], ["a"]), rows(["a"], ["bb"])))
    assert found["win_rate"] == found["mean_probability"] == [0.5, 0.5]
    assert found["ties"] == [1.0, 1.0]
    assert found["order_consistency"] == [0.0, 0.0]
    assert found["prob_first_place"] == [0.95, 0.95]


def test_a_judge_without_opinion_ties_everything(prefers, tiny):
    prefers(lambda first, second: 0.5)
    found = shares(local_win_rate(tiny.teacher, rows(["cccc"]), rows(["a"])))
    assert (found["win_rate"], found["ties"], found["order_consistency"]) == ([0.5], [1.0], [0.0])


def test_the_judge_is_not_asked_about_equal_texts(monkeypatch, tiny):
    asked, real = [], module.add_selection_probs
    monkeypatch.setattr(
        module, "add_selection_probs", lambda rows, *a, **k: (asked.extend(rows), real(rows, *a, **k))[1]
    )
    found = local_win_rate(tiny.teacher, rows(["one", "two"], ["same"]), rows(["one", "more"], ["same"]))
    assert [row["responses"] for row in asked] == [["two", "more"]]
    assert shares(found)["win_rate"][1] == shares(found)["mean_probability"][1] == 0.5
    assert shares(found)["ties"][1] == 1.0
    for name in ("order_consistency", "prob_first_place"):  # of the pair that was asked
        assert np.isnan(found.per_prompt[name]).tolist() == [False, True]
    alone = local_win_rate(tiny.teacher, rows(["one", "two"]), rows(["one", "more"]))
    assert found.per_prompt["prob_first_place"][0] == pytest.approx(alone.per_prompt["prob_first_place"][0], abs=1e-5)
    assert shares(local_win_rate(tiny.teacher, rows(["a"]), rows(["a"])))["win_rate"] == [0.5]
    assert len(asked) == 2


def test_only_texts_of_similar_length_are_matched(prefers, tiny):
    prefers(lambda first, second: 0.9 if first < second else 0.1)
    found = local_win_rate(tiny.teacher, rows(["a" * 10], ["a" * 4]), rows(["b" * 12], ["b" * 12]))
    assert shares(found)["win_rate"] == [1.0, 1.0]
    assert shares(found)["win_rate_matched"][0] == 1.0
    assert np.isnan(shares(found)["win_rate_matched"][1])
    assert found.intervals()["win_rate_matched"].count == 1


def test_swapping_the_tables_swaps_the_result(tiny):
    """With a real model: win rates sum to 1, ties and consistency stay."""
    first = padlab.sample_responses(tiny.student, ["Hi", "Name a bird."], 3, max_new_tokens=6)
    second = padlab.sample_responses(tiny.student, ["Hi", "Name a bird."], 3, max_new_tokens=6, seed=1)
    ab, ba = local_win_rate(tiny.teacher, first, second), local_win_rate(tiny.teacher, second, first)
    for name in ("win_rate", "mean_probability", "longer"):
        assert ab.per_prompt[name] + ba.per_prompt[name] == pytest.approx(1, abs=1e-5)
    for name in ("ties", "order_consistency", "prob_first_place"):
        assert ab.per_prompt[name] == pytest.approx(ba.per_prompt[name], abs=1e-5)


def test_every_table_says_whose_judgement_it_is(prefers, tiny):
    prefers(lambda first, second: 0.9 if len(first) > len(second) else 0.1)
    tables = rows(["a"], ["bb"]), rows(["bb"], ["a"])
    alone = str(local_win_rate(tiny.teacher, *tables))
    assert alone.startswith(f"local judge {tiny.teacher.name}, not comparable with published numbers; agreement with")
    ranked = [{"prompt": "p", "responses": TEXTS, "gpt4_preference": [0.1, 0.2, 0.9, 0.3]} for _ in range(3)]
    agreement = judge_agreement(tiny.teacher, ranked)
    assert str(agreement) in str(local_win_rate(tiny.teacher, *tables, agreement=agreement))


def test_agreement_compares_best_and_worst_where_they_differ(prefers, tiny, tmp_path):
    prefers(lambda first, second: 0.9 if len(first) > len(second) else 0.1)
    ranked = [
        {"prompt": "long is better", "responses": TEXTS, "gpt4_preference": [0.0, 0.2, 0.3, 0.9]},
        {"prompt": "short is better", "responses": TEXTS, "gpt4_preference": [0.9, 0.2, 0.3, 0.1]},
        {"prompt": "no clear difference", "responses": TEXTS, "gpt4_preference": [0.10, 0.11, 0.12, 0.19]},
    ]
    (path := tmp_path / "ranked.jsonl").write_text("\n".join(map(json.dumps, ranked)))
    found = judge_agreement(tiny.teacher, path)
    assert (found.accuracy.estimate, found.accuracy.count) == (0.5, 2)
    assert found.longer.estimate == 0.5
    one = judge_agreement(tiny.teacher, path, limit=1).accuracy
    assert one.estimate == 1
    assert one.low < 0.5  # one pair proves little
    with pytest.raises(ValueError, match="limit must be at least 1"):
        judge_agreement(tiny.teacher, path, limit=0)
    partly = {**ranked[0], "gpt4_preference": [None, 0.2, 0.3, 0.9]}
    assert judge_agreement(tiny.teacher, [partly]).accuracy.count == 1
    with pytest.raises(ValueError, match=r"no prompt has two answers whose preferences differ by 0\.1"):
        judge_agreement(tiny.teacher, ranked[2:])
    with pytest.raises(ValueError, match="row 0: no column gpt4_preference"):
        judge_agreement(tiny.teacher, [{"prompt": "p", "responses": TEXTS}])


def test_other_prompts_or_numbers_are_refused(tiny):
    for other in ([{"prompt": "x", "responses": ["a"]}], rows(["a", "b"]), rows(["a"], ["b"])):
        with pytest.raises(ValueError, match="the same prompts, with as many responses"):
            local_win_rate(tiny.teacher, rows(["a"]), other)
