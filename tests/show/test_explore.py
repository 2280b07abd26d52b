"""The small widgets and their views: numbers by hand, text that stays text, errors that are seen, the twin, speed."""

import ast
import importlib
import itertools
import math
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import padlab
from padlab.show import explore_views as views
from padlab.show.explore_grid_view import grid_view
from padlab.show.explore_model_views import contributions, pulls
from padlab.show.explore_views import stage_probs, top_rankings, winner_changes
from padlab.show.html import Html
from padlab.show.plots.style import STUDENT, TEACHER

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "<script>alert(1)</script>",
    "$x^2$ \\(y\\)",
    '"><img src=x onerror=a>',
    "a\x00\x1b[31m\u202eb",
    "\ud800 卵🥚",
]
ROW = {
    "prompt": "Which city?",
    "responses": ["Bergen", "Oslo", "none"],
    "teacher_reward": [-1.4, -1.1, -0.9],
    "selection_prob": [0.6, 0.3, 0.1],
}


def softmax(values):
    weights = np.exp(np.asarray(values) - np.max(values))
    return weights / weights.sum()


def entropy(probs):
    return -sum(p * math.log(p) for p in probs if p > 0)


def all_rankings(scores):
    """P of every ranking as a product of the remaining items' shares, letters joined."""
    found = {}
    for order in itertools.permutations(range(len(scores))):
        p, left = 1.0, list(order)
        while left:
            p *= math.exp(scores[left[0]]) / sum(math.exp(scores[i]) for i in left)
            left.pop(0)
        found[" > ".join(chr(65 + i) for i in order)] = p
    return found


def numbers_after(text, label):
    """The numbers in the line of the plain text that begins with the label."""
    (line,) = [line for line in text.splitlines() if re.match(re.escape(label) + r"(\s\s|$)", line)]
    return [float(word) for word in line[len(label) :].replace("−", "-").split() if re.fullmatch(r"-?[\d.]+", word)]


# --- alpha


def test_alpha_view_agrees_with_numpy():
    alpha, beta = 0.35, 10.0
    calibrated = (1 - alpha) * np.array(ROW["teacher_reward"]) + alpha * np.log(ROW["selection_prob"])
    shown = views.alpha_view([ROW], alpha, beta=beta).text
    chance, winner = softmax(beta * calibrated), "ABC"[calibrated.argmax()]
    assert f"Best at alpha = 0.35: {winner}." in shown
    for k, letter in enumerate("ABC"):
        rows = [line.split() for line in shown.splitlines() if line.startswith(letter + "  ")]
        assert [float(word) for word in rows[0][2:]] == pytest.approx(
            [ROW["teacher_reward"][k], math.log(ROW["selection_prob"][k]), calibrated[k]], rel=6e-3
        )
        assert float(rows[1][1]) == pytest.approx(chance[k], abs=5.1e-3)


def test_the_winner_changes_exactly_at_the_crossing():
    # C and B: -0.9 + a(ln 0.1 + 0.9) = -1.1 + a(ln 0.3 + 1.1), then B and A
    first, second = 0.2 / (math.log(3) + 0.2), 0.3 / (math.log(2) + 0.3)
    rewards, log_p = (torch.tensor(v) for v in (np.array(ROW["teacher_reward"]), np.log(ROW["selection_prob"])))
    changes = winner_changes(rewards, log_p)
    assert [(i, j) for _, i, j in changes] == [(2, 1), (1, 0)]
    assert [at for at, _, _ in changes] == pytest.approx([first, second], rel=1e-6)
    shown = views.alpha_view([ROW], 0.5).text.splitlines()[0]
    assert f"alpha = {first:.3f} (C to B), then at {second:.3f} (B to A)" in shown


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-40, 0), st.integers(1, 40)), min_size=1, max_size=6))
def test_between_two_changes_the_winner_is_the_one_named(pairs):
    rewards = np.array([r / 10 for r, _ in pairs])
    log_p = np.log([p for _, p in pairs]) - math.log(sum(p for _, p in pairs))
    changes = winner_changes(torch.tensor(rewards), torch.tensor(log_p))
    ends = [0.0, *(at for at, _, _ in changes), 1.0]
    assert ends == sorted(ends)
    winners = [changes[0][1], *(after for _, _, after in changes)] if changes else []
    for k, winner in enumerate(winners):
        middle = (ends[k] + ends[k + 1]) / 2
        values = (1 - middle) * rewards + middle * log_p
        assert values[winner] >= values.max() - 1e-4
    if not changes:
        both_ends = {tuple(np.flatnonzero(v >= v.max() - 1e-9)) for v in (rewards, log_p)}
        assert set.intersection(*map(set, both_ends))


