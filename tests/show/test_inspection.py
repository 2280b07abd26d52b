"""The inspector without a screen: right numbers, nothing asked twice, and honest remarks."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

import padlab
from padlab.show import inspection as module
from padlab.show.badges import badges
from padlab.show.inspect_table import rank_by_disagreement
from padlab.show.inspection import Inspection
from padlab.show.inspection_state import Response, responses_of_row
from padlab.show.inspector_page import as_python, earlier_preferences
from padlab.show.inspector_views import as_numbers, badges_view
from padlab.show.snapshot import ROLES, Snapshot, first_place_interval, preferences, ranking_name, snapshot_of_row

TEXTS = ["red", "a pale blue", "green as grass"]


@pytest.fixture
def inspected(tiny):
    return Inspection(*tiny, "Name a colour.", TEXTS, alpha=0.3, beta=2.0, judge=True, before=tiny.student).score()


@pytest.fixture
def calls(monkeypatch):
    """What models are asked: texts scored per role, and questions."""
    asked = {"scored": [], "questions": []}
    real = module.Inspection._score_new, module.Inspection._ask_new

    def score(self, role, responses, state):
        asked["scored"] += [(role, r.text) for r in responses]
        return real[0](self, role, responses, state)

    def ask(self, orders, state):
        asked["questions"] += orders
        return real[1](self, orders, state)

    monkeypatch.setattr(module.Inspection, "_score_new", score)
    monkeypatch.setattr(module.Inspection, "_ask_new", ask)
    return asked


def test_numbers_are_those_of_the_phases(tiny, inspected):
    """Two tokenizers; rewards, selection, votes and calibration as the table's functions give them."""
    snapshot = inspected.snapshot()
    for role, model in (("student", tiny.student), ("teacher", tiny.teacher), ("before", tiny.student)):
        assert snapshot.rewards[role] == pytest.approx(padlab.score(model, "Name a colour.", TEXTS), abs=1e-5)
    row = {"prompt": "Name a colour.", "responses": TEXTS}
    (entry,) = padlab.add_selection_probs([row], tiny.teacher, votes=True)
    assert snapshot.selection_prob == pytest.approx(entry["selection_prob"], abs=1e-6)
    assert snapshot.votes == pytest.approx(np.array(entry["selection_votes"]), abs=1e-6)
    for name in ("option_mass", "position_bias", "order_consistency"):
        assert getattr(snapshot, name) == pytest.approx(entry[name], abs=1e-6)


def test_distributions_are_plackett_luce_by_hand(inspected):
    snapshot, found = inspected.snapshot(), preferences(inspected.snapshot(), 0.3, 2.0)
    mixed = 0.7 * snapshot.rewards["teacher"] + 0.3 * np.log(snapshot.selection_prob)
    weights = {"teacher": np.exp(2 * mixed), "student": np.exp(2 * snapshot.rewards["student"])}
    by_hand = {}
    for role, w in weights.items():
        by_hand[role] = {
            r: math.prod(w[r[k]] / sum(w[j] for j in r[k:]) for k in range(3)) for r in itertools.permutations(range(3))
        }
        assert dict(zip(found.rankings, found.shares[role], strict=True)) == pytest.approx(by_hand[role], abs=1e-7)
        assert found.entropy[role] == pytest.approx(-sum(p * math.log(p) for p in by_hand[role].values()))
        assert found.top_choice[role] == pytest.approx(w / w.sum())
    m = {r: (by_hand["student"][r] + by_hand["teacher"][r]) / 2 for r in found.rankings}
    jsd = sum(p[r] * math.log(p[r] / m[r]) / 2 for p in by_hand.values() for r in m)
    assert found.agreement["jsd"] == pytest.approx(jsd, abs=1e-7)