def test_the_same_winner_everywhere_and_equal_responses():
    row = ROW | {"teacher_reward": [-1.0, -1.0, -3.0], "selection_prob": [0.45, 0.45, 0.1]}
    shown = views.alpha_view([row], 0.2).text
    assert "A, B (equal). The first place is the same at every alpha." in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selection_prob": None}, "row 0 has no selection_prob.*add_selection_probs"),
        ({"teacher_reward": [-1.0]}, "same length"),
        ({"teacher_reward": [-1.0, float("nan"), 0.0]}, r"teacher_reward.*nan"),
        ({"selection_prob": [0.5, 0.5, 0.5]}, "sum is 1.5"),
        ({"selection_prob": [1.5, -0.5, 0.0]}, "probabilities from 0 to 1"),
    ],
)
def test_alpha_view_refuses_rows_it_cannot_show(change, message):
    with pytest.raises(ValueError, match=message):
        views.alpha_view([ROW | change], 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"), [((1.5, 0), "alpha"), ((0.5, 1), "rows; give a row"), ((0.5, 0, -1.0), "beta")]
)
def test_alpha_view_refuses_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        views.alpha_view([ROW], *arguments)


def test_alpha_view_reads_a_dataset():
    table = padlab.check_candidates([ROW, ROW])
    assert views.alpha_view(table, 0.3, row=1).text == views.alpha_view([ROW], 0.3).text


# --- beta


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_beta_view_agrees_with_enumeration_by_hand(n):
    rewards, beta = [-1.0, -0.4, -1.3, -0.7, -2.0][:n], 3.0
    expected = all_rankings([beta * r for r in rewards])
    shown = views.beta_view(rewards, beta).text
    best = sorted(expected, key=expected.get, reverse=True)[:8]
    for name in best:
        assert numbers_after(shown, name) == [pytest.approx(expected[name], abs=6e-4)]
    rest = len(expected) - len(best)
    assert ("the other" in shown) == (rest > 0)
    if rest:
        left = 1 - sum(expected[name] for name in best)
        assert numbers_after(shown, f"the other {rest}") == [pytest.approx(left, abs=6e-4)]
    nats, largest = entropy(expected.values()), math.log(math.factorial(n))
    assert f"{nats:.2f} nats ({100 * nats / largest:.0f} %)" in shown
    assert f"ln {n}! = {largest:.2f}" in shown


def test_beta_view_of_two_models_has_their_colours_and_divergence():
    student, teacher, beta = [-1.0, -2.0], [-2.0, -1.0], 2.0
    p, q = softmax([beta * r for r in student]), softmax([beta * r for r in teacher])
    m = (p + q) / 2
    jsd = entropy(m) - (entropy(p) + entropy(q)) / 2
    shown = views.beta_view(student, beta, other=teacher)
    assert f"Jensen-Shannon divergence: {jsd:.3f} nats" in shown.text
    assert numbers_after(shown.text, "A > B") == pytest.approx([p[0], q[0]], abs=6e-4)
    assert STUDENT in shown.html
    assert TEACHER in shown.html
    alone = views.beta_view(student, beta).html
    assert STUDENT not in alone
    assert TEACHER not in alone


def test_top_rankings_are_a_distribution():
    models = [padlab.PlackettLuce([1.0, 0.5, 0.0, -1.0, 2.0]), padlab.PlackettLuce([0.0] * 5)]
    names, shares = top_rankings(models)
    assert len(names) == 9
    assert shares.sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert shares[1, :8].tolist() == pytest.approx([1 / 120] * 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 1), "give 2 to 7"),
        (([0.0] * 8, 1), "give 2 to 7"),
        (([1.0, float("inf")], 1), "rewards"),
        (([1.0, 2.0], -0.5), "beta"),
        (([1.0, 2.0], 1, [1.0]), "same length"),
        (([1.0, 2.0], 1, None, ["a"]), "same length"),
    ],
)
def test_beta_view_refuses_what_it_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        views.beta_view(*arguments)


# --- ranking


@pytest.mark.parametrize("ranking", ["BAC", [1, 0, 2], "b > a > c", torch.tensor([1, 0, 2])])
def test_ranking_view_is_the_product_of_its_stages(ranking):
    scores = [1.0, 2.0, 0.5]
    steps = stage_probs(np.array(scores), [1, 0, 2])
    e = [math.exp(s) for s in scores]
    assert steps == pytest.approx([e[1] / sum(e), e[0] / (e[0] + e[2]), 1.0])
    expected = all_rankings(scores)["B > A > C"]
    assert math.prod(steps) == pytest.approx(expected)
    shown = views.ranking_view(scores, ranking).text
    assert shown.startswith(f"P(B > A > C) = {steps[0]:.3f} × {steps[1]:.3f} × 1.000 = {expected:.4g}\n")
    assert "7.39 / (2.72 + 7.39 + 1.65)" in shown


def test_all_rankings_sum_to_one_and_far_scores_stay_exact():
    scores = np.array([-30.0, -32.0, -29.0, -31.0])
    total = sum(math.prod(stage_probs(scores, order)) for order in itertools.permutations(range(4)))
    assert total == pytest.approx(1.0)
    assert "exp(score − largest score)" in views.ranking_view(scores, "CABD").text


@pytest.mark.parametrize("ranking", ["", "AB", "AAB", "ABX", [0, 1], [0, 1, 3], [-1, 0, 1]])
def test_what_is_no_ranking_is_refused(ranking):
    with pytest.raises(ValueError, match=r"each of A, B, C once, best first, such as 'CBA'"):
        views.ranking_view([1.0, 2.0, 3.0], ranking)


def test_scores_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="smaller beta"):
        views.ranking_view([0.0, -800.0], "AB")


# --- temperature


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1, 3.0])
def test_temperature_view_agrees_with_numpy(temperature):
    logits = [2.0, 1.0, -1.0]
    probs = softmax(np.array(logits) / temperature)
    shown = views.temperature_view(logits, temperature, ["yes", " no", "\n"])
    for name, p in zip(["yes", "␣no", "⏎"], probs, strict=True):
        assert numbers_after(shown.text, name) == [pytest.approx(p, abs=6e-4)]
    assert f"entropy {entropy(probs):.2f} nats (at T = 1: {entropy(softmax(logits)):.2f})" in shown.text
    outlines = re.findall(r"before (\d\.\d+)", shown.html)
    assert [float(v) for v in outlines] == pytest.approx(softmax(logits), abs=6e-4)


def test_many_tokens_are_summed_up():
    logits = np.linspace(3, -3, 50)
    probs = softmax(logits)
    shown = views.temperature_view(logits[::-1].copy(), 1.0).text
    assert numbers_after(shown, "token 49") == [pytest.approx(probs[0], abs=6e-4)]
    assert numbers_after(shown, "the other 38") == [pytest.approx(probs[12:].sum(), abs=6e-4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.0), "temperature is 0.*at least 0.01"),
        (([1.0, 2.0], float("nan")), "temperature"),
        (([1.0, float("-inf")], 1.0), "logits"),
        (([1.0, 2.0], 1.0, ["a"]), "same length"),
    ],
)
def test_temperature_view_refuses_what_it_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        views.temperature_view(*arguments)


# --- pull

JS, FORWARD, REVERSE = "PPD (JSD)", "KL(teacher || student)", "KL(student || teacher)"


def logit(p):
    return math.log(p / (1 - p))