def test_an_edit_asks_for_that_response_alone_and_undo_for_nothing(inspected, calls):
    before = preferences(inspected.snapshot(), 0.3, 2.0)
    inspected.edit(1, "violet")
    assert inspected.stale() == [1]
    with pytest.raises(ValueError, match="not scored yet"):
        inspected.snapshot()
    inspected.score()
    assert sorted(calls["scored"]) == [(role, "violet") for role in sorted(ROLES)]
    assert sorted(calls["questions"]) == sorted(
        [("red", "violet"), ("violet", "red"), ("violet", TEXTS[2]), (TEXTS[2], "violet")]
    )
    assert inspected.previous.responses[1].text == TEXTS[1]
    for asked in calls.values():
        asked.clear()
    inspected.undo()
    assert inspected.missing() == []
    after = preferences(inspected.score().snapshot(), 0.3, 2.0)
    assert after.shares["teacher"] == pytest.approx(before.shares["teacher"])
    assert calls == {"scored": [], "questions": []}


def test_alpha_and_beta_call_no_model(inspected, calls):
    for alpha, beta in ((0.0, 1.0), (1.0, 30.0)):
        inspected.look(alpha=alpha, beta=beta)
        preferences(inspected.snapshot(), alpha, beta)
    assert calls == {"scored": [], "questions": []}
    assert inspected.previous is None  # looking is no edit


def test_work_can_be_stopped_between_batches_and_goes_on(inspected, calls):
    inspected.put(["x", "y", "z"])
    total = len(inspected.missing())
    stops = iter([False, True])
    inspected.score(stop=lambda: next(stops))
    assert len(inspected.missing()) == total - 1
    assert calls["scored"] == [("before", t) for t in "xyz"]
    inspected.score()
    assert inspected.missing() == []
    assert len(calls["scored"]) == 9


def test_sampled_tokens_are_scored_as_they_were_sampled(tiny):
    table = padlab.sample_responses(tiny.student, ["Hi"], n=3, max_new_tokens=6)
    rewards = {m: padlab.add_rewards(table, getattr(tiny, m))["teacher_reward"][0] for m in ("student", "teacher")}
    snapshot = Inspection(*tiny, "Hi", responses_of_row(table[0])).score().snapshot()
    for role, values in rewards.items():
        assert snapshot.rewards[role] == pytest.approx(values, abs=1e-5)
    drawn = Inspection(*tiny, "Hi").draw(3, max_new_tokens=6)
    assert [r.text for r in drawn.state.responses] == table["responses"][0]


def test_an_edited_response_counts_its_end_as_before(tiny):
    inspection = Inspection(*tiny, "Hi", [Response("a", True), Response("b", True)])
    edited = inspection.edit(0, "c").score().snapshot()
    assert edited.finished == (True, True)
    assert len(edited.tokens["student"][0][0]) == 2  # the letter and the end of the turn


def test_conversations_and_exported_rows(tiny):
    talk = [{"role": "user", "content": "I am Ann."}, {"role": "assistant", "content": "Hello!"}]
    messages = [*talk, {"role": "user", "content": "Who am I?"}]
    inspection = Inspection(*tiny, messages, ["Ann", "Bob"], judge=True).score()
    snapshot = inspection.snapshot()
    assert snapshot.rewards["teacher"] == pytest.approx(padlab.score(tiny.teacher, messages, ["Ann", "Bob"]), abs=1e-5)
    row = inspection.as_row()
    padlab.check_candidates([row], ("teacher_reward", "student_reward", "selection_prob"))
    again = snapshot_of_row(row)
    assert preferences(again, 0.5, 3.0).shares["teacher"] == pytest.approx(
        preferences(snapshot, 0.5, 3.0).shares["teacher"]
    )
    assert again.prompt == snapshot.prompt


def test_another_model_is_asked_anew(tiny, inspected, calls):
    inspected.replace_model("student", tiny.teacher).score()
    assert calls["scored"] == [("student", text) for text in TEXTS]
    assert inspected.snapshot().rewards["student"] == pytest.approx(inspected.snapshot().rewards["teacher"], abs=1e-5)


def test_the_interval_is_that_of_bootstrap_preference(inspected):
    snapshot = inspected.snapshot()
    logps = [logps for _, logps in snapshot.tokens["student"]]
    expected = padlab.bootstrap_preference(logps, beta=2.0, generator=torch.Generator().manual_seed(0))["top_choice"]
    found = first_place_interval(snapshot, "student", 0.9, 2.0)
    for mine, theirs in zip(found[:3], expected[:3], strict=True):
        assert torch.allclose(mine, theirs)
    mixed = first_place_interval(snapshot, "teacher", 0.3, 2.0)
    assert np.allclose(mixed.estimate.numpy(), preferences(snapshot, 0.3, 2.0).top_choice["teacher"])
    assert bool((mixed.low <= mixed.estimate).all() and (mixed.estimate <= mixed.high).all())