def losses_by_hand(student, teacher):
    """The losses of two responses from P(A first) of both models."""
    p, q = (np.array([x, 1 - x]) for x in (student, teacher))
    m = (p + q) / 2
    kl = lambda a, b: float((a * np.log(a / b)).sum())  # noqa: E731
    return {"VPD": -math.log(p[q.argmax()]), JS: (kl(p, m) + kl(q, m)) / 2, FORWARD: kl(q, p), REVERSE: kl(p, q)}


def test_known_losses():
    found = pulls(0.0, logit(0.8))
    assert found["VPD"][0] == pytest.approx(0.693, abs=5e-4)
    assert found[JS][0] == pytest.approx(0.051, abs=5e-4)
    assert found[FORWARD][0] == pytest.approx(0.193, abs=5e-4)
    assert pulls(logit(0.01), logit(0.99))[JS][0] == pytest.approx(0.637, abs=5e-4)


@pytest.mark.parametrize(("student", "teacher"), [(0.5, 0.8), (0.01, 0.99), (0.9, 0.3), (0.7, 0.75), (0.2, 0.6)])
def test_losses_and_pulls_agree_with_differences(student, teacher):
    gap, step, found = logit(student), 1e-5, pulls(logit(student), logit(teacher))
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    low, high = (losses_by_hand(sigmoid(gap + d), teacher) for d in (-step, step))
    for name, value in losses_by_hand(student, teacher).items():
        assert found[name][0] == pytest.approx(value, rel=1e-6)
        assert found[name][1] == pytest.approx((low[name] - high[name]) / (2 * step), rel=1e-4, abs=1e-8)
    assert found["VPD"][1] == pytest.approx((teacher > 0.5) - student, abs=1e-9)
    assert found[FORWARD][1] == pytest.approx(teacher - student, abs=1e-9)


def test_the_arrows_point_to_where_training_goes():
    to_a, to_b, none = views.pull_view(0.0, 2.0), views.pull_view(0.0, -2.0), views.pull_view(1.0, 1.0)
    assert to_a.text.count("towards A →") == 4 + 1  # the heading has one
    assert to_b.text.count("← towards B") == 4 + 1
    assert to_a.html.count("left:50%") == 4
    assert to_b.html.count("right:50%") == 4
    assert "width:25.00%" in to_a.html  # VPD at 1/2 of the longest, 1
    assert none.text.count("below 0.0005") == 3  # VPD pulls on
    assert STUDENT in to_a.html
    assert TEACHER in to_a.html


def test_an_undecided_teacher_is_named_and_gaps_must_be_finite():
    assert "takes A before B" in views.pull_view(0.3, 0.0).text
    assert "takes A before B" not in views.pull_view(0.0, 0.3).text
    for gaps in ((float("inf"), 0.0), (0.0, float("nan"))):
        with pytest.raises(ValueError, match=r"_gap is .*finite"):
            views.pull_view(*gaps)


# --- a stored grid

ALPHAS = [0, 0.2, 1]
GRID = {
    "toy": [(-0.01, -0.05, 0.03), (0.24, 0.20, 0.28, 4), (0.19, 0.15, 0.23, 4)],
    "reading": [(-0.018, -0.068, 0.032), (0.082, -0.038, 0.202), (0.140, -0.001, 0.281)],
}


def strips(view):
    """Per curve, in per cent of the strip: the line at 0, the interval's left end and width, its mean, the diamond."""
    parts = re.findall(r"<td[^>]*width:13em[^>]*>(.*?)</td>", view.html)
    return [[float(x) for x in re.findall(r"(?<!border-)(?:left|width):([\d.]+)%", part)] for part in parts]


@pytest.mark.parametrize("place", range(3))
def test_a_grid_shows_what_was_measured_there_and_the_highest_mean(place):
    view = grid_view(ALPHAS, GRID, ALPHAS[place])
    shown = view.text.replace("−", "-")
    clear = sum(rows[place][1] > 0 or rows[place][2] < 0 for rows in GRID.values())
    assert shown.startswith(f"At alpha = {ALPHAS[place]}, {clear} of 2 intervals ")
    for name, rows in GRID.items():
        (row,) = [line.split() for line in shown.splitlines() if line.startswith(name)]
        mean, low, _, high, best, _, at = row[1:]
        assert [float(mean), float(low), float(high)] == pytest.approx(rows[place][:3], abs=5.1e-3)
        assert float(best) == pytest.approx(max(triple[0] for triple in rows), abs=5.1e-3)
        assert float(at) == ALPHAS[max(range(3), key=lambda k: rows[k][0])]


def test_a_grid_shows_on_which_side_of_zero_an_end_lies():
    assert "−0.0012 to +0.28" in grid_view([1], {"x": [(0.14, -0.0012, 0.28)]}, 1).text
    assert "0.00 to +0.28" in grid_view([1], {"x": [(0.14, 0.0, 0.28)]}, 1).text


def test_intervals_of_a_grid_stand_on_one_scale_whatever_the_value():
    low, high = -0.068, 0.281  # of all of them
    share = lambda x: 100 * (x - low) / (high - low)  # noqa: E731
    for place, alpha in enumerate(ALPHAS):
        for found, rows in zip(strips(grid_view(ALPHAS, GRID, alpha)), GRID.values(), strict=True):
            mean, start, end = rows[place][:3]
            best = max(triple[0] for triple in rows)
            expected = [share(0), share(start), share(end) - share(start), share(mean), share(best)]
            assert found == pytest.approx(expected, abs=0.01)
    (above,) = strips(grid_view([1, 2], {"x": [(0.3, 0.2, 0.4), (0.3, 0.3, 0.3)]}, 2, "rounds"))
    assert above == pytest.approx([0, 75, 0, 75, 75]), "0 is always on the scale"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ALPHAS, GRID, 0.3), r"alpha 0\.3 was not measured; there are 0, 0\.2, 1"),
        (([0, 0.2], GRID, 0.2), "same length"),
        (([0, 0.2, 0.2], GRID, 0.2), "each alpha may stand there once"),
        ((ALPHAS, {}, 0.2), "give at least one"),
        ((ALPHAS, {"x": [(0.5, 0.6, 0.7)] * 3}, 0.2), "outside its interval"),
        ((ALPHAS, {"x": [(0.5, math.nan, 0.7)] * 3}, 0.2), "nan"),
    ],
)
def test_a_grid_refuses_what_it_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        grid_view(*arguments)


# --- token gap


def test_contributions_add_up_to_the_rewards(tiny):
    a, b = "yes, of course", "no"
    (_, first), (_, second) = padlab.score_tokens(tiny.teacher, "Well?", [a, b])
    reward_a, reward_b = padlab.score(tiny.teacher, "Well?", [a, b])
    difference = contributions(first).sum() - contributions(second).sum()
    assert difference == pytest.approx(reward_a - reward_b, abs=1e-9)
    assert contributions(first).tolist() == pytest.approx([value / len(first) for value in first])
    shown = views.token_gap_view(tiny.teacher, "Well?", a, b).text
    signed = [f"{value:.3f}".replace("-", "−") for value in (reward_a, reward_b)]
    assert f"Reward A {signed[0]}, reward B {signed[1]} nats/token" in shown
    order = "B costs {} more than A" if difference > 0 else "A costs {} more than B"
    assert order.format(f"{abs(difference):.3f}") in shown


def test_the_costliest_token_comes_first(tiny):
    (_, logps) = padlab.score_tokens(tiny.teacher, "Well?", ["yes, of course"])[0]
    (_, other) = padlab.score_tokens(tiny.teacher, "Well?", ["no"])[0]
    shares = {("A", k + 1): v / len(logps) for k, v in enumerate(logps)}
    shares |= {("B", k + 1): v / len(other) for k, v in enumerate(other)}
    (response, place), costliest = min(shares.items(), key=lambda item: item[1])
    lines = views.token_gap_view(tiny.teacher, "Well?", "yes, of course", "no").text.splitlines()
    first = lines[lines.index("The costliest tokens") + 2].split()
    assert first[:2] == [response, str(place)]
    assert float(first[-1]) == pytest.approx(costliest, rel=6e-3)
    assert len(lines) - lines.index("The costliest tokens") == 2 + min(8, len(shares)) + 1