def test_errors_name_what_is_wrong(tiny):
    for texts, reason in ((["a"], "at least two"), (["a", " "], "response B is empty")):
        with pytest.raises(ValueError, match=reason):
            Inspection(*tiny, "Hi", texts).score()
    with pytest.raises(ValueError, match="prompt is empty"):
        Inspection(*tiny, " ", ["a", "b"]).score()
    with pytest.raises(ValueError, match="at most 8"):
        Inspection(*tiny, "Hi", ["a"] * 9)
    with pytest.raises(ValueError, match="one text"):
        Inspection(*tiny, "Hi", "a")
    snapshot = Inspection(*tiny, "Hi", ["a", "b"]).score().snapshot()
    with pytest.raises(ValueError, match="was not asked"):
        preferences(snapshot, 0.5, 1.0)
    for beta in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta"):
            preferences(snapshot, 0.0, beta)


@pytest.mark.parametrize("n", [2, 4, 5, 8])
def test_shown_and_other_rankings_sum_to_one(n):
    rng = np.random.default_rng(n)
    snapshot = Snapshot("?", tuple("abcdefgh"[:n]), {role: rng.normal(size=n) for role in ROLES})
    found = preferences(snapshot, 0.0, 1.5)
    assert len(found.rankings) == (math.factorial(n) if n <= 4 else 8)
    for role in ROLES:
        assert found.shares[role].sum() + found.rest[role] == pytest.approx(1.0)
        best = tuple(np.argsort(-snapshot.rewards[role]))
        assert n > 4 or found.rankings[found.shares[role].argmax()] == best
        assert found.marginals[role].sum(0) == pytest.approx(np.ones(n))
    assert ranking_name(found.rankings[0]).count(">") == n - 1


def test_each_remark_appears_where_it_should_and_nowhere_else():
    quiet = Snapshot(
        "?", ("a", "b", "c"), {"student": np.array([-1.0, -2.0, -3.0]), "teacher": np.array([-3.0, -2, -1])}
    )
    assert badges(quiet, preferences(quiet, 0.0, 1.0)) == []

    def names(**changes):
        snapshot = Snapshot(**{**{"prompt": "?", "responses": quiet.responses, "rewards": quiet.rewards}, **changes})
        return [badge.name for badge in badges(snapshot, preferences(snapshot, 0.0, 1.0))]

    tokens = {"student": [(("x",) * k, (-1.0,) * k) for k in (5, 6, 16)]}
    short = {"student": [(("x",) * k, (-1.0,) * k) for k in (3, 4, 4)]}
    cycle = np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    first = np.array([[0.5, 0.9, 0.9], [0.9, 0.5, 0.9], [0.9, 0.9, 0.5]])
    assert names(rewards={"teacher": np.array([-1.0, -1.0, -2.0])}) == ["ties"]
    assert names(finished=(True, True, False)) == ["unfinished"]
    assert names(finished=(True, None, True)) == ["unfinished"]
    assert names(finished=(None, None, None)) == names(finished=(True, True, True)) == []
    assert names(tokens=tokens) == ["unequal length"]
    assert names(tokens=short) == ["few tokens"]
    steady = [(("x",) * 5, (-1.0,) * 5)] * 3
    assert names(tokens={"student": steady, "teacher": steady}) == []
    other = {"student": steady, "teacher": tokens["student"]}  # not only the first model's tokens are looked at
    assert names(tokens=other) == ["different tokenizers", "unequal length"]
    shaky = [(("x",) * 5, (-30.0, -0.1, -0.1, -30.0, -0.1))] * 2 + [(("x",) * 5, (-90.0,) * 5)]
    assert names(tokens={"student": shaky}) == ["wide interval"]
    assert names(position_bias=-0.2) == ["position bias"]
    assert names(option_mass=0.1) == ["option mass"]
    assert names(order_consistency=0.5) == ["depends on the order"]
    assert names(votes=cycle) == ["no ranking fits"]
    assert names(votes=first) == []  # the two orders cancel