def test_both_responses_have_one_scale_down_to_the_lowest_token(tiny, monkeypatch):
    texts = {name: [name] for name in ("first", "second")}
    for lowest, darkest in ((-20.3, "−21.00"), (-3.0, "−3.00"), (0.0, "−1.00")):
        scored = [(texts["first"], [lowest]), (texts["second"], [lowest / 2])]
        monkeypatch.setattr("padlab.show.explore_model_views.score_tokens", lambda *_, scored=scored: scored)
        shown = views.token_gap_view(tiny.teacher, "Well?", "first", "second")._repr_html_()
        assert re.sub("<[^>]*>", "", shown).count(f"{darkest} nats and below") == 2


def test_messages_are_a_prompt_too(tiny):
    messages = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}]
    shown = views.token_gap_view(tiny.teacher, [*messages, {"role": "user", "content": "Two?"}], "2", "3").text
    assert shown.splitlines()[1] == "Two?"


@pytest.mark.parametrize(("a", "b", "name"), [("", "x", "A"), ("x", " \n", "B"), ("", "", "A and B")])
def test_an_empty_response_is_named(tiny, a, b, name):
    with pytest.raises(ValueError, match=f"response {name} is empty"):
        views.token_gap_view(tiny.teacher, "Hi", a, b)


# --- text stays text


class Page(HTMLParser):
    """Collects elements, attribute names and text; control characters have been written out."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.names, self.nodes = set(), set(), []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.nodes.append(data)


def check_page(html):
    page = Page(html)
    assert page.tags <= {"div", "span", "br", "b", "table", "thead", "tbody", "tr", "th", "td", "caption"}
    assert page.names <= {"style", "class", "dir", "scope", "title", "role"}
    assert all(node.count("$") + node.count("\\") == 0 or len(node) == 1 for node in page.nodes)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", html)
    return "".join(page.nodes)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text, tiny):
    row = ROW | {"prompt": text, "responses": [text] * 3}
    shown = [
        views.alpha_view([row], 0.4),
        views.beta_view([1.0, 2.0], 1.0, labels=[text, "b"]),
        views.temperature_view([1.0, 2.0], 1.0, tokens=[text, "b"]),
        grid_view(ALPHAS, {text: GRID["toy"]}, 1, text),
    ]
    if "\ud800" not in text:  # a lone surrogate cannot be encoded, whatever the model
        shown.append(views.token_gap_view(tiny.teacher, text, text, "b"))
    for view in shown:
        everything = check_page(view._repr_html_())
        if text.startswith("<"):
            assert text in everything
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", view.text)


# --- the widgets

pytest.importorskip("ipywidgets", reason="needs the extra lab")
explore = importlib.import_module("padlab.show.explore")


def explorers(tiny):
    return {
        "alpha": explore.explore_alpha([ROW]),
        "beta": explore.explore_beta([-1.0, -2.0, -1.5], labels=["a", "b", "c"]),
        "ranking": explore.explore_ranking([1.0, 2.0, 0.0]),
        "temperature": explore.explore_temperature([1.0, 2.0], ["a", "b"]),
        "pull": explore.explore_pull(),
        "grid": explore.explore_grid(ALPHAS, GRID),
        "token": explore.token_gap(tiny.teacher, "Hi", "ab", "c"),
        "steps": explore.explore_steps({0: [-2.0, -1.0], 4: [-1.0, -2.0]}, [-0.5, -3.0], ["yes", "no"]),
    }


def test_moving_a_slider_shows_the_view_of_its_value():
    widget = explore.explore_alpha([ROW])
    widget.named["alpha"].value = 0.5
    expected = views.alpha_view([ROW], 0.5)
    assert widget.output.value == expected._repr_html_()
    assert widget.shown == expected
    beta = explore.explore_beta([-1.0, -2.0], other=[-2.0, -1.0])
    assert beta.shown == views.beta_view([-1.0, -2.0], 10.0, other=[-2.0, -1.0])
    for start in (2.0, 50.0):
        assert explore.explore_beta([-1.0, -2.0], beta=start).shown == views.beta_view([-1.0, -2.0], start)
    beta.named["beta"].value = 3.0
    assert beta.shown == views.beta_view([-1.0, -2.0], 3.0, other=[-2.0, -1.0])
    ranking = explore.explore_ranking([1.0, 2.0, 0.0])
    ranking.named["ranking"].value = "C > A > B"
    assert ranking.shown == views.ranking_view([1.0, 2.0, 0.0], "CAB")
    temperature = explore.explore_temperature([1.0, 2.0], ["a", "b"])
    temperature.named["temperature"].value = 0.2
    assert temperature.shown == views.temperature_view([1.0, 2.0], 0.2, ["a", "b"])
    pull = explore.explore_pull()
    assert pull.shown == views.pull_view(0.0, math.log(4))
    assert "student 0.50, teacher 0.80" in pull.shown.text
    pulled = [row.split() for row in pull.shown.text.splitlines() if row.startswith(FORWARD)]
    assert pulled[0][3:5] == ["0.193", "0.300"], "KL(teacher || student) pulls by 0.8 - 0.5"
    pull.named["teacher_gap"].value = -3.0
    assert pull.shown == views.pull_view(0.0, -3.0)
    grid = explore.explore_grid(ALPHAS, GRID)
    assert [label for label, _ in grid.named["value"].options] == ["0", "0.2", "1"]
    assert grid.shown == grid_view(ALPHAS, GRID, 0)
    grid.named["value"].value = 0.2
    assert grid.shown == grid_view(ALPHAS, GRID, 0.2)


def test_the_step_slider_shows_the_student_after_that_step():
    rewards, teacher = {0: [-2.0, -1.0, -3.0], 4: [-1.0, -1.5, -4.0], 8: [-0.5, -2.0, -5.0]}, [-0.2, -2.0, -2.5]
    widget = explore.explore_steps(rewards, teacher, ["yes", "no", "<b>"], beta=2.0)
    assert widget.named["step"].value == 8, "the end of the training comes first"
    widget.named["step"].value = 4
    text = widget.shown.text
    student, before = (np.exp(2 * np.array(rewards[k])) / np.exp(2 * np.array(rewards[k])).sum() for k in (4, 0))
    assert f"{student[0]:.2f}" in text
    assert "tau 1.00" in text
    widget.named["step"].value = 0
    assert f"{before[1]:.2f}" in widget.shown.text
    assert "tau 0.33" in widget.shown.text, "two of three pairs in order"
    assert "<b>" not in widget.output.value.replace("<b>After", "")


@pytest.mark.parametrize(
    ("rewards", "labels", "message"),
    [({}, ["a", "b"], "no step"), ({0: [1.0, 2.0]}, ["a"], "labels"), ({0: [1.0, float("nan")]}, ["a", "b"], "nan")],
)
def test_the_step_slider_refuses_what_it_cannot_show(rewards, labels, message):
    with pytest.raises(ValueError, match=message):
        explore.explore_steps(rewards, [1.0, 2.0], labels)


def test_controls_are_wide_continuous_and_described_in_words(tiny):
    for widget in explorers(tiny).values():
        for control in widget.named.values():
            assert len(control.description) >= 10
            assert control.style.description_width == "initial"
            assert control.layout.width == "auto"
            assert getattr(control, "continuous_update", True)
        assert widget.children[-1] is widget.output
        assert widget.error in widget.children


def test_a_ranking_is_typed_above_four_items_and_half_a_ranking_is_an_error():
    widget = explore.explore_ranking([0.0, 1.0, 2.0, 3.0, 4.0])
    good = widget.shown
    widget.named["ranking"].value = "ED"
    assert "best first" in widget.error.value
    assert widget.shown == good
    widget.named["ranking"].value = "EDCBA"
    assert widget.error.value == ""
    assert widget.shown.text.startswith("P(E > D > C > B > A)")


def test_the_score_button_scores_and_is_usable_again(tiny):
    widget = explore.token_gap(tiny.teacher, "Hi", "ab", "c")
    before = widget.shown
    widget.named["b"].value = "other"
    assert widget.shown == before
    widget.button.click()
    assert widget.shown == views.token_gap_view(tiny.teacher, "Hi", "ab", "other")
    widget.named["a"].value = ""
    widget.button.click()
    assert "response A is empty" in widget.error.value
    assert not widget.button.disabled


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("give <b>more</b> $"), "give <b>more</b> $"),
        (KeyError("gone"), "KeyError: 'gone'"),
        (RuntimeError("<script>x</script>"), "RuntimeError: <script>x</script>"),
        (ValueError(), "ValueError"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_errors_are_shown_and_the_last_good_view_stays(error, shown):
    def view(x):
        if x > 1:
            raise error
        return Html(f"<b>{x}</b>", f"x = {x}")

    slider = explore.FloatSlider(0.0, max=5.0)
    widget = explore.Explorer(view, {"x": slider})
    slider.value = 2.0
    assert check_page(widget.error.value) == shown
    assert "<b>0.0</b>" in widget.output.value
    assert widget.shown.text == "x = 0.0"
    slider.value = 1.0
    assert widget.error.value == ""
    assert "<b>1.0</b>" in widget.output.value


def test_bad_input_is_refused_when_the_widget_is_made():
    with pytest.raises(ValueError, match="selection_prob"):
        explore.explore_alpha([{"prompt": "a", "responses": ["b"]}])
    with pytest.raises(ValueError, match="give 2 to 7"):
        explore.explore_beta([1.0])
    with pytest.raises(ValueError, match="beta"):
        explore.explore_beta([1.0, 2.0], beta=-1.0)
    with pytest.raises(ValueError, match="same length"):
        explore.explore_grid([0, 0.5], GRID)


def test_display_carries_the_widget_its_twin_and_a_text(tiny):
    formatters = pytest.importorskip("IPython.core.formatters")
    for widget in explorers(tiny).values():
        data, _ = formatters.DisplayFormatter().format(widget)
        assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
        assert data["text/html"] == widget.shown._repr_html_() == widget.output.value
        assert data["text/plain"] == widget.shown.text
        check_page(data["text/html"])
    widget = explore.explore_beta([1.0, 2.0])
    widget.named["beta"].value = 1.0
    data, _ = formatters.DisplayFormatter().format(widget)
    assert data["text/plain"] == views.beta_view([1.0, 2.0], 1.0).text


def test_a_slider_move_takes_little_time():
    table = padlab.check_candidates([ROW] * 4)
    moves = {
        explore.explore_alpha(table): ("alpha", (0.2, 0.4, 0.6, 0.8, 1.0)),
        explore.explore_beta([-0.1 * k for k in range(7)], other=[-1.0] * 7): ("beta", (1.0, 2.0, 3.0, 4.0, 5.0)),
        explore.explore_temperature(np.linspace(3, -3, 50_000)): ("temperature", (0.1, 0.2, 0.3, 0.4, 0.5)),
        explore.explore_grid(ALPHAS, GRID): ("value", (0.2, 1.0, 0.0, 0.2, 1.0)),
        explore.explore_pull(): ("student_gap", (1.0, 2.0, 3.0, 4.0, 5.0)),
        explore.explore_ranking([1.0, 2.0, 0.0]): ("ranking", ("B > A > C", "A > C > B", "C > A > B", "C > B > A")),
    }
    for widget, (name, values) in moves.items():
        times = []
        for value in values:
            before, start = widget.shown, time.perf_counter()
            widget.named[name].value = value
            times.append(time.perf_counter() - start)
            assert widget.shown != before
        assert min(times) < 0.05, (name, times)


# --- ipywidgets is needed by this module alone


def test_only_the_widgets_import_ipywidgets():
    for path in (ROOT / "padlab").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        uses = any(name.split(".")[0] == "ipywidgets" for name in names)
        assert not uses or path.parent.name == "show", path
        assert not uses or path.name != "explore_views.py", path


def test_the_views_work_where_ipywidgets_is_missing():
    code = (
        "import sys, padlab, padlab.show.html; print('ipywidgets' in sys.modules); sys.modules['ipywidgets'] = None;"
        "from padlab.show.explore_views import beta_view; print(beta_view([1.0, 0.0], 1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("False\nEntropy: 0.58 nats")


def test_without_ipywidgets_the_remedy_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "padlab.show.explore")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install padlab\[lab\]"):
        importlib.import_module("padlab.show.explore")