def test_a_view_without_tokens_says_that_lengths_were_not_checked(inspected):
    snapshot = inspected.snapshot()
    bare = Snapshot(snapshot.prompt, snapshot.responses, snapshot.rewards)
    assert "not checked" in badges_view(bare, preferences(bare, 0.0, 2.0)).text
    assert "not checked" not in badges_view(snapshot, preferences(snapshot, 0.3, 2.0)).text


def test_numbers_are_plain_json(inspected):
    snapshot = inspected.snapshot()
    text = json.dumps(as_numbers(snapshot, preferences(snapshot, 0.3, 2.0)), allow_nan=False)
    read = json.loads(text)
    assert read["responses"] == TEXTS
    assert read["selection_votes"] == snapshot.votes.tolist()
    alone = Snapshot("?", ("a", "a"), {"teacher": np.array([-1.0, -1.0]), "student": np.array([-1.0, -1.0])})
    assert (
        json.loads(json.dumps(as_numbers(alone, preferences(alone, 0.0, 1.0)), allow_nan=False))["agreement"]["tau"]
        is None
    )


def test_a_conversation_is_not_its_transcript(tiny):
    """Two prompts that read alike as text are two prompts."""
    talk = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
    inspection = Inspection(*tiny, talk, ["a", "b"], judge=True).score()
    text = "User: A\n\nAssistant: B\n\nUser: C"
    inspection.ask(text, ["a", "b"])
    assert inspection.missing()
    assert inspection.score().snapshot().rewards["teacher"] == pytest.approx(
        padlab.score(tiny.teacher, text, ["a", "b"]), abs=1e-5
    )


def test_only_edits_in_place_are_compared(tiny):
    inspection = Inspection(*tiny, "Hi", ["a", "b", "c"]).score()
    assert earlier_preferences(inspection) is None
    assert earlier_preferences(inspection.edit(0, "d").score()) is not None
    assert earlier_preferences(inspection.put(["b", "d", "c"]).score()) is None  # moved
    assert earlier_preferences(inspection.put(["x", "y", "z"]).score()) is None  # nothing in common
    assert earlier_preferences(inspection.ask("Ho", ["x", "y", "z"]).score()) is None
    with pytest.raises(ValueError, match="no response -1"):
        inspection.edit(-1, "q")
    with pytest.raises(ValueError, match="studnet"):
        inspection.replace_model("studnet", tiny.student)


def test_sampled_responses_survive_the_exports(tiny):
    inspection = Inspection(*tiny, "Hi").draw(3, max_new_tokens=6).score()
    row, snapshot = inspection.as_row(), inspection.snapshot()
    again = Inspection(*tiny, "Hi", responses_of_row(row)).score().snapshot()
    assert again.rewards["student"] == pytest.approx(snapshot.rewards["student"], abs=1e-6)
    typed = Inspection(*tiny, "Hi", ["a", "b"]).score()
    assert "finished" not in typed.as_row()
    names = {}
    code = (
        as_python(inspection)
        .replace("padlab.inspect(", "kept = dict(")
        .replace("kept = dict(student, teacher,", "kept = dict(")
    )
    loads = {"load_model": lambda spec: spec}
    exec(
        code.replace("import padlab\n", ""),
        {"padlab": type("P", (), {k: staticmethod(v) for k, v in loads.items()})},
        names,
    )
    assert tuple(names["kept"]["responses"]) == inspection.state.responses


def test_twenty_one_responses_and_rows_without_answers_are_named(tiny):
    rewards = {"student_reward": [-1.0, -2.0], "teacher_reward": [-2.0, -1.0]}
    row = {"prompt": "a", "responses": ["x", "y"], **rewards}
    mixed = [{**row, "selection_prob": [0.5, 0.5]}, {**row, "selection_prob": None}]
    assert [found.alpha for _, _, found in rank_by_disagreement(mixed)] == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"row 1: .*not asked"):
        rank_by_disagreement(mixed, alpha=0.5)
    many = {"prompt": "a", "responses": ["x"] * 30, "student_reward": [-1.0] * 30, "teacher_reward": [-1.0] * 30}
    with pytest.raises(ValueError, match="row 1"):
        rank_by_disagreement([row, many])
